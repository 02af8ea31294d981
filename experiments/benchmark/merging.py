"""Quality of the rules for merging the detections of tiles, with a simulated detector."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ioub_jax import tile_merging
from ioub_jax.data.tiling import Tiling
from ioub_jax.evaluation import CocoMetric
from ioub_jax.tile_merging import Found

_SIZE = (3000, 4000)
_IMAGES, _OBJECTS = 8, 250
_NMS_IOU = 0.5
_NOISE = 0.03  # standard deviation of a box's edges, relative to its side
Boxes = np.ndarray


def merging_rules() -> dict[str, Any]:
    """AP of the same detections in tiles of 640 pixels that overlap by 128, merged by each rule.

    A simulated detector finds 97 % of the objects that a tile shows completely. It finds the
    visible part of another object with a probability equal to the visible share, and its scores
    decrease with that share.
    """
    tiling = Tiling(640, 0.2)
    table = ["| objects | " + " | ".join(_RULES) + " |", "|---" * (len(_RULES) + 1) + "|"]
    result: dict[str, Any] = {"images": _IMAGES, "size": _SIZE, "tiles": str(tiling)}
    for title, longest, has_nested in (
        ("up to 100 pixels", 100, False),
        ("up to 250 pixels", 250, False),
        ("up to 250 pixels, with small ones on large ones", 250, True),
    ):
        numbers = _measured(tiling, longest, has_nested)
        result[title] = numbers
        table.append(f"| {title} | " + " | ".join(f"{ap:.3f}" for ap in numbers.values()) + " |")
    return result | {"markdown": table}


def check_merging() -> str:
    """A line that describes what is measured."""
    return f"{_IMAGES} images of {_SIZE[1]}x{_SIZE[0]} with about {_OBJECTS} objects, drawn up"


def _measured(tiling: Tiling, longest: float, has_nested: bool) -> dict[str, float]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in _RULES}
    for number in range(_IMAGES):
        rng = np.random.default_rng(number)
        objects = _objects(rng, longest, has_nested)
        found = _found(rng, objects, tiling)
        images.append({"id": number, "height": _SIZE[0], "width": _SIZE[1]})
        annotations += [
            entry | {"id": len(annotations) + position, "iscrowd": 0}
            for position, entry in enumerate(_entries(number, objects), 1)
        ]
        for name, rule in _RULES.items():
            boxes, scores = rule(found, tiling.windows(_SIZE))
            entries = zip(_entries(number, boxes), scores.tolist(), strict=True)
            results[name] += [entry | {"score": score} for entry, score in entries]
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    metric = CocoMetric(counted=5000)
    return {
        name: round(metric.compute(truth, found).numbers[metric.headline_key] or 0.0, 3)
        for name, found in results.items()
    }


def _entries(image: int, boxes: Boxes) -> list[dict[str, Any]]:
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return [{"image_id": image, "category_id": 1, "bbox": box} for box in corners]


def _objects(rng: np.random.Generator, longest: float, has_nested: bool) -> Boxes:
    """Returns objects of 10 pixels and more that do not overlap, and small ones on large ones."""
    boxes = np.zeros((0, 4))
    while len(boxes) < _OBJECTS:
        sides = np.exp(rng.uniform(np.log(10), np.log(longest)) + rng.normal(0, 0.2, 2))
        corner = rng.uniform(0, np.array(_SIZE[::-1]) - sides)
        box = np.concatenate([corner, corner + sides])
        if not _intersections(box, boxes).any():
            boxes = np.concatenate([boxes, box[None]])
    if has_nested:
        large = boxes[(boxes[:, 2:] - boxes[:, :2] > 60).all(axis=1)]
        corners = rng.uniform(large[:, :2], large[:, 2:] - 20)
        boxes = np.concatenate([boxes, np.concatenate([corners, corners + 15], axis=1)])
    return boxes


def _found(rng: np.random.Generator, objects: Boxes, tiling: Tiling) -> list[Found]:
    """Returns the detections of the simulated detector in each tile."""
    found = []
    for window in tiling.windows(_SIZE):
        clipped = np.clip(objects, np.tile(window[:2], 2), np.tile(window[2:], 2))
        shown = _areas(clipped) / _areas(objects)
        is_found = rng.random(len(objects)) < np.where(shown == 1, 0.97, shown)
        is_found &= _areas(clipped) > 9
        boxes, share = clipped[is_found] - np.tile(window[:2], 2), shown[is_found]
        noise = rng.normal(0, _NOISE, boxes.shape) * np.sqrt(_areas(boxes))[:, None]
        # An edge at which a tile cuts an object is the edge of the tile, so it has less noise.
        is_cut = clipped[is_found] != objects[is_found]
        boxes = np.clip(boxes + np.where(is_cut, 0.3 * noise, noise), 0, tiling.size)
        scores = rng.uniform(0.4, 1, len(boxes)) * np.where(share == 1, 1, 0.6 + 0.4 * share)
        labels = np.zeros(len(boxes), np.int32)
        found.append(Found(boxes.astype(np.float32), scores.astype(np.float32), labels))
    return found


def _merged(found: list[Found], windows: np.ndarray) -> tuple[Boxes, np.ndarray]:
    merged = tile_merging.merge(found, windows, _SIZE, nms_iou=_NMS_IOU, max_detections=5000)
    return merged.boxes, merged.scores


def _by_score(
    loses: Callable[[Boxes, Boxes], np.ndarray],
) -> Callable[[list[Found], np.ndarray], tuple[Boxes, np.ndarray]]:
    """Returns an NMS that suppresses a box if `loses` is true for it and any better box."""

    def rule(found: list[Found], windows: np.ndarray) -> tuple[Boxes, np.ndarray]:
        pairs = zip(found, windows, strict=True)
        boxes = np.concatenate([one.boxes + np.tile(window[:2], 2) for one, window in pairs])
        scores = np.concatenate([one.scores for one in found])
        kept: list[int] = []
        for index in np.argsort(-scores, kind="stable").tolist():
            if not loses(boxes[index], boxes[kept]).any():
                kept.append(index)
        return boxes[kept], scores[kept]

    return rule


def _same(box: Boxes, better: Boxes) -> np.ndarray:
    shared = _intersections(box, better)
    return shared > _NMS_IOU * (_areas(box[None]) + _areas(better) - shared)


def _covered(box: Boxes, better: Boxes) -> np.ndarray:
    smaller = np.minimum(_areas(box[None]), _areas(better))
    return _intersections(box, better) > _NMS_IOU * smaller


def _areas(boxes: Boxes) -> np.ndarray:
    areas: np.ndarray = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return areas


def _intersections(box: Boxes, boxes: Boxes) -> np.ndarray:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return np.prod(np.maximum(sides, 0), axis=1)


_RULES: dict[str, Callable[[list[Found], np.ndarray], tuple[Boxes, np.ndarray]]] = {
    "IoU above .5": _by_score(_same),
    "intersection over the smaller box above .5": _by_score(_covered),
    "as here": _merged,
}
