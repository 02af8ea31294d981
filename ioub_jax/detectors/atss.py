"""ATSS (arXiv 1912.02424): a RetinaNet with one anchor per location, matched by statistics."""

from typing import Any

from ioub_jax.detectors import dense_detector
from ioub_jax.detectors.detector import Detector


def create(config: Any, num_classes: int) -> Detector:
    """The ATSS of a configuration; arguments and errors as in `retinanet.create`."""
    return dense_detector.create(config, num_classes, box_form="deltas")
