"""Average precision of similar objects: by size, aspect, crowding, distance to the border.

Objects of other groups are ignored, as in COCO's metrics by area: they are neither found nor
missed, and detections that find them do not count. A false detection counts in the group that its
own box belongs to; its crowding is that of the object that it overlaps most. Detections are matched
once, with all objects.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from ioub_jax.evaluation import resampling
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, PlacedBoxes
from ioub_jax.evaluation.detection_kinds import DetectionKinds
from ioub_jax.evaluation.resampling import Outcomes
from ioub_jax.report.score_cut import ScoreCut

_ASPECTS = (1 / 3, 2 / 3, 3 / 2, 3.0)
_ASPECT_NAMES = ("1:3 and taller", "1:3 to 2:3", "2:3 to 3:2", "3:2 to 3:1", "3:1 and wider")
_CROWDING = (np.finfo(float).tiny, 0.1, 0.3, 0.5)
_CROWDING_NAMES = ("alone", "below .1", ".1 to .3", ".3 to .5", ".5 and more")
_BORDER = (0.002, 0.05, 0.1, 0.2)
_BORDER_NAMES = ("at the border", "below 5%", "5 to 10%", "10 to 20%", "20% and more")


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectGroup:
    """Objects that are similar in one respect.

    Attributes:
      name: the name of the group.
      boxes: the number of its objects.
      AP: COCO's AP, the mean over the classes in the group; None if there is none.
      AP50: COCO's AP50, likewise.
      interval: the interval of AP over the images; None if there is none.
      found: the share of the objects found at the score thresholds; None if there are none.
      objects: bool `[m]`, True for the objects of the group.
    """

    name: str
    boxes: int
    AP: float | None
    AP50: float | None
    interval: tuple[float, float] | None
    found: float | None
    objects: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Grouping:
    """All objects, grouped in one respect.

    Attributes:
      name: `size`, `aspect`, `crowding` or `border`.
      title: the name in words, with its unit.
      groups: the groups in ascending order; none if the values are unknown.
    """

    name: str
    title: str
    groups: tuple[ObjectGroup, ...]


@dataclasses.dataclass(frozen=True)
class _Respect:
    """A respect in which objects are grouped.

    Attributes:
      name: as in `Grouping`.
      title: as in `Grouping`.
      of_objects: float64 `[m]`, the values of the objects.
      of_found: float64 `[d]`, the values of the detections.
      edges: the edges between the groups; each belongs to the group above it.
      names: the names of the groups.
    """

    name: str
    title: str
    of_objects: np.ndarray
    of_found: np.ndarray
    edges: Sequence[float]
    names: Sequence[str]


def group_objects(
    compared: ComparedBoxes,
    outcomes: Outcomes,
    kinds: DetectionKinds,
    cut: ScoreCut,
    sizes: np.ndarray,
    draws: np.ndarray,
) -> tuple[Grouping, ...]:
    """Average precision by size, aspect, crowding and distance to the border.

    Args:
      compared: detections and ground truth.
      outcomes: the object that each detection finds at COCO's IoUs.
      kinds: the kind of each detection.
      cut: the objects found at the score thresholds.
      sizes: float64 `[I, 2]`, width and height of each image; NaN if unknown.
      draws: int64 `[R, I]`, the images of resampled data sets.
    """
    return tuple(
        _grouping(respect, compared, outcomes, cut, draws)
        for respect in (
            _by_size(compared),
            _by_aspect(compared),
            _by_crowding(compared, kinds),
            _by_border(compared, sizes),
        )
    )


def _grouping(
    respect: _Respect,
    compared: ComparedBoxes,
    outcomes: Outcomes,
    cut: ScoreCut,
    draws: np.ndarray,
) -> Grouping:
    of_objects, of_found = (
        np.where(np.isnan(values), -1, np.searchsorted(respect.edges, values, side="right"))
        for values in (respect.of_objects, respect.of_found)
    )
    of_objects[compared.crowd] = -1
    groups = []
    for number, name in enumerate(respect.names):
        objects = of_objects == number
        if not objects.any():
            continue
        # The last entry is for detections that have found no object, whose index is -1.
        others = np.append(~objects, False)[outcomes.objects]
        others |= (outcomes.objects < 0) & (of_found != number)
        limited = Outcomes(outcomes.objects, outcomes.ignored | others)
        images = draws.shape[1]
        classes = resampling.split_by_class(compared, limited, images, objects)
        once = resampling.average_precisions(classes, np.ones((1, images), np.int64))
        resampled = resampling.average_precisions(classes, draws)
        precision = {key: float(ap[0]) for key, ap in resampling.summarized(once).items()}
        groups.append(
            ObjectGroup(
                name=name,
                boxes=int(objects.sum()),
                AP=precision["AP"],
                AP50=precision["AP50"],
                interval=resampling.interval_around(
                    precision["AP"], resampling.summarized(resampled)["AP"]
                ),
                found=float(cut.found[objects].mean()),
                objects=objects,
            )
        )
    return Grouping(respect.name, respect.title, tuple(groups))


def _by_size(compared: ComparedBoxes) -> _Respect:
    """Groups objects into fifths by size, with edges rounded to two digits."""
    of_objects, of_found = (
        np.sqrt(placed.boxes[:, 2]) * np.sqrt(placed.boxes[:, 3])  # the product may overflow
        for placed in (compared.objects, compared.found)
    )
    counted = of_objects[~compared.crowd]
    bounds = np.quantile(counted, (0.2, 0.4, 0.6, 0.8)) if len(counted) else np.zeros(0)
    edges = sorted({float(f"{bound:.2g}") for bound in bounds if bound > 0})
    shown = [f"{edge:g}" for edge in edges]
    names = [f"below {shown[0]} px"] if edges else ["all"]
    names += [f"{low} to {high} px" for low, high in itertools.pairwise(shown)]
    names += [f"{shown[-1]} px and more"] if edges else []
    title = "size: the root of the box's area"
    return _Respect("size", title, of_objects, of_found, edges, names)


def _by_aspect(compared: ComparedBoxes) -> _Respect:
    def aspects(placed: PlacedBoxes) -> np.ndarray:
        width, height = placed.boxes[:, 2], placed.boxes[:, 3]
        exists = (width > 0) & (height > 0)
        return np.divide(width, height, out=np.full(len(width), np.nan), where=exists)

    title = "aspect: width to height"
    return _Respect(
        "aspect", title, aspects(compared.objects), aspects(compared.found), _ASPECTS, _ASPECT_NAMES
    )


def _by_crowding(compared: ComparedBoxes, kinds: DetectionKinds) -> _Respect:
    among_objects = dataclasses.replace(
        compared, found=compared.objects, scores=np.zeros(len(compared.objects))
    )
    pairs = among_objects.pairs(0.0)
    pairs = pairs[pairs.found != pairs.objects]
    of_objects = np.zeros(len(compared.objects))
    np.maximum.at(of_objects, pairs.found, pairs.overlaps)
    of_found = np.append(of_objects, 0.0)[kinds.objects]  # the last is for the background
    title = "crowding: the highest IoU with another object"
    return _Respect("crowding", title, of_objects, of_found, _CROWDING, _CROWDING_NAMES)


def _by_border(compared: ComparedBoxes, sizes: np.ndarray) -> _Respect:
    def distances(placed: PlacedBoxes) -> np.ndarray:
        of_image = sizes[placed.images - 1]
        near, far = placed.boxes[:, :2], of_image - placed.boxes[:, :2] - placed.boxes[:, 2:]
        nearest: np.ndarray = np.maximum(np.concatenate([near, far], axis=1).min(axis=1), 0.0)
        return nearest / of_image.min(axis=1)

    title = "distance to the border, of the image's shorter side"
    return _Respect(
        "border",
        title,
        distances(compared.objects),
        distances(compared.found),
        _BORDER,
        _BORDER_NAMES,
    )
