"""Comparison of several runs of several arms: means, and differences paired by seed.

A result describes one run: its arm, its seed, its metrics and, if available, the same metrics on
resampled images (`resampling.resampled_ap`). Runs with the same seed start from the same weights
and see the same data, so arms are compared seed by seed.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ioub_jax.evaluation.coco_metrics import AP_KEYS
from ioub_jax.evaluation.dense_objects import base_of
from ioub_jax.evaluation.means import mean_of_existing
from ioub_jax.evaluation.resampling import CONFIDENCE, interval_of

#: The rank correlation of score and IoU (`correlation.Correlation.spearman`), which the
#: IoU-balanced classification loss is meant to increase.
SPEARMAN = "Spearman"
METRICS = (*AP_KEYS, SPEARMAN)  # COCO's metrics; other metrics follow them


def is_of_coco(metric: str) -> bool:
    """True if a metric is one of COCO's, including those with more detections (`AP@300`)."""
    return base_of(metric) in METRICS


#: With more arms, the pairs are not compared: the table becomes unreadable, and some pairs differ
#: by chance.
MOST_IN_PAIRS = 8


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of one run.

    Attributes:
      arm: the name of its arm.
      seed: its seed.
      metrics: the known ones of `METRICS` after its last step, and other metrics. Without COCO's
        AP, the first metric is the headline.
      resampled: some of the metrics on resampled images, one list per metric; empty if unknown.
      seconds: its wall time; None if unknown.
      images: an identifier of its validation images and their boxes, such as a digest; None if
        unknown.
      errors: IoU ("75" for .75) -> kind of error -> AP at this IoU that would be gained if all
        errors of the kind were fixed; empty if unknown.
    """

    arm: str
    seed: int
    metrics: Mapping[str, float | None]
    resampled: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    images: str | None = None
    errors: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and spread of one metric of one arm.

    Attributes:
      mean: the mean over the seeds.
      deviation: the standard deviation over the seeds; None for a single seed.
      count: the number of seeds.
    """

    mean: float
    deviation: float | None
    count: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """An arm minus the first arm, in one metric, over the seeds that both have.

    Attributes:
      mean: the mean of the differences of all seeds.
      count: the number of paired seeds.
      by_seeds: the 95% interval of Student's t over those differences, which covers the chance of
        training. None for a single seed.
      by_images: the 95% interval of the bootstrap over the validation images with fixed seeds,
        which covers the choice of images. None without resampled metrics.
      p_value: how probable a mean at least as far from 0 is by the chance of training alone, by
        the two-sided t test over the seeds. None for a single seed.
    """

    mean: float
    count: int
    by_seeds: tuple[float, float] | None
    by_images: tuple[float, float] | None
    p_value: float | None

    @property
    def resolved(self) -> bool:
        """True if the interval over the seeds excludes a difference of 0."""
        return self.by_seeds is not None and not self.by_seeds[0] <= 0.0 <= self.by_seeds[1]


