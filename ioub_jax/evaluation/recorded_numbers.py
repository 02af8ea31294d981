"""Metric and loss values in the records of `evaluation.jsonl`."""

from collections.abc import Mapping
from typing import Any

from ioub_jax.evaluation import coco_metrics, lvis_metrics, voc_metrics

#: Prefix of the keys of numbers from weights that are evaluated without their moving average.
WITHOUT_EMA = "without_ema_"


def is_loss(key: str) -> bool:
    """True if a key is that of the loss on the validation images, or of one of its terms."""
    return key == "loss" or key.startswith("loss_")


def numbers_in(record: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of the metrics, the headline first.

    If the run has a moving average of the weights, they are the numbers of the average.
    """
    return {
        key: value
        for key, value in record.items()
        if key != "step" and not is_loss(key) and not key.startswith(WITHOUT_EMA)
    }


def own_numbers(record: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of the user's metrics and of chosen classes, without COCO's, VOC's and LVIS's."""
    known = {*voc_metrics.NUMBER_KEYS, *lvis_metrics.NUMBER_KEYS}
    return {
        key: value
        for key, value in numbers_in(record).items()
        if not coco_metrics.is_number(key) and key not in known
    }
