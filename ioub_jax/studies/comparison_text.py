"""Text of a comparison of arms: conclusions, means and spreads, paired differences.

A few arms are described in the order in which they are given, a sentence for each. Many arms
are sorted by their difference from the first, and grouped by what their intervals show.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from ioub_jax.evaluation.coco_metrics import AP_KEYS
from ioub_jax.evaluation.dense_objects import base_of
from ioub_jax.evaluation.resampling import CONFIDENCE
from ioub_jax.studies.paired_differences import (
    MOST_IN_PAIRS,
    SPEARMAN,
    Comparison,
    Difference,
    Spread,
    adjusted_p_values,
)

#: The AP below which a report says that the detectors are hardly trained.
_TRAINED = 0.05


def title_of(arms: Sequence[str]) -> str:
    """The heading of a report on arms, the reference first."""
    if len(arms) > MOST_IN_PAIRS:
        return f"{len(arms) - 1} arms against {arms[0]}"
    if len(arms) == 1:
        return f"The arm {arms[0]}"
    return " against ".join((", ".join(arms[1:]), arms[0]))


def format_markdown(comparison: Comparison, title: str, what: str = "") -> str:
    """The report: conclusions, means and spreads, paired differences.

    More than eight arms are listed from the largest difference in the headline to the smallest.

    Args:
      comparison: the comparison to report.
      title: the heading of the report.
      what: a description of the training and the evaluation.
    """
    if len(comparison.arms) > MOST_IN_PAIRS:
        comparison = dataclasses.replace(comparison, arms=_largest_first(comparison))
    known = [
        metric
        for metric in comparison.metrics
        if any(metric in spreads for spreads in comparison.spreads.values())
    ]
    lines = [f"# {title}", "", *([what, ""] if what else []), *conclusions(comparison), ""]
    lines += _table_of_means(comparison, known)
    lines += _table_of_differences(
        comparison,
        known,
        "by_seeds",
        "over the seeds",
        "other training runs: Student's t over the seeds",
    )
    if base_of(comparison.headline) in AP_KEYS:  # no other metric is resampled
        lines += _table_of_differences(
            comparison,
            [metric for metric in known if base_of(metric) in AP_KEYS],
            "by_images",
            "over the images",
            "other validation images: bootstrap, these training runs",
        )
    for iou in comparison.errors:
        lines += _table_of_errors(comparison, iou)
    if 2 < len(comparison.arms) <= MOST_IN_PAIRS:
        lines += _table_of_pairs(comparison)
    return "\n".join(lines) + "\n"


def _table_of_means(comparison: Comparison, metrics: Sequence[str]) -> list[str]:
    lines = ["## Mean and spread", ""]
    lines += _row("arm", "seeds", *metrics, "minutes a run")
    lines += _row(*["---"] * (len(metrics) + 3))
    headline = comparison.headline
    for arm in comparison.arms:
        spreads = comparison.spreads[arm]
        seconds = comparison.seconds[arm]
        lines += _row(
            arm,
            str(spreads[headline].count if headline in spreads else 0),
            *(_spread(spreads.get(metric)) for metric in metrics),
            "-" if seconds is None else f"{seconds / 60:.1f}",
        )
    lines += ["", "Mean and, after the sign, standard deviation over the seeds."]
    if SPEARMAN in metrics:
        lines += [
            f"{SPEARMAN}: rank correlation of score and IoU, for detections with an IoU of at "
            "least 0.5."
        ]
    return lines


def _table_of_differences(
    comparison: Comparison, metrics: Sequence[str], interval: str, head: str, what: str
) -> list[str]:
    lines = ["", f"## Difference from `{comparison.arms[0]}`, {head}", ""]
    lines += _row("arm", "pairs", *metrics) + _row(*["---"] * (len(metrics) + 2))
    for arm in comparison.arms[1:]:
        differences = comparison.differences[arm]
        pairs = max((one.count for one in differences.values()), default=0)
        cells = (_difference(differences.get(metric), interval) for metric in metrics)
        lines += _row(arm, str(pairs), *cells)
    return [*lines, "", f"Mean of the paired differences and its 95% interval for {what}."]


def _table_of_errors(comparison: Comparison, iou: str) -> list[str]:
    """Returns the costs of the kinds of errors: those of the reference, then the differences."""
    reference, costs = comparison.arms[0], comparison.errors[iou]
    kinds = list(dict.fromkeys(kind for spreads in costs.spreads.values() for kind in spreads))
    lines = ["", f"## Errors by kind at IoU 0.{iou}", ""]
    lines += _row("arm", "pairs", *(kind.replace("_", " ") for kind in kinds))
    lines += _row(*["---"] * (len(kinds) + 2))
    of_reference = costs.spreads[reference]
    lines += _row(
        f"{reference} (absolute)", "", *(_spread(of_reference.get(kind)) for kind in kinds)
    )
    for arm in comparison.arms[1:]:
        differences = costs.differences[arm]
        pairs = max((one.count for one in differences.values()), default=0)
        cells = (_difference(differences.get(kind), "by_seeds") for kind in kinds)
        lines += _row(arm, str(pairs), *cells)
    return [
        *lines,
        "",
        f"AP{iou} that would be gained if all errors of a kind were fixed: of the reference, mean "
        "and standard deviation; of the other arms, the paired difference and its 95% interval. "
        "Below 0, an arm makes fewer of them.",
    ]


def _table_of_pairs(comparison: Comparison) -> list[str]:
    arms = comparison.arms
    lines = ["", f"## {comparison.headline} of every two arms", ""]
    lines += _row("arm minus ...", *(f"... {arm}" for arm in arms))
    lines += _row(*["---"] * (len(arms) + 1))
    for arm in arms:
        of_arm = comparison.between[arm]
        cells = (
            "" if arm == other else _difference(of_arm.get(other), "by_seeds") for other in arms
        )
        lines += _row(arm, *cells)
    return [*lines, "", "As over the seeds: the arm of the row minus the arm of the column."]


def _row(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.3f}"
    return f"{spread.mean:.3f}{deviation}"


def _difference(difference: Difference | None, interval: str) -> str:
    if difference is None:
        return "-"
    bounds = getattr(difference, interval)
    shown = "no interval" if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}"
    return f"{difference.mean:+.3f} ({shown})"


def conclusions(comparison: Comparison) -> list[str]:
    """The conclusions from the headline metric and their limits, as list items.

    Up to eight arms have one item each; more are grouped by what their intervals show.
    """
    reference, headline = comparison.arms[0], comparison.headline
    of_arms = _of_many_arms if len(comparison.arms) > MOST_IN_PAIRS else _of_each_arm
    lines = of_arms(comparison)
    is_ap = base_of(headline) == "AP"
    reached = comparison.spreads[reference].get(headline)
    if lines and is_ap and reached is not None and reached.mean < _TRAINED:
        lines.append(
            f"- `{reference}` reaches no more than {100 * reached.mean:.1f} {headline}: "
            "differences between hardly trained detectors say little about trained ones."
        )
    return lines or [f"- Only `{reference}` has results: there is nothing to compare it with."]


def _of_each_arm(comparison: Comparison) -> list[str]:
    reference, headline = comparison.arms[0], comparison.headline
    lines = []
    for arm, differences in comparison.differences.items():
        difference = differences.get(headline)
        if difference is None:
            lines.append(f"- `{arm}`: no conclusion, since it shares no seed with `{reference}`.")
        else:
            sentence = _sentence(arm, reference, headline, difference)
            lines.append(f"- {sentence}{_of_scores(differences)}")
    return lines


def _of_many_arms(comparison: Comparison) -> list[str]:
    """Returns the arms grouped by what their intervals show, and what chance may explain."""
    reference, headline = comparison.arms[0], comparison.headline
    higher, lower, open_, single, unpaired = _groups(comparison, headline)
    closer, looser, *_ = _groups(comparison, SPEARMAN)
    groups = (
        (f"Higher than `{reference}` in {headline}", higher, headline),
        (f"Lower than `{reference}` in {headline}", lower, headline),
        (f"No difference in {headline} is shown", open_, headline),
        ("Nothing can be concluded from one seed", single, headline),
        (f"No conclusion, since no seed is shared with `{reference}`", unpaired, headline),
        ("Scores follow IoU more closely", closer, SPEARMAN),
        ("Scores follow IoU less closely", looser, SPEARMAN),
    )
    lines = [
        f"- {what}: {', '.join(_with_interval(comparison, arm, metric) for arm in arms)}."
        for what, arms, metric in groups
        if arms
    ]
    return lines + _limits(comparison, higher + lower, open_)


def _groups(comparison: Comparison, metric: str) -> tuple[list[str], ...]:
    """Returns the arms that are higher, lower, not different, of one seed, and not paired."""
    groups: tuple[list[str], ...] = ([], [], [], [], [])
    for arm in _largest_first(comparison, metric)[1:]:
        difference = comparison.differences[arm].get(metric)
        if difference is None:
            groups[4].append(arm)
        elif difference.by_seeds is None:
            groups[3].append(arm)
        elif not difference.resolved:
            groups[2].append(arm)
        else:
            groups[0 if difference.mean > 0 else 1].append(arm)
    return groups


def _largest_first(comparison: Comparison, metric: str | None = None) -> tuple[str, ...]:
    """Returns the arms by their difference in a metric, the reference first, unpaired ones last."""
    metric = metric or comparison.headline
    means = {
        arm: of_arm[metric].mean
        for arm, of_arm in comparison.differences.items()
        if metric in of_arm
    }
    others = sorted(comparison.arms[1:], key=lambda arm: -means.get(arm, -math.inf))
    return (comparison.arms[0], *others)


def _with_interval(comparison: Comparison, arm: str, metric: str) -> str:
    """Returns an arm's name with its difference and the interval over the seeds."""
    difference = comparison.differences[arm].get(metric)
    if difference is None:
        return f"`{arm}`"
    factor, decimals = _scale(metric)
    mean = f"`{arm}` {factor * difference.mean:+.{decimals}f}"
    if difference.by_seeds is None:
        return mean
    low, high = (factor * bound for bound in difference.by_seeds)
    return f"{mean} ({low:+.{decimals}f} to {high:+.{decimals}f})"


