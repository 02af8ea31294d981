"""Every key in which SSD300 and SSD512 differ from `defaults.py`, with the paper's choice.

`coco_ssd.py` and `voc_ssd.py` start from here.
"""

import ml_collections
from ml_collections import config_dict

from ioub_jax.configs import defaults

#: (data set, input size) -> sizes of the default boxes in pixels, one more than levels: 4 %, 10 %,
#: 26 %, ... of the input for SSD512 on COCO. Of the scripts of SSD's authors and of mmdetection.
SIZES = {
    ("coco", 300): (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0),
    ("coco", 512): (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
    ("voc", 300): (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
    ("voc", 512): (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
}
STRIDES = {300: (8, 16, 32, 64, 100, 300), 512: (8, 16, 32, 64, 128, 256, 512)}


def get_config(
    arm: str = "both", input_size: int = 300, data_set: str = "coco"
) -> ml_collections.ConfigDict:
    """SSD with the losses of an arm, 300 or 512 pixels, and the default boxes for coco or voc."""
    if (data_set, input_size) not in SIZES:
        raise ValueError(
            f"There is no SSD{input_size} for {data_set!r}; it must be SSD300 or SSD512 for 'coco' "
            "or 'voc'."
        )
    config = defaults.get_config(arm)
    config.model = _model(input_size)
    config.anchors = _anchors(input_size, data_set)
    # A box takes its one best anchor; no anchor is between positive and background.
    config.matcher.update({"foreground_iou": 0.5, "background_iou": 0.5, "low_quality": "ssd"})
    # The authors' SSD sums the normaliser of eq. 2 over each image.
    config.loss.classification.update({"name": "softmax", "normalizer_scope": "image"})
    config.loss.localization.beta = 1.0
    config.optimizer.weight_decay = 5e-4
    config.data.canvases = ((input_size, input_size),)
    config.data.resize.mode = "stretch"
    config.data.augmentation.update(
        {"photometric_distortion": True, "expand_ratio": 4.0, "minimum_iou_crop": True}
    )
    config.evaluation.update({"score_threshold": 0.02, "nms_iou": 0.45, "max_detections": 200})
    del config.evaluation.candidates_per_level
    config.evaluation.candidates_per_class = 400
    return config


def _model(input_size: int) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "name": "ssd",
            "backbone": "vgg16",
            "input_size": input_size,  # 300 or 512; data.canvases has to agree
            "width": 64,  # channels of the first stage; less makes a small detector
            "frozen_stages": -1,  # -1: nothing, 1: stage 1 (torchvision), ...
            # What gives the backbone, as in `defaults.py`.
            "pretrained": config_dict.placeholder(str),
            # Of the RGB pixels (0-255) that VGG16 was trained on: the mean alone is subtracted.
            "pixel_mean": (123.0, 117.0, 104.0),
            "pixel_std": (1.0, 1.0, 1.0),
            "dtype": "float32",  # of the computation: float32 or bfloat16
        }
    )


def _anchors(input_size: int, data_set: str) -> ml_collections.ConfigDict:
    more_ratios = 3 if input_size == 300 else 4
    return ml_collections.ConfigDict(
        {
            "sizes": SIZES[data_set, input_size],
            # Longer side over shorter, of every level; each is a lying and a standing box.
            "ratios": ((2.0,), *((2.0, 3.0),) * more_ratios, (2.0,), (2.0,)),
            "strides": STRIDES[input_size],
            # To whole pixels, as the authors do; False in SSD's own code and torchvision.
            "rounded": True,
            "clip_sizes": False,  # no box larger than the image; True in torchvision
            "box_weights": (10.0, 10.0, 5.0, 5.0),  # of dx, dy, dw, dh: 1 / SSD's variances
        }
    )
