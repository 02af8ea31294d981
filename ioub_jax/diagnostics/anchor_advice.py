"""Search for anchors or canvases that reach boxes which the configured ones miss.

Every suggested value has been tested on all boxes of the data set.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ioub_jax.anchors import AnchorLayout, AnchorLevel, best_anchor_iou
from ioub_jax.data.audit.network_scale import ResizedBoxes, resize_boxes
from ioub_jax.data.resizing import Resize, Size
from ioub_jax.data.sources.annotations import Annotations

#: A box is reached if its best anchor has at least this IoU with it.
REACHED = 0.5
#: The share of unreached boxes above which there is a finding.
NOTEWORTHY = 0.05
# The number of boxes for choosing a value, and the limits of the search.
_SAMPLE = 4_000
_MOST_RATIOS = 3
_QUANTILES = 15
_SCALES = 2.0 ** (np.arange(1, 9) / 2)
_ENLARGEMENTS = (1.25, 1.5, 2.0, 3.0, 4.0)
_CANVAS_MULTIPLE = 32


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Values with which more boxes are reached.

    Attributes:
      values: key -> value; the keys are without `config.`.
      share: the share of all boxes that remain unreached.
    """

    values: Mapping[str, Any]
    share: float

    @property
    def flags(self) -> tuple[str, ...]:
        """`--config.KEY=VALUE` for each key, quoted for a shell."""
        return tuple(_flag(key, value) for key, value in self.values.items())

    @property
    def suffices(self) -> bool:
        """True if so few boxes remain unreached that there is no finding."""
        return self.share <= NOTEWORTHY


@dataclasses.dataclass(frozen=True)
class Anchoring:
    """The anchors of a detector on the canvases of its training.

    Attributes:
      levels: returns the anchors of a canvas; an `AnchorLayout` if other anchors can be suggested.
      canvases: the height and width of each canvas.
      resize: the scaling of images.
      has_one_size: whether the network accepts only this canvas.
    """

    levels: Callable[[Size], tuple[AnchorLevel, ...]]
    canvases: tuple[Size, ...]
    resize: Resize
    has_one_size: bool = False

    def changes_to(self, other: "Anchoring") -> dict[str, Any]:
        """Key -> value of each key in which another anchoring differs."""
        changed: dict[str, Any] = {}
        if self.resize != other.resize:
            changed["data.tiles.zoom"] = other.resize.zoom
        elif self.canvases != other.canvases:
            changed["data.canvases"] = other.canvases
        if isinstance(other.levels, AnchorLayout):
            before = vars(self.levels)
            changed |= {
                f"anchors.{name}": value
                for name, value in vars(other.levels).items()
                if before[name] != value
            }
        return changed


def best_ious(resized: ResizedBoxes, anchoring: Anchoring) -> np.ndarray:
    """The IoU of each of m boxes with its best anchor.

    Args:
      resized: the boxes on their canvases.
      anchoring: the anchors and the canvases.

    Returns:
      float32 `[m]`.
    """
    ious = np.zeros(len(resized.boxes), np.float32)
    for number, canvas in enumerate(anchoring.canvases):
        chosen = resized.canvases == number
        ious[chosen] = best_anchor_iou(resized.boxes[chosen], anchoring.levels(canvas))
    return ious


def resized_boxes(annotations: Annotations, anchoring: Anchoring) -> ResizedBoxes:
    """The boxes of a data set at the scale of the network's input, without augmentation."""
    return resize_boxes(annotations, anchoring.resize, anchoring.canvases)


def find_remedy(
    annotations: Annotations, anchoring: Anchoring, *, too_small: bool
) -> Remedy | None:
    """The smallest change of the anchors or canvases that reaches nearly all boxes.

    Ratios are added before sizes are changed, unless most boxes are too small for any ratio. If no
    single change suffices, a second one is added to the best.

    Args:
      annotations: the annotations of a whole data set.
      anchoring: the current anchors and canvases.
      too_small: whether most unreached boxes are too small for the smallest anchor.

    Returns:
      the first change that suffices, or else the one that reaches most boxes; None if no change
      reaches more boxes.
    """
    kinds = (_scales, _canvases, _ratios) if too_small else (_ratios, _scales, _canvases)
    best = anchoring
    least = _lack(best_ious(_sample(annotations, anchoring), anchoring))
    for _ in range(2):
        begun = best
        for kind in kinds:
            for changed in kind(_sample(annotations, begun), begun):
                lack = _lack(best_ious(_sample(annotations, changed), changed))
                if lack[0] <= NOTEWORTHY:
                    found = _verified(changed, annotations, anchoring)
                    if found.suffices:
                        return found
                if lack < least:
                    best, least = changed, lack
    return None if best is anchoring else _verified(best, annotations, anchoring)


