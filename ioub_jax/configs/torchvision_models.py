"""Configurations equal to torchvision's detectors: model, anchors, matcher and inference."""

import copy
from typing import Any

from ioub_jax.configs.ssd_boxes import LITE_RATIOS, LITE_STRIDES, lite_sizes

_RETINANET: dict[str, Any] = {
    "model": {
        "name": "retinanet",
        "backbone": "resnet50",
        "width": 64,
        "norm": "frozen_bn",
        "norm_epsilon": 1e-5,
        "frozen_stages": 1,
        "pretrained": None,
        "pixel_mean": (123.675, 116.28, 103.53),
        "pixel_std": (58.395, 57.12, 57.375),
        "dtype": "float32",
        "fpn": {
            "channels": 256,
            "p6_from": "p5",
            "relu_before_p7": True,
            "norm": "none",
            "top_down": True,
        },
        "head": {
            "width": 256,
            "depth": 4,
            "norm": "none",
            "bias_before_norm": True,
            "prior_probability": 0.01,
        },
    },
    "anchors": {
        "base_scale": 4.0,
        "scales_per_octave": 3,
        "ratios": (0.5, 1.0, 2.0),
        "center_offset": 0.0,
        "rounded": True,
        "whole_sizes": True,
        "stride_from_grid": True,
        "box_weights": (1.0, 1.0, 1.0, 1.0),
    },
    "matcher": {"foreground_iou": 0.5, "background_iou": 0.4, "low_quality": "torchvision"},
    "loss": {
        "classification": {"name": "focal", "alpha": 0.25, "gamma": 2.0, "weight": 1.0},
        "localization": {"name": "smooth_l1", "beta": 0.0, "weight": 1.0},  # L1
        "normalizer": "per_image",
    },
    "evaluation": {
        "score_threshold": 0.05,
        "candidates_per_level": 1000,
        "nms_iou": 0.5,
        "max_detections": 300,
    },
    "data": {
        "canvases": ((800, 1344), (800, 1216), (800, 1088), (1088, 800), (1344, 800)),
        "resize": {"mode": "short_side", "short_side": 800, "long_side": 1333, "scales": (1.0,)},
    },
}

# A point is the center of a square anchor whose side is the stride.
_FCOS: dict[str, Any] = {
    "model": {
        **_RETINANET["model"],
        "name": "fcos",
        "head": {
            "width": 256,
            "depth": 4,
            "norm": "group_norm",
            "bias_before_norm": True,
            "prior_probability": 0.01,
            "level_scales": False,
            "distances": "relu",
        },
    },
    "anchors": {
        "base_scale": 1.0,
        "scales_per_octave": 1,
        "ratios": (1.0,),
        "center_offset": 0.0,
        "rounded": True,
        "whole_sizes": True,
        "stride_from_grid": True,
    },
    "matcher": {"name": "fcos", "center_radius": 1.5, "center_rule": "torchvision"},
    "loss": {
        "classification": {"name": "focal", "alpha": 0.25, "gamma": 2.0, "weight": 1.0},
        "localization": {"name": "giou", "instance_weights": "none", "weight": 1.0},
        "quality": {"target": "centreness", "weight": 1.0},
        "normalizer": "positives",
    },
    "evaluation": {
        "score_threshold": 0.2,
        "score_exponents": (0.5, 0.5),
        "candidates_per_level": 1000,
        "nms_iou": 0.6,
        "max_detections": 100,
    },
    "data": _RETINANET["data"],
}

_SSD300: dict[str, Any] = {
    "model": {
        "name": "ssd",
        "backbone": "vgg16",
        "input_size": 300,
        "width": 64,
        "frozen_stages": 1,
        "pretrained": None,
        # Caffe's normalization: the mean is subtracted, without division.
        "pixel_mean": (0.48235 * 255, 0.45882 * 255, 0.40784 * 255),
        "pixel_std": (1.0, 1.0, 1.0),
        "dtype": "float32",
    },
    "anchors": {
        "sizes": (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0),
        "ratios": ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)),
        "strides": (8, 16, 32, 64, 100, 300),
        "rounded": False,
        "clip_sizes": True,
        "box_weights": (10.0, 10.0, 5.0, 5.0),
    },
    "matcher": {"foreground_iou": 0.5, "background_iou": 0.5, "low_quality": "ssd"},
    "loss": {
        "classification": {"name": "softmax", "weight": 1.0},
        "localization": {"name": "smooth_l1", "beta": 1.0, "weight": 1.0},
        "normalizer": "positives",
    },
    "evaluation": {
        "score_threshold": 0.01,
        "candidates_per_class": 400,
        "nms_iou": 0.45,
        "max_detections": 200,
    },
    "data": {
        "canvases": ((300, 300),),
        "resize": {"mode": "stretch", "short_side": 300, "long_side": 300, "scales": (1.0,)},
    },
}

_SSDLITE320: dict[str, Any] = {
    "model": {
        "name": "ssdlite",
        "backbone": "mobilenet_v3_large",
        "reduced_tail": True,
        "input_size": 320,
        "width": 64,
        "norm": "batch_norm",
        "norm_epsilon": 1e-3,
        "norm_momentum": 0.97,
        "frozen_stages": -1,
        "pretrained": None,
        "pixel_mean": (127.5, 127.5, 127.5),
        "pixel_std": (127.5, 127.5, 127.5),
        "dtype": "float32",
    },
    "anchors": {
        "sizes": lite_sizes(320),
        "ratios": LITE_RATIOS,
        "strides": LITE_STRIDES,
        "rounded": False,
        "stride_from_grid": True,
        "clip_sizes": True,
        "box_weights": (10.0, 10.0, 5.0, 5.0),
    },
    "matcher": _SSD300["matcher"],
    "loss": _SSD300["loss"],
    "evaluation": {
        "score_threshold": 0.001,
        "candidates_per_class": 300,
        "nms_iou": 0.55,
        "max_detections": 300,
    },
    "data": {
        "canvases": ((320, 320),),
        "resize": {"mode": "stretch", "short_side": 320, "long_side": 320, "scales": (1.0,)},
    },
}

_OTHERS = {
    "fcos_resnet50_fpn": _FCOS,
    "ssd300_vgg16": _SSD300,
    "ssdlite320_mobilenet_v3_large": _SSDLITE320,
}
#: Detectors with inputs of a fixed size, whose first class output is the background.
SSDS = ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large")


def torchvision_config(architecture: str) -> dict[str, Any]:
    """Values of configuration keys that make a detector equal to one of torchvision's.

    Args:
      architecture: 'retinanet_resnet50_fpn', 'retinanet_resnet50_fpn_v2', 'fcos_resnet50_fpn',
        'ssd300_vgg16' or 'ssdlite320_mobilenet_v3_large'.

    Returns:
      nested dicts with some of the keys of `model`, `anchors`, `matcher`, `loss`, `evaluation` and
      `data` in `ioub_jax/configs/keys.py`, with which a configuration can be updated.

    Raises:
      ValueError: there is no such detector.
    """
    if architecture in _OTHERS:
        return copy.deepcopy(_OTHERS[architecture])
    config = copy.deepcopy(_RETINANET)
    if architecture == "retinanet_resnet50_fpn_v2":
        config["model"]["norm"] = "batch_norm"
        config["model"]["fpn"]["p6_from"] = "c5"
        config["model"]["head"].update({"norm": "group_norm", "bias_before_norm": False})
        config["loss"]["localization"].update({"name": "giou"})
    elif architecture != "retinanet_resnet50_fpn":
        raise ValueError(f"{architecture!r} is not one of torchvision's detectors.")
    return config
