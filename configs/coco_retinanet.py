"""RetinaNet on COCO 2017 in the paper's setting: ResNet-50, 800x1333, 12 epochs, batch 16.

`data.coco.root` is the folder with annotations/, train2017/ and val2017/:

python -m experiments.check_data --config=configs/coco_retinanet.py --config.data.coco.root=PATH
python -m experiments.train --config=configs/coco_retinanet.py --workdir=runs/coco \
  --config.data.coco.root=PATH

The same through TFDS: `--config.data.source=tfds` (name and folder in `data.tfds`). The paper
starts from a backbone trained on ImageNet, with its batch norms and first stage frozen
(`model.pretrained`, `model.norm='frozen_bn'`, `model.frozen_stages=1`); this file trains from
scratch, so expect less in 12 epochs.
"""

import ml_collections

from configs import defaults

#: Pads COCO's images by 6 % (docs/results); a single canvas for all would pad them by 105 %.
CANVASES = ((800, 1344), (800, 1216), (800, 1088), (1088, 800), (1344, 800))


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """The configuration of an arm."""
    config = defaults.get_config(arm)
    config.data.source = "coco"
    config.data.canvases = CANVASES
    config.data.resize.mode = "short_side"
    config.runtime.workers = 8
    return config
