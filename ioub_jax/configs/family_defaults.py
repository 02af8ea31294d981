"""Defaults of the families other than RetinaNet and SSD, where they differ from these two.

All other defaults are those of RetinaNet, or those of SSD for the families in `LIKE_SSD`. The
numbers are from the papers and from their authors' code.
"""

from typing import Any

from ioub_jax.configs.ssd_boxes import LITE_RATIOS, LITE_STRIDES, lite_sizes


class Marker:
    """A placeholder for a value, recognized by its own name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        """The name."""
        return self._name


#: Placeholder for a default: the family has no such key.
NO_KEY = Marker("NO_KEY")

_ONE_SQUARE = {
    "anchors.scales_per_octave": 1,
    "anchors.ratios": (1.0,),
    "anchors.rounded": False,
}

_HEADS = {
    "model.fpn.p6_from": "p5",
    "model.head.norm": "group_norm",
    "model.head.level_scales": True,
    "evaluation.nms_iou": 0.6,
}

# Before the first step the boxes of these families are far off, so that a w_loc measured on them
# would be far too large.
_NORMALIZED_IN_EVERY_BATCH = {"loss.localization.dynamic": True}

_CENTRENESS = {
    "loss.localization.instance_weights": "centreness",
    "loss.quality.target": "centreness",
    "loss.quality.weight": 1.0,
    "evaluation.score_exponents": (1.0, 1.0),
}

#: Families that have SSD's defaults where they do not have their own.
LIKE_SSD = ("ssdlite",)

#: Family -> key -> default of the key in the family.
FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "retinanet": {},
    "fcos": {
        "model.name": "fcos",
        **_ONE_SQUARE,
        **_HEADS,
        **_CENTRENESS,
        **_NORMALIZED_IN_EVERY_BATCH,
        "anchors.base_scale": 1.0,
        "anchors.box_weights": NO_KEY,
        "model.fpn.relu_before_p7": True,
        "model.head.distances": "exp",
        "matcher.name": "fcos",
        "loss.localization.name": "giou",
    },
    "atss": {
        "model.name": "atss",
        **_ONE_SQUARE,
        **_HEADS,
        **_CENTRENESS,
        **_NORMALIZED_IN_EVERY_BATCH,
        "anchors.base_scale": 8.0,
        "anchors.box_weights": (10.0, 10.0, 5.0, 5.0),
        "matcher.name": "atss",
        "loss.localization.name": "giou",
        "loss.localization.weight": 2.0,
    },
    "gfl": {
        "model.name": "gfl",
        **_ONE_SQUARE,
        **_HEADS,
        **_NORMALIZED_IN_EVERY_BATCH,
        "anchors.base_scale": 8.0,
        "anchors.box_weights": NO_KEY,
        "model.head.reg_max": 16,
        "matcher.name": "atss",
        "loss.classification.name": "quality_focal",
        "loss.localization.name": "giou",
        "loss.localization.weight": 2.0,
        "loss.localization.instance_weights": "score",
        "loss.distribution_weight": 0.25,
    },
    "iou_aware_retinanet": {
        "model.name": "iou_aware_retinanet",
        "model.head.level_scales": False,
        "loss.quality.target": "iou",
        "loss.quality.weight": 1.0,
        "evaluation.score_exponents": (0.5, 0.5),
    },
    "ssdlite": {
        "model.name": "ssdlite",
        "model.backbone": "mobilenet_v3_large",
        "model.reduced_tail": True,
        "model.input_size": 320,
        "model.norm": "batch_norm",
        "model.norm_epsilon": 1e-3,
        "model.norm_momentum": 0.97,
        "model.pixel_mean": (127.5, 127.5, 127.5),
        "model.pixel_std": (127.5, 127.5, 127.5),
        "anchors.sizes": lite_sizes(320),
        "anchors.ratios": LITE_RATIOS,
        "anchors.strides": LITE_STRIDES,
        "anchors.rounded": False,
        "anchors.stride_from_grid": True,
        "anchors.clip_sizes": True,
        "optimizer.weight_decay": 4e-5,
        "data.canvases": ((320, 320),),
        "data.augmentation.photometric_distortion": False,
        "data.augmentation.expand_ratio": 1.0,
        "evaluation.score_threshold": 0.001,
        "evaluation.nms_iou": 0.55,
        "evaluation.max_detections": 300,
        "evaluation.candidates_per_class": 300,
    },
}
