"""Values of configuration keys measured on a data set, each with its reason."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import ml_collections
import numpy as np

from ioub_jax import detectors
from ioub_jax.data.resizing import Resize, Size, padding_share, suggest_canvases
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.diagnostics import anchor_fit
from ioub_jax.diagnostics.anchor_advice import NOTEWORTHY, Anchoring, find_remedy

# An object with a side of this many pixels has enough features on the finest level, of stride 8.
_SMALL_OBJECT = 20.0
# This share of the objects may be smaller. A class with fewer objects than this has no influence.
_SMALLER, _FEWEST_OF_A_CLASS = 0.1, 10
# Limits of the longer side of a canvas. On a smaller canvas the coarsest levels have too few cells;
# with a larger one a step takes many seconds on a CPU.
_SHORTEST, _LONGEST = 256, 1024
_MULTIPLE = 16
_MOST_CANVASES = 3
# A further canvas must save this share of padding, since each canvas is compiled separately.
_WORTH_A_CANVAS = 0.1
# The least images that a training sees, so that it converges on a small data set, and the least
# epochs, so that it sees a large data set often enough.
_FEWEST_IMAGES, _FEWEST_EPOCHS = 7_000, 12
_EVALUATIONS = 10


@dataclasses.dataclass(frozen=True)
class Setting:
    """The value of a key.

    Attributes:
      key: the key with its dots, without `config.`.
      value: the value that suits the data.
      why: the reason, in one or two sentences.
    """

    key: str
    value: Any
    why: str


def measure(config: ml_collections.ConfigDict, annotations: Annotations) -> list[Setting]:
    """Measures the values of a recipe that depend on the data.

    Args:
      config: the recipe, with the keys that open the data.
      annotations: the annotations of the training images.

    Returns:
      the settings, in the order of the configuration.
    """
    annotations = annotations.without_ignored()
    chosen = [_canvases(annotations)]
    changed = config.copy_and_resolve_references()
    changed.data.canvases = chosen[0].value
    largest = int(annotations.counts.max(initial=1))
    chosen.append(
        Setting(
            "data.max_boxes",
            max(8, -(-largest // 8) * 8),
            f"The fullest image has {largest} objects.",
        )
    )
    chosen.append(
        Setting("data.keep_empty", True, "Images without objects are examples of background.")
    )
    chosen.append(
        Setting(
            "data.augmentation.scale_jitter",
            (0.8, 1.25),
            "A small data set shows objects in few sizes. If images make sense upside down, also "
            "set data.augmentation.vertical_flip to 0.5.",
        )
    )
    return [
        *chosen,
        *_anchors(changed, annotations),
        *_schedule(len(annotations), config.batch_size),
    ]


def _canvases(annotations: Annotations) -> Setting:
    """Canvases large enough for most objects, and as few as possible with little padding."""
    sizes = annotations.sizes
    short, long = (float(np.median(sides)) for sides in (sizes.min(axis=1), sizes.max(axis=1)))
    small = _small_objects(annotations)
    wanted = min(_SMALL_OBJECT / max(small, 1e-6), 1.0) * long
    side = _rounded(min(max(wanted, _SHORTEST), _LONGEST))
    resize = Resize("short_side", _rounded(side * short / long), side)
    canvases = _few(sizes, resize)
    seen = small * side / long
    why = (
        f"Images are {short:.0f}x{long:.0f}. A tenth of the objects, or half of those of one "
        f"class, are smaller than {small:.0f} px, which is {seen:.0f} px on this canvas."
    )
    if seen < 0.75 * _SMALL_OBJECT:
        why += (
            " That is small: train on tiles (data.tiles.size), or on larger canvases if the "
            "machine allows it."
        )
    return Setting("data.canvases", canvases, why)


def _small_objects(annotations: Annotations) -> float:
    """The size in pixels below which a tenth of all objects lie, or half of those of some class.

    The size of an object is the square root of its box's area. Of these values, for all objects and
    for each class with enough objects, the smallest is returned.
    """
    kept = ~annotations.crowd
    sides = annotations.boxes[kept, 2:] - annotations.boxes[kept, :2]
    objects = np.sqrt(np.maximum(sides, 0).prod(axis=1))
    labels = annotations.labels[kept]
    if not len(objects):
        return float(annotations.sizes.max())
    quantiles = [float(np.quantile(objects, _SMALLER))]
    for label in np.unique(labels):
        of_class = objects[labels == label]
        if len(of_class) >= _FEWEST_OF_A_CLASS:
            quantiles.append(float(np.median(of_class)))
    return min(quantiles)


def _rounded(side: float) -> int:
    return max(1, round(side / _MULTIPLE)) * _MULTIPLE


def _few(sizes: np.ndarray, resize: Resize) -> tuple[Size, ...]:
    """One canvas, or more if they save much padding."""
    best: tuple[Size, ...] = ()
    least = math.inf
    for count in range(1, _MOST_CANVASES + 1):
        canvases = suggest_canvases(sizes, resize, count, _MULTIPLE)
        padding = padding_share(sizes, canvases, Resize("fit"))
        if padding < least - _WORTH_A_CANVAS:
            best, least = canvases, padding
    return best


def _anchors(config: ml_collections.ConfigDict, annotations: Annotations) -> list[Setting]:
    """Anchor sizes and ratios for boxes that the recipe's anchors do not reach; empty if few."""
    if config.matcher.name != "iou":
        return []  # other matchers do not need anchors similar to the boxes
    detector = detectors.create(config, num_classes=1)
    canvases = tuple(map(tuple, config.data.canvases))
    anchoring = Anchoring(detector.levels, canvases, Resize("fit"), has_one_size=True)
    fit = anchor_fit.measure_anchor_fit(annotations, anchoring)
    share = fit.all.unreached / max(fit.all.boxes, 1)
    if share <= NOTEWORTHY:
        return []
    remedy = find_remedy(annotations, anchoring, too_small=2 * fit.too_small > fit.all.unreached)
    if remedy is None:
        return []
    why = (
        f"The recipe's anchors reach all but {share:.1%} of the boxes at IoU .5, these anchors all "
        f"but {remedy.share:.1%}."
    )
    return [Setting(key, value, why) for key, value in remedy.values.items()]


def _schedule(images: int, batch_size: int) -> Iterator[Setting]:
    """Yields the settings on the length of the run, by the number of images."""
    epochs = max(_FEWEST_EPOCHS, math.ceil(_FEWEST_IMAGES / images))
    seen = -(-images * epochs // batch_size) * batch_size
    yield Setting(
        "schedule.images",
        seen,
        f"{epochs} epochs of {images:,} images.",
    )
    yield Setting(
        "schedule.warmup_images",
        min(1_000, seen // 10),
        "A tenth of the run, but at most 1,000 images, which suffice for new heads.",
    )
    every = max(seen // _EVALUATIONS, batch_size)
    yield Setting("evaluation.every_images", every, f"{_EVALUATIONS} times in the run.")
    yield Setting(
        "runtime.checkpoint_every_images",
        every,
        "A killed run loses at most this many images; a run that is stopped by Ctrl-C loses none.",
    )
