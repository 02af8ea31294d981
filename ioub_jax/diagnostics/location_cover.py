"""Coverage of a data set's boxes by the anchors of a detector that does not match by IoU."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.anchors import place
from ioub_jax.data.audit import Finding
from ioub_jax.data.audit.statistics import SIZE_CLASSES, size_classes
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.detectors import AnchorObjective
from ioub_jax.diagnostics.anchor_advice import NOTEWORTHY, Anchoring, resized_boxes
from ioub_jax.diagnostics.anchor_fit import Reach

# The maximum number of boxes to assign, taken from all over the data set.
_SAMPLE = 20_000
# The number of boxes assigned at once, each as a separate image.
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class LocationCover:
    """Numbers of boxes that no location learns, each assigned alone.

    Crowds are left out, and difficult objects if `matcher.difficult` does not keep them.

    Attributes:
      assigner: `matcher.name`.
      similarity: `matcher.similarity`, which only the assigner 'iou' uses.
      all: the numbers for all assigned boxes.
      by_network_size: the numbers for COCO's small, medium and large objects, by the area of the
        box at the scale of the network's input.
      too_small: the number of unlearned boxes whose sides are all below two strides of the finest
        level.
      listed: the number of boxes of the data set, of which at most 20,000 are assigned.
    """

    assigner: str
    similarity: str
    all: Reach
    by_network_size: dict[str, Reach]
    too_small: int
    listed: int

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {reach}" for name, reach in self.by_network_size.items())
        by = f"matcher.name={self.assigner}"
        by += f" and matcher.similarity={self.similarity}" if self.assigner == "iou" else ""
        return (
            f"Boxes that no location learns by {by}: {self.all}\n"
            f"  at the size the network sees: {parts}"
        )


def measure_location_cover(
    annotations: Annotations, anchoring: Anchoring, objective: AnchorObjective
) -> LocationCover:
    """Assigns every box, as if it were alone in its image, on its image's canvas.

    Args:
      annotations: the annotations of a whole data set; at most 20,000 of its boxes are assigned.
      anchoring: the anchors and the canvases.
      objective: the objective of the detector; its assigner must not need predictions. The best
        anchors that `matcher.low_quality` gives to every box do not count.

    Returns:
      the cover, without augmentation.
    """
    rules = objective.rules
    if rules.name == "iou":
        rules = dataclasses.replace(rules, low_quality="none")
        objective = dataclasses.replace(objective, rules=rules)
    if rules.difficult != "keep":
        left_out = annotations.ignored | annotations.difficult
        annotations = dataclasses.replace(annotations, ignored=left_out)
    resized = resized_boxes(annotations, anchoring)
    step = max(1, -(-len(resized.boxes) // _SAMPLE))
    boxes, canvases = resized.boxes[::step], resized.canvases[::step]
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    missed, are_small = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool)
    for number, canvas in enumerate(anchoring.canvases):
        chosen = np.flatnonzero(canvases == number)
        anchors = tuple(map(jnp.asarray, place(anchoring.levels(canvas))))
        are_small[chosen] = longest[chosen] < 2 * _finest_stride(anchors, objective)
        for part in np.split(chosen, range(_CHUNK, len(chosen), _CHUNK)):
            if len(part):
                missed[part] = ~_is_found(boxes[part], anchors, objective)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    members = size_classes(areas)
    return LocationCover(
        rules.name,
        rules.similarity,
        Reach(len(boxes), int(missed.sum())),
        {
            name: Reach(int((members == kind).sum()), int(missed[members == kind].sum()))
            for kind, name in enumerate(SIZE_CLASSES)
        },
        int((missed & are_small).sum()),
        len(resized.boxes),
    )


def uncovered_finding(cover: LocationCover) -> list[Finding]:
    """A finding if many boxes have no location; else an empty list."""
    if cover.all.unreached <= NOTEWORTHY * cover.all.boxes:
        return []
    sample = ""
    if cover.listed > cover.all.boxes:
        sample = f" They are those of a sample of {cover.all.boxes:,} of {cover.listed:,} boxes."
    if cover.assigner == "iou":
        advice = (
            f"Only config.matcher.low_quality gives them an anchor.{sample} A larger "
            "config.matcher.nwd_constant, or a smaller config.matcher.foreground_iou, reaches more."
        )
        return [Finding("uncovered_box", False, cover.all.unreached, advice)]
    if 2 * cover.too_small > cover.all.unreached:
        why = (
            "Most such boxes are too small for the stride of the finest level: use a larger "
            "canvas, or cut the images into tiles (config.data.tiles.size)."
        )
    else:
        why = (
            "Most such boxes are long and narrow: the locations of the level for their longer side "
            "lie farther apart than their shorter side. A larger canvas does not change that."
        )
        if cover.assigner == "fcos":
            why += " ATSS (--recipe=atss) looks for locations on all levels."
    advice = (
        f"They have no positives at all.{sample} {why} A RetinaNet (--recipe=retinanet) gives "
        "every box an anchor by matcher.low_quality."
    )
    return [Finding("uncovered_box", False, cover.all.unreached, advice)]


def _finest_stride(anchors: tuple[jax.Array, ...], objective: AnchorObjective) -> float:
    """Returns the distance of neighboring locations of the finest level, in pixels."""
    if objective.strides is not None:
        return objective.strides[0]
    return float(anchors[0][0, 2] - anchors[0][0, 0])


def _is_found(
    boxes: np.ndarray, anchors: tuple[jax.Array, ...], objective: AnchorObjective
) -> np.ndarray:
    """Returns for each of at most `_CHUNK` boxes whether any location learns it, `[n]`."""
    padded = np.zeros((_CHUNK, 1, 4), np.float32)
    padded[: len(boxes), 0] = boxes
    return np.asarray(_found(padded, anchors, objective))[: len(boxes)]


@functools.partial(jax.jit, static_argnums=2)
def _found(
    boxes: jax.Array, anchors: tuple[jax.Array, ...], objective: AnchorObjective
) -> jax.Array:
    slots = boxes.shape[:2]
    nothing = jnp.zeros(slots, bool)
    batch = {
        "boxes": boxes,
        "labels": jnp.zeros(slots, jnp.int32),
        "valid": ~nothing,
        **dict.fromkeys(("crowd", "difficult", "ignored"), nothing),
    }
    matches, _ = objective.match(batch, anchors)
    return jnp.any(matches.labels >= 0, axis=1)
