"""RetinaNet on PASCAL VOC in the setting of the IoU-balanced losses (arXiv 1908.05641).

Claim: the abstract of the paper reports AP +1.3 to +1.5 and AP80/AP90 +1.6 to +3.9 on VOC for both
losses over the baseline. Not reproduced here yet: that takes a GPU or TPU. The paper's VOC numbers
are the 11-point AP averaged over the IoU thresholds .50:.05:.95, which is `voc_AP` of an
evaluation.

Schedule: 2007+2012 trainval, tested on 2007 test; 12 epochs at 600x1000, batch 16, learning rate
.01 per 16 images, a tenth of it after epochs 8 and 11, warm-up from a third over 500 steps, weight
decay 1e-4, gradient clipped at norm 35, flip; backbone from ImageNet as for COCO. (The authors'
file has batch 12 and learning rate .0075, which is the same rate per image.) Meant for 2 to 8 GPUs,
or a TPU.

The argument has a backbone (r50, r101, x101, x101_64x4d, r18, r34, lite0, mobilenet) and an arm
(both, baseline, cls, loc, loc_weight_only), each with the first as default. `data.voc.root` is the
VOCdevkit folder with VOC2007/ and VOC2012/:

python -m experiments.train --config=configs/voc_retinanet.py:r50,both --workdir=runs/voc \
  --config.data.voc.root=PATH
"""

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.backbones import BACKBONES, use_backbone
from ioub_jax.configs.data_sets import VOC_TRAINING_IMAGES, use_voc


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone and an arm."""
    backbone, arm = arguments.parse(argument, BACKBONES, defaults.ARMS)
    config = defaults.get_config(arm)
    use_backbone(config.model, backbone)
    use_voc(config.data)
    config.data.resize.update({"mode": "short_side", "short_side": 600, "long_side": 1000})
    config.data.canvases = ((608, 1024), (608, 800), (800, 608), (1024, 608))
    config.schedule.images = 12 * VOC_TRAINING_IMAGES
    config.optimizer.clip_global_norm = 35.0
    config.evaluation.every_images = VOC_TRAINING_IMAGES
    config.evaluation.metrics = ("voc", "coco")
    config.runtime.workers = 8
    # Cheaper on TPUs than to keep and to read them again: docs/performance.md.
    config.runtime.rematerialize = "activations"
    return config
