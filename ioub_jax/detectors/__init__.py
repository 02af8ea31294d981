"""Detectors: the interface `Detector`, and one file for each family in configurations."""

from typing import Any

from ioub_jax.detectors import atss, fcos, gfl, iou_aware_retinanet, retinanet, ssd, ssdlite
from ioub_jax.detectors.anchor_objective import AnchorObjective, Inspection, MatchingOptions
from ioub_jax.detectors.augmented import AugmentedDetector
from ioub_jax.detectors.detector import (
    Anchors,
    Batch,
    Canvas,
    Carried,
    DetectionOptions,
    Detector,
)
from ioub_jax.detectors.placed import PlacedDetector
from ioub_jax.detectors.views import Views
from ioub_jax.errors import ConfigError

__all__ = [
    "AnchorObjective",
    "Anchors",
    "AugmentedDetector",
    "Batch",
    "Canvas",
    "Carried",
    "DetectionOptions",
    "Detector",
    "Inspection",
    "MatchingOptions",
    "PlacedDetector",
    "Views",
    "create",
]

#: `model.name` -> function that builds its detectors. A new family needs a file and a line here.
FAMILIES = {
    "retinanet": retinanet.create,
    "ssd": ssd.create,
    "fcos": fcos.create,
    "atss": atss.create,
    "gfl": gfl.create,
    "iou_aware_retinanet": iou_aware_retinanet.create,
    "ssdlite": ssdlite.create,
}


def create(config: Any, num_classes: int) -> Detector:
    """The detector that a configuration describes.

    Args:
      config: the whole configuration.
      num_classes: C.

    Raises:
      ConfigError: there is no such detector.
    """
    if config.model.name not in FAMILIES:
        names = " or ".join(map(repr, FAMILIES))
        raise ConfigError(f"model.name is {config.model.name!r}; it must be {names}.")
    return FAMILIES[config.model.name](config, num_classes)
