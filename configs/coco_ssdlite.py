"""SSDLite320 on MobileNetV3-Large on COCO 2017, with and without the IoU-balanced losses.

Reference: torchvision reports a box AP of 21.3 on val2017 for `ssdlite320_mobilenet_v3_large`,
which `baseline` is. What the IoU-balanced losses (arXiv 1908.05641) do for it is not known; it is
not reproduced here yet: that takes a GPU or TPU.

Schedule: torchvision's, from scratch: 660 epochs, batch 192, learning rate .15 with a cosine and a
warm-up of 1000 steps, weight decay 4e-5, crops and mirrored images. To start from ImageNet instead:
--config.model.pretrained=mobilenet_v3_large --config.model.reduced_tail=False. Meant for 8 GPUs, or
a TPU.

The argument is an arm (both, baseline, cls, loc, loc_weight_only), the first by default:

python -m experiments.train --config=configs/coco_ssdlite.py:both --workdir=runs/ssdlite \
  --config.data.coco.root=PATH
"""

import ml_collections

from ioub_jax.configs import arguments, defaults, ssdlite_defaults
from ioub_jax.configs.data_sets import COCO_TRAINING_IMAGES


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of an arm."""
    (arm,) = arguments.parse(argument, defaults.ARMS)
    config = ssdlite_defaults.get_config(arm)
    config.batch_size = 192
    config.data.source = "coco"
    config.schedule.name = "cosine"
    config.schedule.update({"base_learning_rate": 0.15, "reference_batch_size": 192})
    config.schedule.images = 660 * COCO_TRAINING_IMAGES
    config.schedule.warmup_images = 1_000 * 192
    config.schedule.warmup_factor = 0.001
    config.evaluation.every_images = 20 * COCO_TRAINING_IMAGES
    config.runtime.workers = 8
    return config
