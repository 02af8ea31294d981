"""GFL (arXiv 2006.04388): ATSS with scores that are IoUs and boxes that are distributions."""

from typing import Any

from ioub_jax.box_codecs import DistanceCodec
from ioub_jax.detectors import dense_detector
from ioub_jax.detectors.detector import Detector


def create(config: Any, num_classes: int) -> Detector:
    """The GFL of a configuration; arguments and errors as in `retinanet.create`."""
    dense_detector.check_keys(config, "reg_max" in config.model.head)
    # reg_max is the index of the last bin; the first bin has index 0.
    return dense_detector.create(
        config,
        num_classes,
        box_form="distribution",
        codec=DistanceCodec(config.anchors.base_scale),
        bins=config.model.head.reg_max + 1,
    )
