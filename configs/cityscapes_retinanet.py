"""RetinaNet on Cityscapes' 8 instance classes, 1024x2048.

`data.cityscapes.root` is the folder with leftImg8bit/ and gtFine/:

python -m experiments.train --config=configs/cityscapes_retinanet.py --workdir=runs/cityscapes \
  --config.data.cityscapes.root=PATH
"""

import ml_collections

from configs import defaults

TRAINING_IMAGES = 2_975


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """The configuration of an arm."""
    config = defaults.get_config(arm)
    config.batch_size = 8
    config.data.source = "cityscapes"
    # Every image is 1024x2048; training draws a size between 800 and 1024 for each batch.
    config.data.canvases = ((1024, 2048),)
    config.data.resize.scales = (0.78125, 0.84375, 0.90625, 0.9375, 1.0)
    config.data.max_boxes = 250
    config.schedule.images = 64 * TRAINING_IMAGES
    config.schedule.warmup_images = 4_000
    config.schedule.decay_at = (7 / 8,)
    config.evaluation.every_images = 8 * TRAINING_IMAGES
    config.evaluation.batch_size = 8
    config.runtime.workers = 8
    return config
