"""RetinaNet on COCO 2017 in the setting of the IoU-balanced losses (arXiv 1908.05641).

Claim: the abstract of the paper reports AP +1.0 to +1.7 and AP75 +1.0 to +2.4 on COCO for both
losses over the baseline, with RetinaNet and SSD. Not reproduced here yet: that takes a GPU or TPU.

Schedule: 12 epochs, batch 16, learning rate .01 per 16 images, a tenth of it after epochs 8 and 11,
warm-up from a third over 500 steps, weight decay 1e-4, gradient clipped at norm 35, flip; backbone
from ImageNet with frozen batch norms, stem and first stage frozen. 800x1333 (`main`), or 600x1000
(`ablation`). As published in the authors' code (mmdetection 0.6), except that the learning rate
follows the batch. Meant for 8 GPUs with 2 images each, or a TPU v3-8 or newer.

The argument has a backbone (r50, r101, x101, x101_64x4d, r18, r34, lite0, mobilenet), an arm (both,
baseline, cls, loc, loc_weight_only) and a scale (main, ablation), each with the first as default:

python -m experiments.check_data --config=configs/coco_retinanet.py --config.data.coco.root=PATH
python -m experiments.train --config=configs/coco_retinanet.py:r50,both --workdir=runs/coco \
  --config.data.coco.root=PATH

PATH has annotations/, train2017/ and val2017/; use `--config.data.source=tfds` for the same data
through TFDS. The sweeps of eta and lambda are overrides of the arms:
`--config.loss.classification.eta=1.0`, `--config.loss.localization.lambda_=2.0`.
"""

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.backbones import BACKBONES, use_backbone
from ioub_jax.configs.data_sets import use_coco


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone, an arm and a scale."""
    backbone, arm, scale = arguments.parse(argument, BACKBONES, defaults.ARMS, ("main", "ablation"))
    config = defaults.get_config(arm)
    use_backbone(config.model, backbone)
    use_coco(config, ablation=scale == "ablation")
    return config