@dataclasses.dataclass(frozen=True)
class ErrorCosts:
    """Costs of the kinds of errors at one IoU, in AP at this IoU.

    Attributes:
      spreads: arm -> kind of error -> spread.
      differences: arm (except the reference) -> kind of error -> paired difference.
    """

    spreads: Mapping[str, Mapping[str, Spread]]
    differences: Mapping[str, Mapping[str, Difference]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several arms compared with the first one.

    Attributes:
      arms: the names, the reference first.
      metrics: the names of all metrics, COCO's first.
      spreads: arm -> metric -> spread.
      differences: arm (except the reference) -> metric -> paired difference.
      between: arm -> other arm -> paired difference of the headline, for all pairs of arms that
        share a seed; empty for more than eight arms.
      seconds: arm -> mean wall time of its runs; None if unknown.
      errors: IoU ("75" for .75) -> costs of the kinds of errors, as far as results have them.
    """

    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    spreads: Mapping[str, Mapping[str, Spread]]
    differences: Mapping[str, Mapping[str, Difference]]
    between: Mapping[str, Mapping[str, Difference]]
    seconds: Mapping[str, float | None]
    errors: Mapping[str, ErrorCosts]

    @property
    def headline(self) -> str:
        """The metric of the conclusions: AP, or the first metric if the results have no AP."""
        return _headline_of(self.metrics)


def compare(results: Sequence[Result], arms: Sequence[str]) -> Comparison:
    """Compares arms with the first one.

    Args:
      results: the results of the runs, at most one for each arm and seed.
      arms: the arms, the reference first. An arm without results is left out.

    Raises:
      ValueError: an arm has two results with the same seed, the reference has no result, or the
        results are based on different images.
    """
    _check_images(results)
    by_arm: dict[str, dict[int, Result]] = {arm: {} for arm in arms}
    for result in results:
        if result.seed in by_arm[result.arm]:
            raise ValueError(f"arm {result.arm!r} has two results with seed {result.seed}")
        by_arm[result.arm][result.seed] = result
    if not by_arm[arms[0]]:
        raise ValueError(f"arm {arms[0]!r}, which the others are compared with, has no result")
    by_arm = {arm: of_seeds for arm, of_seeds in by_arm.items() if of_seeds}
    reference, metrics = by_arm[arms[0]], _names_of_metrics(results)
    headline = _headline_of(metrics)
    return Comparison(
        arms=tuple(by_arm),
        metrics=metrics,
        spreads={
            arm: _spreads(list(of_seeds.values()), metrics) for arm, of_seeds in by_arm.items()
        },
        differences={
            arm: _differences(of_seeds, reference, metrics)
            for arm, of_seeds in by_arm.items()
            if arm != arms[0]
        },
        between={
            arm: {
                other: difference
                for other, of_other in by_arm.items()
                if len(by_arm) <= MOST_IN_PAIRS
                and other != arm
                and (difference := _difference_in(headline, of_seeds, of_other))
            }
            for arm, of_seeds in by_arm.items()
        },
        seconds={
            arm: mean_of_existing([result.seconds for result in of_seeds.values()])
            for arm, of_seeds in by_arm.items()
        },
        errors={
            iou: _error_costs(by_arm, arms[0], iou)
            for iou in dict.fromkeys(iou for result in results for iou in result.errors)
        },
    )


def _error_costs(
    by_arm: Mapping[str, Mapping[int, Result]], reference: str, iou: str
) -> ErrorCosts:
    """Returns the costs of all kinds of errors at one IoU: they are compared like metrics."""
    of_arms = {
        arm: {
            seed: Result(arm, seed, result.errors.get(iou, {})) for seed, result in of_seeds.items()
        }
        for arm, of_seeds in by_arm.items()
    }
    results = [result for of_seeds in of_arms.values() for result in of_seeds.values()]
    kinds = tuple(dict.fromkeys(kind for result in results for kind in result.metrics))
    return ErrorCosts(
        {arm: _spreads(list(of_seeds.values()), kinds) for arm, of_seeds in of_arms.items()},
        {
            arm: _differences(of_seeds, of_arms[reference], kinds)
            for arm, of_seeds in of_arms.items()
            if arm != reference
        },
    )


def _check_images(results: Sequence[Result]) -> None:
    known = [result for result in results if result.images is not None]
    for result in known:
        if result.images != known[0].images:
            raise ValueError(
                f"arm {result.arm!r}, seed {result.seed}, and arm {known[0].arm!r}, seed "
                f"{known[0].seed}, were evaluated on different images or boxes"
            )


def _names_of_metrics(results: Sequence[Result]) -> tuple[str, ...]:
    """Returns COCO's metrics in their order, then the others in the order of the results."""
    named = dict.fromkeys(name for result in results for name in result.metrics)
    of_coco = [name for name in named if is_of_coco(name)]
    return (
        *sorted(of_coco, key=lambda name: METRICS.index(base_of(name))),
        *(name for name in named if not is_of_coco(name)),
    )


def _headline_of(metrics: Sequence[str]) -> str:
    return metrics[0] if metrics else "AP"


def _spreads(results: Sequence[Result], metrics: Sequence[str]) -> dict[str, Spread]:
    spreads = {}
    for metric in metrics:
        known = [result.metrics.get(metric) for result in results]
        values = [value for value in known if value is not None]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            spreads[metric] = Spread(float(np.mean(values)), deviation, len(values))
    return spreads


def _differences(
    arm: Mapping[int, Result], reference: Mapping[int, Result], metrics: Sequence[str]
) -> dict[str, Difference]:
    found = {metric: _difference_in(metric, arm, reference) for metric in metrics}
    return {metric: difference for metric, difference in found.items() if difference}


def _difference_in(
    metric: str, arm: Mapping[int, Result], reference: Mapping[int, Result]
) -> Difference | None:
    """Returns the paired difference in one metric; None if no seed has it in both arms."""
    pairs, of_pairs = [], []
    for seed in sorted(arm.keys() & reference.keys()):
        value, other = arm[seed].metrics.get(metric), reference[seed].metrics.get(metric)
        if value is not None and other is not None:
            pairs.append((arm[seed], reference[seed]))
            of_pairs.append(value - other)
    if not pairs:
        return None
    of_seeds = np.array(of_pairs)
    return Difference(
        mean=float(of_seeds.mean()),
        count=len(pairs),
        by_seeds=t_interval(of_seeds),
        by_images=_image_interval(pairs, metric),
        p_value=_p_value(of_seeds),
    )


def t_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The 95% interval of Student's t for the mean of values `[n]`; None for fewer than two."""
    if len(values) < 2:
        return None
    quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)
    half = quantile * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _p_value(values: np.ndarray) -> float | None:
    """Returns the p-value of a mean of 0 for values `[n]`; None for fewer than two."""
    if len(values) < 2:
        return None
    error = values.std(ddof=1) / math.sqrt(len(values))
    if error == 0.0:
        return 0.0 if values.any() else 1.0
    return float(2 * stats.t.sf(abs(values.mean()) / error, len(values) - 1))


