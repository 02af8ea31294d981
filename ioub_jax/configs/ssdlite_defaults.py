"""The configuration of an SSDLite with every key at its default; see `keys.py`.

`coco_ssdlite.py` starts from these defaults.
"""

import ml_collections

from ioub_jax.configs import defaults
from ioub_jax.configs.ssd_boxes import lite_sizes


def get_config(arm: str = "both", input_size: int = 320) -> ml_collections.ConfigDict:
    """SSDLite on MobileNetV3-Large with the losses of an arm, and inputs of `input_size` pixels."""
    config = defaults.of_family("ssdlite", arm)
    config.model.input_size = input_size
    config.data.canvases = ((input_size, input_size),)
    config.anchors.sizes = lite_sizes(input_size)
    return config
