"""GFL (arXiv 2006.04388): ATSS with IoUs as scores and distributions as boxes."""

from typing import Any

from ioub_jax.box_codecs import DistanceCodec
from ioub_jax.detectors import dense_detector
from ioub_jax.detectors.detector import Detector


def create(config: Any, num_classes: int) -> Detector:
    """The GFL of a configuration; arguments and errors as `retinanet.create`."""
    # reg_max is the last of the bins, the first of which is 0.
    return dense_detector.create(
        config,
        num_classes,
        box_form="distribution",
        codec=DistanceCodec(config.anchors.base_scale),
        bins=config.model.head.reg_max + 1,
    )