def _verified(changed: Anchoring, annotations: Annotations, present: Anchoring) -> Remedy:
    """Returns the change, with the share of the whole data set's boxes that remain unreached."""
    ious = best_ious(resized_boxes(annotations, changed), changed)
    return Remedy(present.changes_to(changed), _lack(ious)[0])


def _lack(ious: np.ndarray) -> tuple[float, float]:
    """Returns the share of unreached boxes and, to break ties, the mean IoU that they lack."""
    if len(ious) == 0:
        return 0.0, 0.0
    missing = np.maximum(REACHED - ious, 0.0)
    return float((missing > 0).mean()), float(missing.mean())


def _ratios(sample: ResizedBoxes, anchoring: Anchoring) -> Iterator[Anchoring]:
    """Yields anchors with the one, two and three more ratios that reach most unreached boxes."""
    layout = anchoring.levels
    if not isinstance(layout, AnchorLayout):
        return
    unreached = _select(sample, best_ious(sample, anchoring) < REACHED)
    sides = unreached.boxes[:, 2:] - unreached.boxes[:, :2]
    with_area = (sides > 0).all(axis=1)
    if not with_area.any():
        return
    logs = np.log(sides[with_area, 1] / sides[with_area, 0])
    if layout.is_symmetric:
        logs = np.abs(logs)
    values = np.exp(np.quantile(logs, np.linspace(0, 1, _QUANTILES)))
    candidates = sorted({float(f"{value:.2g}") for value in values})

    def with_ratios(ratios: tuple[float, ...], *, alone: bool = False) -> Anchoring:
        return dataclasses.replace(anchoring, levels=layout.with_ratios(ratios, alone=alone))

    # The best anchor among several ratios is the best one of a single ratio.
    ious = np.stack(
        [best_ious(unreached, with_ratios((ratio,), alone=True)) for ratio in candidates]
    )
    least = np.inf
    for count in range(1, min(_MOST_RATIOS, len(candidates)) + 1):
        chosen = min(
            itertools.combinations(range(len(candidates)), count),
            key=lambda numbers: _lack(ious[list(numbers)].max(axis=0)),
        )
        share, _ = _lack(ious[list(chosen)].max(axis=0))
        if share >= least:
            return
        least = share
        yield with_ratios(tuple(candidates[number] for number in chosen))


def _scales(sample: ResizedBoxes, anchoring: Anchoring) -> Iterator[Anchoring]:
    """Yields the anchors, scaled by the factor that reaches the sample best."""
    layout = anchoring.levels
    if not isinstance(layout, AnchorLayout):
        return
    tried = []
    for factor in (*(1 / _SCALES), *_SCALES):
        changed = dataclasses.replace(anchoring, levels=layout.scaled(float(factor)))
        share, missing = _lack(best_ious(sample, changed))
        # Among the factors that suffice, the smallest change; else the fewest unreached boxes.
        rank = (NOTEWORTHY, abs(np.log(factor)))
        tried.append((rank if share <= NOTEWORTHY else (share, missing), changed))
    yield min(tried, key=lambda entry: entry[0])[1]


def _canvases(sample: ResizedBoxes, anchoring: Anchoring) -> Iterator[Anchoring]:
    """Yields larger canvases in ascending order if the network accepts any; for tiles, the zoom."""
    del sample  # it has the size of the current canvases
    if anchoring.has_one_size:
        return
    if anchoring.resize.mode == "zoom":
        for factor in _ENLARGEMENTS:
            zoomed = dataclasses.replace(anchoring.resize, zoom=anchoring.resize.zoom * factor)
            canvas = tuple(
                (round(height * factor), round(width * factor))
                for height, width in anchoring.canvases
            )
            yield dataclasses.replace(anchoring, resize=zoomed, canvases=canvas)
        return
    for factor in _ENLARGEMENTS:
        larger = tuple(
            (_enlarged(height, factor), _enlarged(width, factor))
            for height, width in anchoring.canvases
        )
        yield dataclasses.replace(anchoring, canvases=larger)


def _enlarged(side: int, factor: float) -> int:
    return int(-(-side * factor // _CANVAS_MULTIPLE)) * _CANVAS_MULTIPLE


def _sample(annotations: Annotations, anchoring: Anchoring) -> ResizedBoxes:
    """Returns at most `_SAMPLE` boxes from all over the data set, at the network's scale."""
    resized = resized_boxes(annotations, anchoring)
    count = len(resized.boxes)
    return _select(resized, np.unique(np.linspace(0, count - 1, min(count, _SAMPLE), dtype=int)))


def _select(resized: ResizedBoxes, chosen: np.ndarray) -> ResizedBoxes:
    return ResizedBoxes(resized.objects[chosen], resized.canvases[chosen], resized.boxes[chosen])


def _flag(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return f'--config.{key}="{value}"'.replace(" ", "")
    return f"--config.{key}={value}"
