"""A small RetinaNet on a data set of your own in COCO's format, trained from scratch.

The defaults are those of DeepPCB (github.com/tangsanli5201/DeepPCB: defects of printed circuit
boards, 640x640, six classes) with its annotations as COCO JSON. On its official test split this
reaches AP .560, AP50 .897, AP75 .631 on 2 CPU cores, at 7.5 images/s (docs/results).

python -m experiments.train --config=configs/coco_folder_retinanet.py --workdir=runs/boards \
  --config.data.coco.root=PATH

For your own data, set `data.coco.*`, and check the data first:

python -m experiments.check_data --config=configs/coco_folder_retinanet.py \
  --config.data.coco.root=PATH
"""

import ml_collections

from ioub_jax.configs import small_data


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone and an arm, and of another detector if one is given."""
    # Defects are 15 to 97 px at this size, the smallest anchors 16 px.
    config = small_data.get_config(argument, width=16, channels=48)

    config.data.source = "coco"
    config.data.coco.train_annotations = "annotations/instances_trainval.json"
    config.data.coco.val_annotations = "annotations/instances_test.json"
    config.data.coco.test_annotations = "annotations/instances_test.json"
    config.data.coco.train_images = "images"
    config.data.coco.val_images = "images"
    config.data.coco.test_images = "images"
    config.data.canvases = ((480, 480),)
    # A board has no up and no down.
    config.data.augmentation.vertical_flip = 0.5
    config.data.augmentation.scale_jitter = (0.8, 1.25)

    config.schedule.images = 24_000
    config.evaluation.every_images = 6_000
    config.evaluation.batch_size = 20
    config.runtime.checkpoint_every_images = 2_000
    return config
