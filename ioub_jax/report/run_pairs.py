"""Two sets of detections in the same images, compared image by image and class by class."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ioub_jax.evaluation import resampling
from ioub_jax.report.measurement import Measured

#: The least difference in cost by which an image counts as better or worse. It corresponds to a
#: true detection whose IoU changes by .05.
MOVED = 0.1


@dataclasses.dataclass(frozen=True)
class Difference:
    """A number of two runs.

    Attributes:
      first: the number of the reported run.
      second: the number of the run that it is compared with.
      difference: the first number minus the second; None if one of them does not exist.
      interval: the interval of the difference over the images, which are the same in both runs;
        None if there is none.
    """

    first: float | None
    second: float | None
    difference: float | None
    interval: tuple[float, float] | None = None

    @property
    def resolved(self) -> bool:
        """True if the interval excludes a difference of 0."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


@dataclasses.dataclass(frozen=True, eq=False)
class RunPair:
    """Differences between two runs.

    Attributes:
      first: the reported run.
      second: the run that it is compared with.
      summary: COCO's metrics; those in `AP_KEYS` have intervals.
      AP: the AP of every class.
      AP50: the AP50 of every class, without an interval.
      errors: kind of errors -> the gain in AP50 if they are corrected.
      cost: the mean cost of an image.
      moved: float64 `[I]`, the cost of each image in the first run minus that in the second.
    """

    first: Measured
    second: Measured
    summary: Mapping[str, Difference]
    AP: tuple[Difference, ...]
    AP50: tuple[Difference, ...]
    errors: Mapping[str, Difference]
    cost: Difference
    moved: np.ndarray

    @property
    def better(self) -> np.ndarray:
        """The numbers of the images that cost less in the first run, the largest gain first."""
        return _ordered(self.moved)

    @property
    def worse(self) -> np.ndarray:
        """The numbers of the images that cost more in the first run, the largest loss first."""
        return _ordered(-self.moved)


def compare_runs(first: Measured, second: Measured) -> RunPair:
    """Compares two runs.

    Args:
      first: the reported run.
      second: the run that it is compared with.

    Raises:
      ValueError: the images, classes or boxes of the two runs differ.
    """
    _check_alike(first, second)
    resampled = [resampling.summarized(run.resampled) for run in (first, second)]
    ap = [run.resampled.mean(axis=2) for run in (first, second)]
    one, other = (run.errors.errors["50"].all_classes.dAP for run in (first, second))
    moved = first.image_errors.cost - second.image_errors.cost
    return RunPair(
        first=first,
        second=second,
        summary={
            key: _difference(
                value,
                second.metrics.summary[key],
                resampled[0][key] - resampled[1][key] if key in resampled[0] else None,
            )
            for key, value in first.metrics.summary.items()
        },
        AP=tuple(
            _difference(row.AP, of_second.AP, ap[0][:, number] - ap[1][:, number])
            for number, (row, of_second) in enumerate(
                zip(first.metrics.per_class, second.metrics.per_class, strict=True)
            )
        ),
        AP50=tuple(
            _difference(row.AP50, of_second.AP50)
            for row, of_second in zip(
                first.metrics.per_class, second.metrics.per_class, strict=True
            )
        ),
        errors={key: _difference(one[key], other[key]) for key in one},
        cost=_mean_cost(first, second, moved),
        moved=moved,
    )


def _mean_cost(first: Measured, second: Measured, moved: np.ndarray) -> Difference:
    draws = first.draws
    means = draws @ moved / draws.sum(axis=1) if draws.size else None
    one, other = (
        float(run.image_errors.cost.mean()) if len(moved) else None for run in (first, second)
    )
    return _difference(one, other, means)


def _difference(
    first: float | None, second: float | None, resampled: np.ndarray | None = None
) -> Difference:
    if first is None or second is None:
        return Difference(first, second, None)
    interval = None if resampled is None else resampling.interval_of(resampled)
    return Difference(first, second, first - second, interval)


def _ordered(moved: np.ndarray) -> np.ndarray:
    """Returns the positions of the values at or below `-MOVED`, the lowest first."""
    order = np.argsort(moved, kind="stable")
    return order[moved[order] <= -MOVED]


def _check_alike(first: Measured, second: Measured) -> None:
    one, other = first.checked, second.checked
    told = f"{first.name} and {second.name} cannot be compared: "
    if one.categories != other.categories:
        raise ValueError(f"{told}their classes differ; give two runs of the same data")
    if one.image_ids != other.image_ids:
        raise ValueError(f"{told}their images differ; give two runs of the same images")
    if one.annotations != other.annotations:
        raise ValueError(f"{told}their ground-truth boxes differ; give two runs of the same data")
