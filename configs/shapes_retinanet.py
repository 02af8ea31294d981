"""A small RetinaNet on `shapes`, a data set that is drawn as it is read: no download.

`make demo` runs this. The argument is the arm:
`--config=configs/shapes_retinanet.py:baseline`.
"""

import ml_collections

from configs import defaults


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """The configuration of an arm."""
    config = defaults.get_config(arm)
    config.batch_size = 16
    config.model.backbone = "resnet18"
    config.model.width = 16
    config.model.fpn.channels = 48
    config.model.fpn.norm = "group_norm"
    config.model.head.width = 48
    config.model.head.depth = 2
    config.model.head.norm = "group_norm"
    # Objects of 12 px and more: the smallest anchors are 16 px, half of COCO's.
    config.anchors.base_scale = 2.0

    config.data.source = "shapes"
    config.data.canvases = ((128, 128),)
    config.data.max_boxes = 16

    config.schedule.name = "cosine"
    config.schedule.base_learning_rate = 0.05
    config.schedule.images = 18_000
    config.schedule.warmup_images = 1_000
    config.optimizer.clip_global_norm = 10.0

    config.evaluation.every_images = 6_000
    config.evaluation.batch_size = 40
    config.runtime.checkpoint_every_images = 3_000
    return config
