"""Defaults and keys of the families after RetinaNet, where they differ from RetinaNet's.

Everything else is as in RetinaNet. The numbers are those of the papers and of their authors' code.
"""

from typing import Any


class Marker:
    """A placeholder for a value, recognised by its own name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        """The name."""
        return self._name


#: In the place of a default: the family has no such key.
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

# Before the first step their boxes are far off, and a w_loc measured there would be far too large.
_NORMALISED_IN_EVERY_BATCH = {"loss.localization.dynamic": True}

_CENTRENESS = {
    "loss.localization.instance_weights": "centreness",
    "loss.quality.target": "centreness",
    "loss.quality.weight": 1.0,
    "evaluation.score_exponents": (1.0, 1.0),
}

#: Family -> key -> its default there.
FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "retinanet": {},
    "fcos": {
        "model.name": "fcos",
        **_ONE_SQUARE,
        **_HEADS,
        **_CENTRENESS,
        **_NORMALISED_IN_EVERY_BATCH,
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
        **_NORMALISED_IN_EVERY_BATCH,
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
        **_NORMALISED_IN_EVERY_BATCH,
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
}
