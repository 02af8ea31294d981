"""The configuration of an SSD300 or SSD512 with every key at its default; see `keys.py`.

`coco_ssd.py` and `voc_ssd.py` start from these defaults.
"""

import ml_collections

from ioub_jax.configs import defaults
from ioub_jax.configs.ssd_boxes import RATIOS, SIZES, STRIDES

__all__ = ["SIZES", "STRIDES", "get_config"]


def get_config(
    arm: str = "both", input_size: int = 300, data_set: str = "coco"
) -> ml_collections.ConfigDict:
    """SSD with the losses of an arm, inputs of 300 or 512 pixels, and boxes for coco or voc."""
    if (data_set, input_size) not in SIZES:
        raise ValueError(
            f"There is no SSD{input_size} for {data_set!r}; it must be SSD300 or SSD512 for 'coco' "
            "or 'voc'."
        )
    config = defaults.of_family("ssd", arm)
    config.model.input_size = input_size
    config.data.canvases = ((input_size, input_size),)
    config.anchors.sizes = SIZES[data_set, input_size]
    config.anchors.ratios = RATIOS[input_size]
    config.anchors.strides = STRIDES[input_size]
    return config
