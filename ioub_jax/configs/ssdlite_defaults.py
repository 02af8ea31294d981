"""A configuration in which every key has its default, of an SSDLite; see `keys.py`.

`coco_ssdlite.py` starts from here.
"""

import ml_collections

from ioub_jax.configs import defaults
from ioub_jax.configs.ssd_boxes import lite_sizes


def get_config(arm: str = "both", input_size: int = 320) -> ml_collections.ConfigDict:
    """SSDLite on MobileNetV3-Large with the losses of an arm, and images of so many pixels."""
    config = defaults.of_family("ssdlite", arm)
    config.model.input_size = input_size
    config.data.canvases = ((input_size, input_size),)
    config.anchors.sizes = lite_sizes(input_size)
    return config
