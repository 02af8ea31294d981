"""A small RetinaNet on a data set of your own in COCO's format, trained from scratch.

The defaults are those of DeepPCB (github.com/tangsanli5201/DeepPCB: defects of printed circuit
boards, 640x640, six classes) with its annotations as COCO JSON. On its official test split this
reaches AP .560, AP50 .897, AP75 .631 on 2 CPU cores, at 7.5 images/s (docs/results).

python -m experiments.train --config=configs/coco_folder_retinanet.py --workdir=runs/boards \
  --config.data.coco.root=PATH

For data of your own set `data.coco.*`, and look at it first:

python -m experiments.check_data --config=configs/coco_folder_retinanet.py \
  --config.data.coco.root=PATH
"""

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.backbones import BACKBONES, use_backbone


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone and an arm."""
    backbone, arm = arguments.parse(argument, ("small", *BACKBONES), defaults.ARMS)
    config = defaults.get_config(arm)
    config.batch_size = 8
    defaults.make_small(config.model, width=16, channels=48)
    if backbone != "small":
        config.model.width = 64
        use_backbone(config.model, backbone)
        # Up to stride 8 a few hundred images teach little, and training there costs the most.
        config.model.frozen_stages = 3 if backbone == "lite0" else 1
    # Defects are 15 to 97 px at this size: the smallest anchors are 16 px.
    config.anchors.base_scale = 2.0

    config.data.source = "coco"
    config.data.coco.train_annotations = "annotations/instances_trainval.json"
    config.data.coco.val_annotations = "annotations/instances_test.json"
    config.data.coco.test_annotations = "annotations/instances_test.json"
    config.data.coco.train_images = "images"
    config.data.coco.val_images = "images"
    config.data.coco.test_images = "images"
    config.data.canvases = ((480, 480),)
    config.data.max_boxes = 40
    # A board has no up and no down.
    config.data.augmentation.vertical_flip = 0.5
    config.data.augmentation.scale_jitter = (0.8, 1.25)

    config.schedule.name = "cosine"
    config.schedule.base_learning_rate = 0.05 if backbone == "small" else 0.025
    config.schedule.images = 24_000
    config.schedule.warmup_images = 1_000
    config.optimizer.weight_decay = 5e-4
    config.optimizer.clip_global_norm = 10.0

    config.evaluation.every_images = 6_000
    config.evaluation.batch_size = 20
    config.runtime.checkpoint_every_images = 2_000
    return config
