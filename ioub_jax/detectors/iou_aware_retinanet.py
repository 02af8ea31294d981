"""IoU-aware RetinaNet (arXiv 1912.05992): a RetinaNet that also predicts the IoU of its boxes."""

from typing import Any

from ioub_jax.detectors import dense_detector
from ioub_jax.detectors.detector import Detector


def create(config: Any, num_classes: int) -> Detector:
    """The IoU-aware RetinaNet of a configuration; arguments and errors as in `retinanet.create`."""
    return dense_detector.create(config, num_classes, box_form="deltas")
