"""RetinaNet on PASCAL VOC in the paper's setting: 2007+2012 trainval, tested on 2007 test.

`data.voc.root` is the VOCdevkit folder with VOC2007/ and VOC2012/:

python -m experiments.train --config=configs/voc_retinanet.py --workdir=runs/voc \
  --config.data.voc.root=PATH

The paper's VOC numbers are the 11-point AP averaged over the IoU thresholds .50:.05:.95, which is
`voc_AP` of an evaluation. As for COCO, the paper starts from a backbone trained on ImageNet.
"""

import ml_collections

from configs import defaults

TRAINING_IMAGES = 5_011 + 11_540  # trainval of 2007 and of 2012


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """The configuration of an arm."""
    config = defaults.get_config(arm)
    config.data.source = "voc"
    config.data.voc.train_folders = ("VOC2007", "VOC2012")
    config.data.voc.val_folders = ("VOC2007",)
    config.data.voc.test_folders = ("VOC2007",)
    config.data.resize.update({"mode": "short_side", "short_side": 600, "long_side": 1000})
    config.data.canvases = ((608, 1024), (608, 800), (800, 608), (1024, 608))
    config.schedule.images = 12 * TRAINING_IMAGES
    config.schedule.warmup_images = 4_000
    config.evaluation.every_images = TRAINING_IMAGES
    config.evaluation.metrics = ("voc", "coco")
    config.runtime.workers = 8
    return config
