"""SSD300 and SSD512 on COCO 2017 in the setting of the IoU-balanced losses (arXiv 1908.05641).

Claim: the abstract of the paper reports AP +1.0 to +1.7 and AP75 +1.0 to +2.4 on COCO for both
losses over the baseline, with RetinaNet and SSD. Not reproduced here yet: that takes a GPU or TPU.

Schedule: 120 epochs, batch 64, learning rate 2e-3 per 64 images, a tenth of it after epochs 80 and
110, warm-up from a third over 500 steps, weight decay 5e-4, SSD's augmentation; VGG16 from
ImageNet. As in the authors' code (mmdetection 0.6: 24 epochs of a data set repeated five times).
Meant for 8 GPUs with 8 images each, or a TPU v3-8 or newer.

The argument has an input size (300, 512) and an arm (both, baseline, cls, loc, loc_weight_only),
each with the first as default:

python -m experiments.train --config=configs/coco_ssd.py:300,both --workdir=runs/ssd \
  --config.data.coco.root=PATH
"""

import ml_collections

from ioub_jax.configs import arguments, defaults, ssd_defaults
from ioub_jax.configs.data_sets import COCO_TRAINING_IMAGES


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of an input size and an arm."""
    input_size, arm = arguments.parse(argument, ("300", "512"), defaults.ARMS)
    config = ssd_defaults.get_config(arm, int(input_size), "coco")
    config.model.pretrained = "vgg16"
    config.batch_size = 64
    config.data.source = "coco"
    config.schedule.update({"base_learning_rate": 2e-3, "reference_batch_size": 64})
    config.schedule.images = 120 * COCO_TRAINING_IMAGES
    config.schedule.warmup_images = 500 * 64
    config.schedule.decay_at = (16 / 24, 22 / 24)
    config.evaluation.every_images = 10 * COCO_TRAINING_IMAGES
    config.runtime.workers = 8
    return config
