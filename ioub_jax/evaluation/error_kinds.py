"""Cost of each kind of error in average precision, after TIDE (Bolya et al., arXiv 2008.08115).

For each kind, an oracle corrects all errors of that kind and leaves everything else unchanged. The
gain in average precision at one IoU is called dAP. The oracles are:

- `classification`: the best confused detection of a box that is not found gets the class of the box
  and becomes true; all other confused detections are removed.
- `localization`: the best misplaced detection of such a box becomes true; all other misplaced
  detections are removed.
- `both`, `duplicate`, `background`: these detections are removed.
- `missed`: boxes that are not found, and would not be found after either of the first two oracles,
  no longer count.
- `false_positives`: every detection that is not true is ranked after all true detections.
- `false_negatives`: every box that is not found no longer counts.

If several misplaced or confused detections belong to one box, only the best one is corrected, by
the oracle of its kind. The kinds overlap, so the costs do not add up to the missing average
precision.

Average precision is that of COCO except for the last bit, `AP50` at IoU .5 and `AP75` at .75, as
the mean over the classes with ground truth. TIDE's code (tidecv) counts classes without ground
truth as 0, and differs in the detections that it ignores; `docs/errors.md` lists the differences.
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

#: The default for the largest IoU of a detection that belongs to no object.
BACKGROUND_IOU = 0.1
#: Error -> the kind of its detections.
ERROR_OF_KIND = {
    "classification": CONFUSED,
    "localization": MISPLACED,
    "both": BOTH,
    "duplicate": DUPLICATE,
    "background": BACKGROUND,
}
#: All errors with a cost: TIDE's six errors, then its two special errors.
ERRORS = (*ERROR_OF_KIND, "missed", "false_positives", "false_negatives")
_RECALLS = np.linspace(0.0, 1.0, 101)  # as in COCO; k / 100 differs from them for some k


@dataclasses.dataclass(frozen=True)
class ClassErrors:
    """The errors of one class.

    Attributes:
      name: the name of the class in the ground truth; None for all classes.
      category_id: the id of the class in the ground truth; None for all classes.
      AP: average precision at the foreground IoU, in 0..1; None without a ground-truth box. For all
        classes it is the mean over the classes that have boxes.
      dAP: error -> gain in average precision if it is corrected; None without a ground-truth box.
        An oracle that changes the class of a detection affects both classes.
      counts: the number of errors of each kind in `ERRORS`; these are detections by their class,
        and ground-truth boxes for `missed` and `false_negatives`.
      true: the number of true detections.
      boxes: the number of ground-truth boxes without crowds.
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
      iou: the foreground IoU, the smallest IoU of a true detection.
      background_iou: the background IoU, the largest IoU of a detection that belongs to no object.
      all_classes: the errors of all classes.
      per_class: an entry for each category, in the order of the category ids.
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
    """The kind of error of each detection, and the cost of each kind of error.

    Args:
      ground_truth: a data set in COCO's JSON format, as for `evaluate_detections`.
      detections: COCO results.
      iou: the smallest IoU of a true detection.
      background_iou: the largest IoU of a detection that belongs to no object; at most `iou`.
      counted: as for `evaluate_detections`.

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
    """The errors of detections that are already matched.

    Args:
      checked: the input of the evaluation.
      compared: the same input in arrays.
      pairs: all pairs with an IoU of at least `background_iou`.
      matches: the true detections.
      background_iou: the background IoU, at most `matches.iou`.
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
    """Yields the counts of errors, true detections and ground-truth boxes of each class."""
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


# Average precision, before and after the correction of an oracle.


@dataclasses.dataclass(frozen=True)
class _Detected:
    """n counted detections, best first, and the number of boxes to find.

    Attributes:
      classes: int64 `[n]`, the class of each detection.
      true: bool `[n]`, whether each detection is true.
      boxes: int64 `[C]`, the number of ground-truth boxes of each class.
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
        """The detections as an oracle leaves them.

        Args:
          compared: detections and ground truth.
          kinds: the kinds of the detections.
          without: the kinds of detections that are removed.
          mended: the detections that become true, with the class of their box.
          boxes: the number of boxes of each class; None for all boxes except crowds.
        """
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

        For a class without boxes, which an oracle may produce, it is 1 if the class has no
        detections either, and 0 otherwise.
        """
        kind = np.min_scalar_type(len(self.boxes))  # sorting is faster with fewer bytes
        by_class = np.argsort(self.classes.astype(kind), kind="stable")
        counts = np.bincount(self.classes, minlength=len(self.boxes))
        result = np.where((self.boxes == 0) & (counts == 0), 1.0, 0.0)
        start = 0
        for number, count in enumerate(counts.tolist()):
            places = np.flatnonzero(self.true[by_class[start : start + count]])
            start += count
            if len(places) and self.boxes[number]:
                hits = np.arange(1, len(places) + 1)
                # Precision falls between two true detections, so it is highest at one of them.
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
    if error == "false_positives":  # false detections after all true ones do not change AP
        return _Detected.of(compared, kinds, without=tuple(ERROR_OF_KIND.values()))
    kind = ERROR_OF_KIND[error]
    mends = kinds.mended_by[kinds.mended_by >= 0]
    mended = mends[kinds.kinds[mends] == kind]
    return _Detected.of(compared, kinds, without=(kind,), mended=mended)
