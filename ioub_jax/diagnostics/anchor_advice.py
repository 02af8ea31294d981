"""Which anchors or canvases would reach the boxes that those of a configuration do not.

Every value that is advised has been tried on all boxes of the data set.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import ml_collections
import numpy as np

from ioub_jax.anchors import best_anchor_iou
from ioub_jax.data.audit.network_scale import ResizedBoxes
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.from_config import data_parts
from ioub_jax.training.detector import canvas_levels

#: A box is reached if its best anchor has at least this IoU with it.
REACHED = 0.5
#: More unreached boxes than this share are worth a finding.
NOTEWORTHY = 0.05
# Boxes that are looked at to choose a value, and what is tried.
_SAMPLE = 4_000
_MOST_RATIOS = 3
_QUANTILES = 15
_SCALES = 2.0 ** (np.arange(1, 9) / 2)
_ENLARGEMENTS = (1.25, 1.5, 2.0, 3.0, 4.0)
_CANVAS_MULTIPLE = 32


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Values that reach more boxes.

    Attributes:
      flags: `--config.KEY=VALUE` of each, as a shell takes it.
      share: of all boxes those that are unreached with them.
    """

    flags: tuple[str, ...]
    share: float

    @property
    def suffices(self) -> bool:
        """Whether what is left is no finding."""
        return self.share <= NOTEWORTHY


def best_ious(resized: ResizedBoxes, config: ml_collections.ConfigDict) -> np.ndarray:
    """The IoU of each of m boxes with its best anchor.

    Args:
      resized: the boxes on their canvases.
      config: the whole configuration.

    Returns:
      float32 `[m]`.
    """
    ious = np.zeros(len(resized.boxes), np.float32)
    for number, canvas in enumerate(data_parts.canvases_of(config.data)):
        chosen = resized.canvases == number
        ious[chosen] = best_anchor_iou(resized.boxes[chosen], canvas_levels(config, canvas))
    return ious


def find_remedy(
    annotations: Annotations, config: ml_collections.ConfigDict, *, too_small: bool
) -> Remedy | None:
    """The smallest change of the anchors or canvases that reaches nearly all boxes.

    Ratios are added before sizes are changed, unless most boxes are too small for any ratio. Where
    no one change suffices, a second one is added to the best.

    Args:
      annotations: of a whole data set.
      config: the whole configuration.
      too_small: whether most unreached boxes are too small for the smallest anchor.

    Returns:
      the first that suffices, else the one that reaches most; None where nothing reaches more.
    """
    kinds = (_scales, _canvases, _ratios) if too_small else (_ratios, _scales, _canvases)
    best: dict[str, object] = {}
    least = _lack(best_ious(_sample(annotations, config), config))
    for _ in range(2):
        before, begun = best, _with(config, best)
        for kind in kinds:
            for more in kind(_sample(annotations, begun), begun):
                changes = before | more
                changed = _with(config, changes)
                lack = _lack(best_ious(_sample(annotations, changed), changed))
                if lack[0] <= NOTEWORTHY:
                    found = _verified(changes, annotations, config)
                    if found.suffices:
                        return found
                if lack < least:
                    best, least = changes, lack
    return _verified(best, annotations, config) if best else None


def _verified(
    changes: dict[str, object], annotations: Annotations, config: ml_collections.ConfigDict
) -> Remedy:
    """What changes leave unreached of all boxes."""
    changed = _with(config, changes)
    flags = tuple(_flag(key, value) for key, value in changes.items())
    ious = best_ious(data_parts.resized_boxes(annotations, changed.data), changed)
    return Remedy(flags, _lack(ious)[0])


def _lack(ious: np.ndarray) -> tuple[float, float]:
    """The share of boxes that is not reached and, where that is equal, by how much, of `[m]`."""
    if len(ious) == 0:
        return 0.0, 0.0
    missing = np.maximum(REACHED - ious, 0.0)
    return float((missing > 0).mean()), float(missing.mean())


