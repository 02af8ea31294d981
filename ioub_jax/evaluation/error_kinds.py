"""Cost of each kind of error in average precision, after TIDE (Bolya et al., arXiv 2008.08115).

An oracle corrects all errors of one kind and leaves everything else unchanged, and dAP is the gain
in average precision at one IoU:

- `classification`: the best confused detection of a box that is not found gets the box's class and
becomes true; all other confused ones are removed.
- `localization`: the best misplaced detection of such a box becomes true; all other misplaced ones
are removed.
- `both`, `duplicate`, `background`: these detections are removed.
- `missed`: boxes that are not found, and that neither of the first two oracles would find, no
longer count.
- `false_positives`: every detection that is not true comes after all true ones.
- `false_negatives`: every box that is not found no longer counts.

Of several misplaced or confused detections of one box only the best is corrected, by the oracle of
its kind. The kinds overlap, so the costs do not add up to the missing average precision.

Average precision is COCO's, `AP50` at IoU .5 and `AP75` at .75, to the last bit but one: the mean
over the classes with ground truth. TIDE's code (tidecv) differs in this and in what is ignored: it
counts classes without ground truth as 0; `docs/errors.md` lists the differences.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.evaluation.coco_input import CheckedInput, check_input
from ioub_jax.evaluation.coco_matching import COCO_DETECTIONS, Matches, check_iou, match_as_coco
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, Pairs, compared_boxes
from ioub_jax.evaluation.detection_kinds import (
    BACKGROUND,
    BOTH,
    CONFUSED,
    DUPLICATE,
    IGNORED,
    MISPLACED,
    TRUE,
    DetectionKinds,
    sort_detections,
)
from ioub_jax.evaluation.means import mean_of_existing

#: IoU up to which a detection has to do with nothing.
BACKGROUND_IOU = 0.1
#: Error -> the kind of the detections that it is.
ERROR_OF_KIND = {
    "classification": CONFUSED,
    "localization": MISPLACED,
    "both": BOTH,
    "duplicate": DUPLICATE,
    "background": BACKGROUND,
}
#: What has a cost: TIDE's six errors, then its two special ones.
ERRORS = (*ERROR_OF_KIND, "missed", "false_positives", "false_negatives")
_RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's; k / 100 is another float for some k


@dataclasses.dataclass(frozen=True)
class ClassErrors:
    """The errors of one class.

    Attributes:
      name: the class's name in the ground truth; None for all classes.
      category_id: its id there; None likewise.
      AP: average precision at the foreground IoU, in 0..1; None without a ground-truth box. Of all
        classes the mean over those that have one.
      dAP: error -> gain in average precision if it is corrected; None likewise. An oracle that
        turns a detection into another class changes both classes.
      counts: number of errors of each kind in `ERRORS`: detections, by their class, and for
        `missed` and `false_negatives` ground-truth boxes.
      true: how many detections are true.
      boxes: number of ground-truth boxes, crowds not counted.
    """

    name: str | None
    category_id: int | str | None
    AP: float | None
    dAP: Mapping[str, float | None]
    counts: Mapping[str, int]
    true: int
    boxes: int


@dataclasses.dataclass(frozen=True)
class ErrorKinds:
    """The errors of a set of detections.

    Attributes:
      iou: the foreground IoU, the least IoU of a true detection.
      background_iou: the background IoU, up to which a detection belongs to no object.
      all_classes: the errors of all classes.
      per_class: one entry a category, in the order of the category ids.
      detections: the kind of each detection, and whether each box is found.
      checked: the input of the evaluation; `detections` has positions in it.
    """

    iou: float
    background_iou: float
    all_classes: ClassErrors
    per_class: tuple[ClassErrors, ...]
    detections: DetectionKinds = dataclasses.field(repr=False, compare=False)
    checked: CheckedInput = dataclasses.field(repr=False, compare=False)


def evaluate_errors(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    iou: float = 0.5,
    *,
    background_iou: float = BACKGROUND_IOU,
    counted: int = COCO_DETECTIONS,
) -> ErrorKinds:
    """Sorts detections by their errors, and computes the cost of each kind of error.

    Args:
      ground_truth: a data set in COCO's JSON format, as `evaluate_detections` takes it.
      detections: COCO results.
      iou: least IoU of a true detection.
      background_iou: IoU up to which a detection belongs to no object; at most `iou`.
      counted: as `evaluate_detections`.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category,
        or an IoU is invalid.
    """
    check_iou(iou)
    check_iou(background_iou, "background_iou")
    if background_iou > iou:
        raise ValueError(f"background_iou is {background_iou}: it must not be above iou, {iou}")
    checked = check_input(ground_truth, detections)
    compared = compared_boxes(checked)
    pairs = compared.pairs(background_iou)
    matches = match_as_coco(compared, pairs, iou, counted)
    return errors_of(checked, compared, pairs, matches, background_iou)


def errors_of(
    checked: CheckedInput,
    compared: ComparedBoxes,
    pairs: Pairs,
    matches: Matches,
    background_iou: float = BACKGROUND_IOU,
) -> ErrorKinds:
    """As `evaluate_errors`, for detections that are matched already.

    Args:
      checked: what is evaluated.
      compared: the same in arrays.
      pairs: all pairs with at least an IoU of `background_iou`.
      matches: the true detections.
      background_iou: at most `matches.iou`.
    """
    kinds = sort_detections(compared, pairs, matches, background_iou)
    before = _Detected.of(compared, kinds).average_precision()
    after = {error: _mended(compared, kinds, error).average_precision() for error in ERRORS}
    per_class = []
    for number, (counts, true, boxes) in enumerate(_counts(compared, kinds)):
        gains = {error: float(ap[number] - before[number]) for error, ap in after.items()}
        row = ClassErrors(
            name=checked.categories[number]["name"],
            category_id=checked.categories[number]["written_id"],
            AP=float(before[number]) if boxes else None,
            dAP=gains if boxes else dict.fromkeys(ERRORS),
            counts=counts,
            true=true,
            boxes=boxes,
        )
        per_class.append(row)
    all_classes = ClassErrors(
        name=None,
        category_id=None,
        AP=mean_of_existing([row.AP for row in per_class]),
        dAP={error: mean_of_existing([row.dAP[error] for row in per_class]) for error in ERRORS},
        counts={error: sum(row.counts[error] for row in per_class) for error in ERRORS},
        true=sum(row.true for row in per_class),
        boxes=sum(row.boxes for row in per_class),
    )
    return ErrorKinds(matches.iou, background_iou, all_classes, tuple(per_class), kinds, checked)


def _counts(
    compared: ComparedBoxes, kinds: DetectionKinds
) -> Iterator[tuple[dict[str, int], int, int]]:
    """The counts of errors, true detections and ground-truth boxes of each class."""
    count = compared.class_count
    of_kind = np.zeros((IGNORED + 1, count), np.int64)
    np.add.at(of_kind, (kinds.kinds, compared.found.classes), 1)
    missed, not_found = (
        np.bincount(compared.objects.classes[chosen], minlength=count)
        for chosen in (kinds.missed, kinds.not_found)
    )
    for number in range(count):
        found = {error: int(of_kind[kind, number]) for error, kind in ERROR_OF_KIND.items()}
        special = (missed[number], sum(found.values()), not_found[number])
        counts = found | dict(zip(ERRORS[len(found) :], map(int, special), strict=True))
        yield counts, int(of_kind[TRUE, number]), int(compared.boxes_of_class[number])


# Average precision, as it is and as an oracle makes it.


@dataclasses.dataclass(frozen=True)
class _Detected:
    """n counted detections, best first, and the boxes that they are compared with.

    Attributes:
      classes: int64 `[n]`.
      true: bool `[n]`.
      boxes: int64 `[C]`, the ground-truth boxes that each class has to find.
    """

    classes: np.ndarray
    true: np.ndarray
    boxes: np.ndarray

    @classmethod
    def of(
        cls,
        compared: ComparedBoxes,
        kinds: DetectionKinds,
        *,
        without: Sequence[int] = (),
        mended: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
    ) -> "_Detected":
        """Detections without some kinds, and with some that count as true of their box's class."""
        classes, true = compared.found.classes.copy(), kinds.kinds == TRUE
        kept = ~np.isin(kinds.kinds, (IGNORED, *without))
        if mended is not None:
            classes[mended] = compared.objects.classes[kinds.objects[mended]]
            true[mended] = kept[mended] = True
        chosen = compared.best_first[kept[compared.best_first]]
        boxes = compared.boxes_of_class if boxes is None else boxes
        return cls(classes[chosen], true[chosen], boxes)

    def average_precision(self) -> np.ndarray:
        """COCO's average precision of each class, float64 `[C]`.

        For a class without objects to find, as an oracle may leave it, it is 1 if there are no
        detections either, else 0.
        """
        kind = np.min_scalar_type(len(self.boxes))  # the fewer bytes, the faster sorted
        by_class = np.argsort(self.classes.astype(kind), kind="stable")
        counts = np.bincount(self.classes, minlength=len(self.boxes))
        result = np.where((self.boxes == 0) & (counts == 0), 1.0, 0.0)
        start = 0
        for number, count in enumerate(counts.tolist()):
            places = np.flatnonzero(self.true[by_class[start : start + count]])
            start += count
            if len(places) and self.boxes[number]:
                hits = np.arange(1, len(places) + 1)
                # Between two true detections precision falls, so only these can be highest.
                precision = np.maximum.accumulate((hits / (places + 1))[::-1])[::-1]
                reached = np.searchsorted(hits / self.boxes[number], _RECALLS, side="left")
                result[number] = np.append(precision, 0.0)[reached].mean()
        return result


def _mended(compared: ComparedBoxes, kinds: DetectionKinds, error: str) -> _Detected:
    """The detections as an oracle leaves them."""
    if error in ("missed", "false_negatives"):
        gone = kinds.missed if error == "missed" else kinds.not_found
        classes = compared.objects.classes[gone]
        left = compared.boxes_of_class - np.bincount(classes, minlength=compared.class_count)
        return _Detected.of(compared, kinds, boxes=left)
    if error == "false_positives":  # what stands behind all true ones changes nothing
        return _Detected.of(compared, kinds, without=tuple(ERROR_OF_KIND.values()))
    kind = ERROR_OF_KIND[error]
    mends = kinds.mended_by[kinds.mended_by >= 0]
    mended = mends[kinds.kinds[mends] == kind]
    return _Detected.of(compared, kinds, without=(kind,), mended=mended)
