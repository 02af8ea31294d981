"""FCOS (arXiv 1904.01355, improved in 2006.09214): points predict distances and centreness."""

from typing import Any

from ioub_jax.box_codecs import DistanceCodec
from ioub_jax.detectors import dense_detector
from ioub_jax.detectors.detector import Detector


def create(config: Any, num_classes: int) -> Detector:
    """The FCOS of a configuration; arguments and errors as in `retinanet.create`."""
    dense_detector.check_keys(config, "distances" in config.model.head)
    codec = DistanceCodec(config.anchors.base_scale)
    return dense_detector.create(
        config, num_classes, box_form=f"{config.model.head.distances}_distances", codec=codec
    )
