"""RetinaNet on Cityscapes' 8 instance classes, 1024x2048 (arXiv 1908.05641 reports it too).

Claim: none; the paper's numbers on Cityscapes were not at hand when this was written.

Schedule: 64 epochs of fine annotations, batch 8 (learning rate .01 per 16 images), a tenth of it
after 7/8, warm-up from a third over 500 steps, weight decay 1e-4, gradient clipped at norm 35,
flip, sizes between 800 and 1024 drawn for each batch; backbone from ImageNet as for COCO. Meant for
8 GPUs.

The argument has a backbone (r50, r101, x101, x101_64x4d, r18, r34, lite0, mobilenet) and an arm
(both, baseline, cls, loc, loc_weight_only), each with the first as default. `data.cityscapes.root`
is the folder with leftImg8bit/ and gtFine/:

python -m experiments.train --config=configs/cityscapes_retinanet.py:r50,both \
  --workdir=runs/cityscapes --config.data.cityscapes.root=PATH
"""

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.backbones import BACKBONES, use_backbone

TRAINING_IMAGES = 2_975


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone and an arm."""
    backbone, arm = arguments.parse(argument, BACKBONES, defaults.ARMS)
    config = defaults.get_config(arm)
    use_backbone(config.model, backbone)
    config.batch_size = 8
    config.data.source = "cityscapes"
    # Every image is 1024x2048; training draws a size between 800 and 1024 for each batch.
    config.data.canvases = ((1024, 2048),)
    config.data.resize.scales = (0.78125, 0.84375, 0.90625, 0.9375, 1.0)
    config.data.max_boxes = 250
    config.schedule.images = 64 * TRAINING_IMAGES
    config.schedule.warmup_images = 4_000
    config.schedule.decay_at = (7 / 8,)
    config.optimizer.clip_global_norm = 35.0
    config.evaluation.every_images = 8 * TRAINING_IMAGES
    config.evaluation.batch_size = 8
    config.runtime.workers = 8
    # Cheaper on TPUs than to keep and to read them again: docs/performance.md.
    config.runtime.rematerialize = "activations"
    return config
