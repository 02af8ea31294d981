"""The losses of the league, as the keys of `config.loss` that select them.

The league compares every loss with the baseline on the same data, with the same schedule and seeds.
The weight of a loss is that of its paper or of its authors' code, from the table in docs/losses.md,
or 1 if none is known.
"""

from typing import Any

from ioub_jax.configs import advice

#: The first arm, with which the others are compared, and whose gradient they should keep.
BASELINE = "baseline"

_IOU_BALANCED = {"lambda_": 1.5, "w_loc": 1.0}

#: Arm -> keys of `loss.localization`, for a detector of the arm `baseline`.
LOCALIZATION: dict[str, dict[str, Any]] = {
    "l1": {"beta": 0.0},
    "balanced_l1": {"name": "balanced_l1"},
    "iou_balanced": _IOU_BALANCED,
    "iou_balanced_dynamic": {"lambda_": 1.5, "dynamic": True},
    "iou": {"name": "iou", "weight": 10.0},
    "giou": {"name": "giou", "weight": 2.0},
    "diou": {"name": "diou"},
    "ciou": {"name": "ciou", "weight": 12.0},
    "eiou": {"name": "eiou"},
    "focal_eiou": {"name": "focal_eiou"},
    "siou": {"name": "siou"},
    "mpdiou": {"name": "mpdiou"},
    "wiou_v1": {"name": "wiou_v1"},
    "wiou_v2": {"name": "wiou_v2"},
    "wiou_v3": {"name": "wiou_v3"},
    "shape_iou": {"name": "shape_iou"},
    "piou": {"name": "piou"},
    "piou2": {"name": "piou2"},
    "nwd": {"name": "nwd"},
    "inner_iou": {"name": "iou", "inner": 0.7},
    "focaler_iou": {"name": "iou", "focaler": (0.0, 0.95)},
    "alpha_iou": {"name": "iou", "power": 3.0},
}

#: Arm -> keys of `loss`, for the same detector. The arms of the paper calibrate their w_loc.
OTHERS: dict[str, dict[str, Any]] = {
    "loc": {"localization.lambda_": 1.5, "localization.w_loc": None},
    "both": {
        "classification.eta": 1.5,
        "localization.lambda_": 1.5,
        "localization.w_loc": None,
    },
    "carl": {"localization.carl_weight": 1.0},
    "cls": {"classification.eta": 1.5},
    "quality_focal": {"classification.name": "quality_focal"},
    "varifocal": {"classification.name": "varifocal"},
    "mal": {"classification.name": "mal"},
    "ia_bce": {"classification.name": "ia_bce"},
    "ghm_c": {"classification.name": "ghm_c"},
    "rank_and_sort": {"classification.name": "rank_and_sort"},
    "bucketed_rank_and_sort": {"classification.name": "bucketed_rank_and_sort"},
    "average_lrp": {"classification.name": "average_lrp"},
    "correlation": {"classification.correlation_weight": 0.2},
    "isr_p": {"classification.isr_p": True},
    # The baseline with another rounding in every step, which shows the effect of chance.
    "null": {"localization.weight": 1.0001},
}


#: Every arm of the league except the baseline -> keys of `loss`, without the weights that keep the
#: baseline's gradient.
ALL: dict[str, dict[str, Any]] = {
    arm: {f"localization.{key}": value for key, value in keys.items()}
    for arm, keys in LOCALIZATION.items()
} | OTHERS


def flag(arm: str, keys: dict[str, Any]) -> str:
    """The flag `--arm` of `ioub compare` that trains an arm.

    Args:
      arm: the name of the arm.
      keys: the keys of `loss` with their values.
    """
    settings = [f"loss.{key}={str(value).replace(' ', '')}" for key, value in keys.items()]
    if keys.get("classification.name") in advice.LOW_SCORES:
        settings.append("evaluation.score_threshold=0.0")
    return f"--arm={arm}: {' '.join(settings)}".rstrip()
