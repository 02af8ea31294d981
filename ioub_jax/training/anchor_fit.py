"""Whether the anchors of a configuration can reach the boxes of a data set."""

import dataclasses

import ml_collections
import numpy as np

from ioub_jax.anchors import best_anchor_iou
from ioub_jax.data.audit import Finding
from ioub_jax.data.audit.network_scale import ResizedBoxes, canvases_of, resize_boxes
from ioub_jax.data.audit.statistics import SIZE_CLASSES, size_classes
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.training.detector import canvas_levels

#: A box is reached if its best anchor has at least this IoU with it.
REACHED = 0.5
# More unreached boxes than this share are worth a finding.
_NOTEWORTHY = 0.05
# Detector -> what helps where most of them are too small, and what helps otherwise.
_REMEDIES = {
    "retinanet": (
        "lower config.anchors.base_scale or enlarge config.data.canvases",
        "add to config.anchors.ratios, or raise config.anchors.scales_per_octave",
    ),
    "ssd": (
        "lower the first of config.anchors.sizes, or take SSD512 instead of SSD300",
        "add to config.anchors.ratios, or spread config.anchors.sizes",
    ),
}


@dataclasses.dataclass(frozen=True)
class Reach:
    """How many boxes no anchor reaches.

    Attributes:
      boxes: how many boxes there are.
      unreached: how many of them have IoU below `REACHED` with every anchor.
    """

    boxes: int
    unreached: int

    def __str__(self) -> str:
        return f"{self.unreached / max(self.boxes, 1):.1%} of {self.boxes:,}"


@dataclasses.dataclass(frozen=True)
class AnchorFit:
    """Which boxes the anchors reach; crowds are left out.

    Attributes:
      all: of all boxes.
      by_network_size: of COCO's small, medium and large by the area of the box at the size the
        network sees it.
      by_original_size: of the same by the annotated area in original pixels, as COCO's evaluation
        counts them.
      too_small: unreached boxes that even the smallest anchor around their centre would not reach.
      detector: `config.model.name`, on which it depends what helps.
    """

    all: Reach
    by_network_size: dict[str, Reach]
    by_original_size: dict[str, Reach]
    too_small: int
    detector: str

    def __str__(self) -> str:
        lines = [f"Boxes that no anchor reaches at IoU {REACHED:g}: {self.all}"]
        for scale, reaches in (
            ("at the size the network sees", self.by_network_size),
            ("by annotated area in original pixels", self.by_original_size),
        ):
            parts = ", ".join(f"{name} {reach}" for name, reach in reaches.items())
            lines.append(f"  {scale}: {parts}")
        return "\n".join(lines)


def measure_anchor_fit(annotations: Annotations, config: ml_collections.ConfigDict) -> AnchorFit:
    """Compares every box with the anchors of its image's canvas.

    Args:
      annotations: of a whole data set.
      config: the whole configuration; `data.canvases`, `data.resize`, `model.name` and `anchors`
        are used.

    Returns:
      the fit, without augmentation.
    """
    resized = resize_boxes(annotations, config)
    unreached = best_ious(resized, config) < REACHED
    area = (resized.boxes[:, 2:] - resized.boxes[:, :2]).prod(axis=1)
    # The IoU with an anchor is at most the ratio of the areas.
    smallest_area = REACHED * min(_smallest_area(config, canvas) for canvas in canvases_of(config))
    return AnchorFit(
        Reach(len(unreached), int(unreached.sum())),
        _by_size(area, unreached),
        _by_size(annotations.area[resized.objects], unreached),
        int((unreached & (area < smallest_area)).sum()),
        config.model.name,
    )


def best_ious(resized: ResizedBoxes, config: ml_collections.ConfigDict) -> np.ndarray:
    """The IoU of each of m boxes with its best anchor.

    Args:
      resized: the boxes on their canvases.
      config: the whole configuration.

    Returns:
      float32 `[m]`.
    """
    ious = np.zeros(len(resized.boxes), np.float32)
    for number, canvas in enumerate(canvases_of(config)):
        chosen = resized.canvases == number
        ious[chosen] = best_anchor_iou(resized.boxes[chosen], canvas_levels(config, canvas))
    return ious


def unreached_finding(fit: AnchorFit) -> list[Finding]:
    """A finding if many boxes are out of reach, with what helps most of them; else nothing."""
    if fit.all.unreached <= _NOTEWORTHY * fit.all.boxes:
        return []
    too_small, otherwise = _REMEDIES[fit.detector]
    if 2 * fit.too_small > fit.all.unreached:
        where, remedy = "are too small for the smallest anchors", too_small
    else:
        where = "lie in shape or size between the anchors or beyond the largest"
        remedy = otherwise
    advice = f"Only config.matcher.low_quality gives them an anchor. Most {where}: {remedy}."
    return [Finding("unreached_box", False, fit.all.unreached, advice)]


def _smallest_area(config: ml_collections.ConfigDict, canvas: tuple[int, int]) -> float:
    """Area of the smallest anchor of a canvas."""
    cells = np.concatenate([level.cell for level in canvas_levels(config, canvas)])
    return float((cells[:, 2:] - cells[:, :2]).prod(axis=1).min())


def _by_size(areas: np.ndarray, unreached: np.ndarray) -> dict[str, Reach]:
    members = size_classes(areas)
    return {
        name: Reach(int((members == number).sum()), int(unreached[members == number].sum()))
        for number, name in enumerate(SIZE_CLASSES)
    }