def _ratios(sample: ResizedBoxes, config: ml_collections.ConfigDict) -> Iterator[dict[str, object]]:
    """The one, two and three more ratios that reach most of the unreached boxes."""
    unreached = _select(sample, best_ious(sample, config) < REACHED)
    sides = unreached.boxes[:, 2:] - unreached.boxes[:, :2]
    with_area = (sides > 0).all(axis=1)
    if not with_area.any():
        return
    logs = np.log(sides[with_area, 1] / sides[with_area, 0])
    if config.model.name == "ssd":  # whose boxes are both lying and standing
        logs = np.abs(logs)
    values = np.exp(np.quantile(logs, np.linspace(0, 1, _QUANTILES)))
    candidates = sorted({float(f"{value:.2g}") for value in values})
    # The best anchor of more ratios is that of one of them.
    ious = np.stack(
        [
            best_ious(unreached, _with(config, _with_ratios(config, (ratio,), alone=True)))
            for ratio in candidates
        ]
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
        yield _with_ratios(config, tuple(candidates[number] for number in chosen))


def _scales(sample: ResizedBoxes, config: ml_collections.ConfigDict) -> Iterator[dict[str, object]]:
    """All anchors smaller or larger, in the order of how well they reach the sample."""
    key = "anchors.sizes" if config.model.name == "ssd" else "anchors.base_scale"
    tried = []
    for factor in (*(1 / _SCALES), *_SCALES):
        if config.model.name == "ssd":
            value: object = tuple(float(f"{size * factor:.3g}") for size in config.anchors.sizes)
        else:
            value = float(f"{config.anchors.base_scale * factor:.2g}")
        share, missing = _lack(best_ious(sample, _with(config, {key: value})))
        # Of those that suffice the smallest change, else what leaves the least.
        rank = (NOTEWORTHY, abs(np.log(factor)))
        tried.append((rank if share <= NOTEWORTHY else (share, missing), {key: value}))
    yield min(tried, key=lambda entry: entry[0])[1]


def _canvases(
    sample: ResizedBoxes, config: ml_collections.ConfigDict
) -> Iterator[dict[str, object]]:
    """Larger canvases, the smallest first; an SSD has one size."""
    del sample  # which is at the size of the present canvases
    if config.model.name == "ssd":
        return
    for factor in _ENLARGEMENTS:
        yield {
            "data.canvases": tuple(
                tuple(
                    int(-(-side * factor // _CANVAS_MULTIPLE)) * _CANVAS_MULTIPLE for side in pair
                )
                for pair in data_parts.canvases_of(config.data)
            )
        }


def _with_ratios(
    config: ml_collections.ConfigDict, more: tuple[float, ...], *, alone: bool = False
) -> dict[str, object]:
    """The configuration's ratios, of every level of an SSD, and more; or the others alone."""

    def joined(present: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({*(() if alone else present), *more}))

    ratios = config.anchors.ratios
    if config.model.name == "ssd":
        return {"anchors.ratios": tuple(joined(tuple(level)) for level in ratios)}
    return {"anchors.ratios": joined(tuple(ratios))}


def _with(
    config: ml_collections.ConfigDict, changes: dict[str, object]
) -> ml_collections.ConfigDict:
    changed = ml_collections.ConfigDict(config).copy_and_resolve_references()
    changed.update_from_flattened_dict(changes)
    return changed


def _sample(annotations: Annotations, config: ml_collections.ConfigDict) -> ResizedBoxes:
    """At most so many boxes, from all over the data set, at the size the network sees."""
    resized = data_parts.resized_boxes(annotations, config.data)
    count = len(resized.boxes)
    return _select(resized, np.unique(np.linspace(0, count - 1, min(count, _SAMPLE), dtype=int)))


def _select(resized: ResizedBoxes, chosen: np.ndarray) -> ResizedBoxes:
    return ResizedBoxes(resized.objects[chosen], resized.canvases[chosen], resized.boxes[chosen])


def _flag(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return f'--config.{key}="{value}"'.replace(" ", "")
    return f"--config.{key}={value}"
