"""Findings of an audit: problems by kind, each either to be fixed or merely worth knowing."""

import collections
import dataclasses
from collections.abc import Iterable

from ioub_jax.data.checks import CHANGES, KINDS, Problem

#: The headings of all kinds of findings: problems, corrections, and what only an audit finds.
HEADINGS = (
    KINDS
    | CHANGES
    | {
        "format": "near-certain mistakes of the format",
        "pixel_origin": "signs of another pixel convention",
        "odd_area": "annotated areas that do not fit the boxes",
        "exif_orientation": "images with an EXIF orientation, which is ignored",
        "exif_applied": "images with an EXIF orientation, which is applied",
        "deep_image": "images with more than 8 bits a channel",
        "nearly_black": "images that are nearly black",
        "duplicate_box": "boxes that occur twice, with the same class in the same image",
        "empty_image": "images without objects",
        "dense_class": "images with more objects of a class than COCO's metrics count",
        "dense_image": "images with more objects than the number of detections that are kept",
        "cut_box": "boxes that no tile shows whole",
        "full_tile": "tiles with more objects than slots",
        "unreached_box": "boxes that no anchor reaches at IoU .5",
        "uncovered_box": "boxes that no location learns",
    }
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """All findings of one kind.

    Attributes:
      kind: a key of `HEADINGS`.
      must_be_fixed: whether training with this configuration would stop, or learn from wrong
        boxes.
      count: the number of cases.
      advice: one sentence about all cases, or ''.
      sentences: a sentence for each case, or none if the count suffices.
    """

    kind: str
    must_be_fixed: bool
    count: int
    advice: str = ""
    sentences: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Heading of the finding in a report."""
        return HEADINGS[self.kind]


def group_problems(problems: Iterable[Problem], must_be_fixed: bool) -> list[Finding]:
    """Findings by kind, in the order of `HEADINGS`; a repeated problem counts once."""
    by_kind: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for problem in problems:
        by_kind[problem.kind][problem.sentence] = problem.count
    return [
        Finding(kind, must_be_fixed, sum(by_kind[kind].values()), sentences=tuple(by_kind[kind]))
        for kind in HEADINGS
        if kind in by_kind
    ]