def adjusted_p_values(comparison: Comparison) -> dict[str, float]:
    """The p-values of the headline's differences, adjusted for the number of arms.

    Of twenty arms that change nothing, one interval of 95% excludes 0 by chance. By the method of
    Holm (1979, "A simple sequentially rejective multiple test procedure"), an arm whose adjusted
    value is below .05 differs; the probability that any arm is called different by chance is then
    at most .05.

    Returns:
      arm -> adjusted p-value, for the arms that share at least two seeds with the reference.
    """
    known = {
        arm: difference.p_value
        for arm, differences in comparison.differences.items()
        if (difference := differences.get(comparison.headline)) and difference.p_value is not None
    }
    adjusted, least = {}, 0.0
    for rank, arm in enumerate(sorted(known, key=lambda arm: known[arm])):
        least = max(least, min(1.0, (len(known) - rank) * known[arm]))
        adjusted[arm] = least
    return adjusted


def _image_interval(
    pairs: Sequence[tuple[Result, Result]], metric: str
) -> tuple[float, float] | None:
    """Returns percentiles of the mean difference over the resamplings of the images."""
    rows = []
    for one, other in pairs:
        first, second = one.resampled.get(metric), other.resampled.get(metric)
        if not first or not second or len(first) != len(second):
            return None
        rows.append(np.array(first, np.float64) - np.array(second, np.float64))
    return interval_of(np.mean(rows, axis=0))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain dicts for a JSON file."""
    return {
        "confidence": CONFIDENCE,
        "reference": comparison.arms[0],
        "arms": {
            arm: {
                "seconds": comparison.seconds[arm],
                "metrics": {
                    metric: dataclasses.asdict(spread)
                    for metric, spread in comparison.spreads[arm].items()
                },
                "differences": {
                    metric: _difference_to_json(difference)
                    for metric, difference in comparison.differences.get(arm, {}).items()
                },
                f"{comparison.headline}_less_that_of": {
                    other: _difference_to_json(difference)
                    for other, difference in comparison.between[arm].items()
                },
                "errors": {
                    iou: _costs_to_json(costs, arm) for iou, costs in comparison.errors.items()
                },
            }
            for arm in comparison.arms
        },
    }


def _costs_to_json(costs: ErrorCosts, arm: str) -> dict[str, Any]:
    differences = costs.differences.get(arm, {})
    return {
        kind: {
            **dataclasses.asdict(spread),
            "difference": _difference_to_json(differences[kind]) if kind in differences else None,
        }
        for kind, spread in costs.spreads[arm].items()
    }


def _difference_to_json(difference: Difference) -> dict[str, Any]:
    return dataclasses.asdict(difference) | {"resolved": difference.resolved}