def _limits(comparison: Comparison, resolved: Sequence[str], others: Sequence[str]) -> list[str]:
    """Returns what the number of arms and the width of the intervals leave open."""
    count = len(resolved) + len(others)
    if not count:
        return []
    adjusted = adjusted_p_values(comparison)
    remain = [f"`{arm}`" for arm in resolved if adjusted[arm] < 1 - CONFIDENCE]
    headline = comparison.headline
    factor, decimals = _scale(headline)
    differences = [comparison.differences[arm][headline] for arm in (*resolved, *others)]
    half = factor * statistics.median(
        (one.by_seeds[1] - one.by_seeds[0]) / 2 for one in differences if one.by_seeds is not None
    )
    return [
        f"- About {count / 20:.0f} of {count} intervals of 95% exclude 0 by chance alone. "
        "Corrected for their number (Holm's method), "
        + (f"these differ: {', '.join(remain)}." if remain else "no difference is shown."),
        f"- The median interval reaches {half:.{decimals}f} {headline} to each side: these runs "
        "do not resolve smaller differences, nor rank arms that differ by less.",
    ]


def _of_scores(differences: Mapping[str, Difference]) -> str:
    """Returns a sentence on whether scores follow IoU more closely than the reference's.

    It follows the sentence on the headline; empty if it is not known.
    """
    difference = differences.get(SPEARMAN)
    if difference is None or difference.by_seeds is None:
        return ""
    low, high = difference.by_seeds
    values = f"({difference.mean:+.3f}, {low:+.3f} to {high:+.3f})"
    if not difference.resolved:
        return f" Whether its scores follow IoU more or less closely is not shown {values}."
    return f" Its scores follow IoU {'more' if difference.mean > 0 else 'less'} closely {values}."


