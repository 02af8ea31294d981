"""FCOS, ATSS, GFL and IoU-aware RetinaNet on COCO 2017, with and without the IoU-balanced losses.

Claim: GFL's paper (arXiv 2006.04388) reports AP +.4 on FCOS and +.9 on ATSS from scores that follow
the IoU. Not reproduced here yet: that takes a GPU or TPU. Here `baseline` is the detector as
published, and `cls`, `loc` and `both` are the IoU-balanced losses on it (`cls` and `both` on the
focal loss instead of GFL's scores, which follow the IoU already).

Schedule and data: those of `coco_retinanet.py`, which mmdetection also uses for these detectors.

The argument has a detector (atss, fcos, gfl, iou_aware_retinanet), a backbone, an arm and a scale
as in `coco_retinanet.py` (loc_weight_only only for iou_aware_retinanet), each with the first as
default:

python -m experiments.train --config=configs/coco_dense.py:gfl,r50,baseline --workdir=runs/gfl \
  --config.data.coco.root=PATH
"""

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.backbones import BACKBONES, use_backbone
from ioub_jax.configs.data_sets import use_coco

DETECTORS = ("atss", "fcos", "gfl", "iou_aware_retinanet")


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a detector, a backbone, an arm and a scale."""
    detector, backbone, arm, scale = arguments.parse(
        argument, DETECTORS, BACKBONES, defaults.ARMS, ("main", "ablation")
    )
    config = defaults.of_family(detector, arm)
    use_backbone(config.model, backbone)
    use_coco(config, ablation=scale == "ablation")
    return config
