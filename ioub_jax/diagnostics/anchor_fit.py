"""Fit between a configuration's anchors and the boxes of a data set."""

import dataclasses

import numpy as np

from ioub_jax.data.audit import Finding
from ioub_jax.data.audit.statistics import SIZE_CLASSES, size_classes
from ioub_jax.data.resizing import Size
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.diagnostics.anchor_advice import (
    NOTEWORTHY,
    REACHED,
    Anchoring,
    Remedy,
    best_ious,
    find_remedy,
    resized_boxes,
)


@dataclasses.dataclass(frozen=True)
class Reach:
    """Numbers of boxes that no anchor reaches.

    Attributes:
      boxes: the number of boxes.
      unreached: the number of boxes whose IoU with every anchor is below `REACHED`.
    """

    boxes: int
    unreached: int

    def __str__(self) -> str:
        return f"{self.unreached / max(self.boxes, 1):.1%} of {self.boxes:,}"


@dataclasses.dataclass(frozen=True)
class AnchorFit:
    """Numbers of boxes that the anchors reach; crowds are left out.

    Attributes:
      all: the reach of all boxes.
      by_network_size: the reach of COCO's small, medium and large objects, by the area of the box
        at the scale of the network's input.
      by_original_size: the same by the annotated area in original pixels, as in COCO's evaluation.
      too_small: the number of unreached boxes that even the smallest anchor around their center
        would not reach.
    """

    all: Reach
    by_network_size: dict[str, Reach]
    by_original_size: dict[str, Reach]
    too_small: int

    def __str__(self) -> str:
        lines = [f"Boxes that no anchor reaches at IoU {REACHED:g}: {self.all}"]
        for scale, reaches in (
            ("at the size the network sees", self.by_network_size),
            ("by annotated area in original pixels", self.by_original_size),
        ):
            parts = ", ".join(f"{name} {reach}" for name, reach in reaches.items())
            lines.append(f"  {scale}: {parts}")
        return "\n".join(lines)


def measure_anchor_fit(annotations: Annotations, anchoring: Anchoring) -> AnchorFit:
    """Compares every box with the anchors of its image's canvas.

    Args:
      annotations: the annotations of a whole data set.
      anchoring: the anchors and the canvases.

    Returns:
      the fit, without augmentation.
    """
    resized = resized_boxes(annotations, anchoring)
    unreached = best_ious(resized, anchoring) < REACHED
    area = (resized.boxes[:, 2:] - resized.boxes[:, :2]).prod(axis=1)
    # The IoU with an anchor is at most the ratio of the areas.
    smallest = min(_smallest_area(anchoring, canvas) for canvas in anchoring.canvases)
    return AnchorFit(
        Reach(len(unreached), int(unreached.sum())),
        _by_size(area, unreached),
        _by_size(annotations.area[resized.objects], unreached),
        int((unreached & (area < REACHED * smallest)).sum()),
    )


def unreached_finding(
    fit: AnchorFit, annotations: Annotations, anchoring: Anchoring
) -> list[Finding]:
    """A finding if many boxes are out of reach, with values that reach them; else an empty list.

    Args:
      fit: the fit of the annotations.
      annotations: the annotations of a whole data set.
      anchoring: the anchors and the canvases.
    """
    if fit.all.unreached <= NOTEWORTHY * fit.all.boxes:
        return []
    are_too_small = 2 * fit.too_small > fit.all.unreached
    where = "have shapes or sizes between those of the anchors or beyond the largest"
    if are_too_small:
        where = "are too small for the smallest anchors"
    remedy = find_remedy(annotations, anchoring, too_small=are_too_small)
    present = Remedy({}, fit.all.unreached / fit.all.boxes)
    further = ""
    if are_too_small and anchoring.has_one_size:
        further = "; use a larger model.input_size, such as that of SSD512 instead of SSD300"
    elif are_too_small:
        further = (
            "; cut the images into tiles (config.data.tiles.size), in which objects are larger"
        )
        if anchoring.resize.mode == "zoom":
            further = "; use smaller tiles at a larger zoom"
    advice = (
        f"Only config.matcher.low_quality gives them an anchor. Most {where}: "
        f"{_in_words(remedy or present, present, further)}."
    )
    return [Finding("unreached_box", False, fit.all.unreached, advice)]


def _in_words(remedy: Remedy, present: Remedy, further: str) -> str:
    """Returns the keys to set and the remaining share, as the rest of a sentence."""
    if 2 * remedy.share > present.share:
        return f"none of the tried values leaves less than {remedy.share:.1%} of all boxes{further}"
    words = f"{' '.join(remedy.flags)} leaves {remedy.share:.1%} of all boxes out of reach"
    return words if remedy.suffices else f"{words}, the least of all tried values{further}"


def _smallest_area(anchoring: Anchoring, canvas: Size) -> float:
    """Returns the area of the smallest anchor of a canvas."""
    cells = np.concatenate([level.cell for level in anchoring.levels(canvas)])
    return float((cells[:, 2:] - cells[:, :2]).prod(axis=1).min())


def _by_size(areas: np.ndarray, unreached: np.ndarray) -> dict[str, Reach]:
    members = size_classes(areas)
    return {
        name: Reach(int((members == number).sum()), int(unreached[members == number].sum()))
        for number, name in enumerate(SIZE_CLASSES)
    }
