"""The JSON file beside exported programs: classes, inputs, outputs and resizing."""

import dataclasses
from typing import Any

import numpy as np

from ioub_jax import tile_merging
from ioub_jax.inference import ObjectDetector

#: `data.resize.mode` -> rule from (H, W) of an image to (h, w), for readers of the JSON.
_RESIZE = {
    "fit": "f = min(canvas_h / H, canvas_w / W), on the canvas of the nearest aspect ratio; "
    "h = round(H * f), w = round(W * f)",
    "short_side": "f = min(short_side / min(H, W), long_side / max(H, W)), on the smallest canvas "
    "that holds it; h = round(H * f), w = round(W * f)",
    "stretch": "h = canvas_h, w = canvas_w, whatever the aspect ratio",
    "zoom": "h = round(H * zoom), w = round(W * zoom) of a tile of (H, W)",
}

#: Number of channels -> their meaning, for readers of the JSON.
_CHANNELS = {1: "gray (ITU-R 601 of RGB), ", 3: "RGB, "}


def describe(detector: ObjectDetector) -> dict[str, Any]:
    """Description of a detector's programs for users without this package."""
    options = detector.placed.detector.options
    resize = dataclasses.asdict(detector.resize)
    of_mode = {"short_side": ("short_side", "long_side"), "zoom": ("zoom",)}
    resize = {key: resize[key] for key in ("mode", *of_mode.get(resize["mode"], ()))}
    channels = detector.reading.channels
    return {
        "classes": describe_classes(detector),
        "inputs": [
            f"images: uint8 [batch, canvas_h, canvas_w, {channels}], {_CHANNELS.get(channels, '')}"
            "0-255, the image in the top left of the canvas; pixels outside of it do not matter",
            "sizes: int32 [batch, 2], height h and width w of the image on the canvas, in pixels",
        ],
        "outputs": {
            "boxes": f"float32 [batch, {options.max_detections}, 4], xmin, ymin, xmax, "
            "ymax in pixels of the canvas, right and bottom edge exclusive, best first; times "
            "W / w and H / h they are pixels of an original image of (H, W)",
            "scores": "float32 [batch, detections], 0-1",
            "labels": "int32 [batch, detections], positions in classes",
            "valid": "bool [batch, detections], false in the padding, which comes last",
        },
        "pixels": {
            "exif": detector.reading.exif,
            "bit_depth": detector.reading.bit_depth,
            "rule": "'apply': images are turned as their EXIF orientation says; of 16-bit images "
            "the pixels are value >> (bit_depth - 8)",
        },
        "resize": {
            **resize,
            "rule": _RESIZE[resize["mode"]],
            "interpolation": "mean of the area where it shrinks in both directions, else linear",
        },
        **_tiles(detector),
        "score_threshold": options.score_threshold,
        "nms_iou": options.nms_iou,
        "suppression": options.suppression,
        "class_agnostic": options.class_agnostic,
    }


def _tiles(detector: ObjectDetector) -> dict[str, Any]:
    """Describes the tiles, and how their detections are merged into those of an image."""
    tiling = detector.tiling
    if tiling is None:
        return {}
    all_together = detector.placed.detector.options.class_agnostic
    together = "the boxes of all classes together" if all_together else "the boxes of each class"
    rule = (
        "a program detects in one tile: cut an image into tiles of size pixels that begin every "
        "stride pixels, except that the last tile of a row or column ends where the image ends; "
        f"add the left and top of its tile to each box, and merge {together} by NMS "
        "(nms_iou), in which boxes that touch a tile border inside the image come last, and are "
        f"left out if another box covers {tile_merging.COVERED:g} of them"
    )
    return {"tiles": {"size": tiling.size, "stride": tiling.stride, "rule": rule}}


def describe_classes(detector: ObjectDetector) -> list[dict[str, Any]]:
    """The id, the name and, if one is set, the lowest score of each class."""
    classes = [
        {"id": id_, "name": name}
        for id_, name in zip(detector.category_ids, detector.classes, strict=True)
    ]
    least = detector.least_scores(detector.score_threshold)
    if not np.any(np.asarray(least) > 0.0):
        return classes
    scores = np.broadcast_to(least, len(classes)).tolist()
    return [
        {**class_, "lowest_score": score} for class_, score in zip(classes, scores, strict=True)
    ]