def _sentence(arm: str, reference: str, metric: str, difference: Difference) -> str:
    factor, decimals = _scale(metric)
    points = factor * difference.mean
    if difference.by_seeds is None:
        return (
            f"`{arm}`: nothing can be concluded from one seed ({points:+.{decimals}f} {metric} "
            f"against `{reference}`): the randomness of training is unknown; run at least two "
            "seeds, better eight."
        )
    low, high = (factor * bound for bound in difference.by_seeds)
    interval = f"95% interval {low:+.{decimals}f} to {high:+.{decimals}f}, {difference.count} seeds"
    if difference.resolved:
        word = "higher" if points > 0 else "lower"
        return (
            f"`{arm}` is {word} than `{reference}` by {abs(points):.{decimals}f} {metric} "
            f"({interval}): on this data, with this schedule and model; this says nothing about "
            "others."
        )
    return (
        f"`{arm}`: no difference from `{reference}` is shown ({points:+.{decimals}f} {metric}, "
        f"{interval}): these runs cannot tell a gain of up to {max(high, 0):.{decimals}f} or a "
        f"loss of up to {max(-low, 0):.{decimals}f} {metric} from none."
    )


def _scale(metric: str) -> tuple[float, int]:
    """Returns the factor and the decimals of a metric in sentences."""
    # AP is reported in hundredths; the unit of another metric is unknown here.
    return (100.0, 1) if base_of(metric) == "AP" else (1.0, 3)
