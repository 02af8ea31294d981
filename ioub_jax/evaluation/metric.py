"""The interface of a metric, which measures the detections of a data set.

The metrics of COCO, VOC and LVIS implement it (`coco_metrics.CocoMetric`, `voc_metrics.VocMetric`,
`lvis_metrics.LvisMetric`). Your own metric is an object with two names and one method.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ioub_jax.evaluation.thresholds import ScoreThresholds


@dataclasses.dataclass(frozen=True)
class Report:
    """Result of a metric for one set of detections.

    Attributes:
      numbers: the values for `evaluation.jsonl`, by key: floats, None for a number that does not
        exist. Values that are not finite become None.
      table: the text for a terminal, and for `NAME_table.txt`.
      title: heading of the table on a terminal; None for the metric's name.
      details: content of `NAME_metrics.json`, anything that `json` can write; None for the numbers.
        Floats that are not finite become None, because JSON has none.
      file_infix: text before `metrics.json` and `table.txt` in the names of these files; None for
        the metric's name and `_`.
      thresholds: the best score thresholds, if the metric has computed them.
    """

    numbers: Mapping[str, float | None]
    table: str
    title: str | None = None
    details: Any = None
    file_infix: str | None = None
    thresholds: ScoreThresholds | None = None

    def __post_init__(self) -> None:
        """Converts the numbers to those that JSON can hold, which numpy's are not."""
        numbers = {key: finite(value) for key, value in self.numbers.items()}
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "details", _for_json(self.details))


def finite(value: float | None) -> float | None:
    """A number as Python's float; None, which JSON can hold, if it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def _for_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _for_json(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(member) for member in value]
    return finite(value) if isinstance(value, float) else value


class Metric(Protocol):
    """A metric that computes a report.

    A frozen dataclass is the best choice: a run's parts are compared, printed and pickled.
    """

    @property
    def name(self) -> str:
        """Name of the metric, also for file names; it consists of letters, digits, `_` and `-`."""

    @property
    def headline_key(self) -> str:
        """Name of the number that picks the best checkpoint, if this metric is the first.

        Greater is better. None counts as -1, which is worse than 0.
        """

    def compute(
        self, ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
    ) -> Report:
        """Compares detections with the annotations.

        Args:
          ground_truth: a data set in COCO's JSON format, with `images` (`id`, `height`, `width`,
            `file_name`), `annotations` (`image_id`, `category_id`, `bbox`, `area`, `iscrowd`,
            `difficult`, `ignored`) and `categories` (`id`, `name`). It must not be changed.
          detections: COCO results: `image_id`, `category_id`, `bbox` and `score`. They must not be
            changed.
        """
