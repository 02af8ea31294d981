import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings

from ioub_jax.evaluation import coco_metrics, error_kinds
from ioub_jax.evaluation.detection_kinds import KINDS
from ioub_jax.evaluation.error_kinds import ERRORS, evaluate_errors
from tests.evaluation.scenes import scenes
from tests.evaluation.small_data import annotation, data_set, detection

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "tide.npz")
#: tidecv's kinds of detections, by their number in the golden values; -1 has no error.
TIDE_KINDS = {0: "confused", 1: "misplaced", 2: "both", 3: "duplicate", 4: "background"}


def kinds(errors):
    return [KINDS[kind] for kind in errors.detections.kinds]


# A case small enough for paper: classes 1 cell, 2 cat. IoU .5 of the foreground, .1 of the
# background; all boxes are 10 x 10, and one that is moved by k pixels has IoU (10 - k) / (10 + k).
#
# Ground truth, image 1: A cell at x = 0, B cell at 100, C cat at 200, D cell at 300;
# image 2: E cat at 0.
# Detections, best first:
#   .9 cell at   0, image 1: A, IoU 1                               true
#   .8 cell at   1, image 1: A, IoU 9/11, which is taken            duplicate
#   .7 cell at 105, image 1: B, IoU 5/15 = .33                      misplaced
#   .6 cell at 200, image 1: C, a cat, IoU 1                        confused
#   .5 cat  at 106, image 1: B, a cell, IoU 4/16 = .25              both
#   .4 cell at 500, image 1: nothing                                background
#   .3 cat  at   0, image 2: E, IoU 1                               true
#   .2 cell at 104, image 1: B, IoU 6/14 = .43, worse than the .7   misplaced
# D is missed; B and C are not found either, but the .7 and the .6 would find them.
#
# AP at .5, cell: three boxes; true at place 1 of its 6 detections: precision 1 up to recall 1/3, 34
#   of COCO's 101 recalls: 34/101. Cat: two boxes; detections .5 false, .3 true: precision 1/2 up to
#   recall 1/2, 51 recalls: 25.5/101. AP = 59.5/202.
PAPER = (
    data_set(
        [
            annotation(1, [0, 0, 10, 10]),
            annotation(1, [100, 0, 10, 10]),
            annotation(1, [200, 0, 10, 10], 2),
            annotation(1, [300, 0, 10, 10]),
            annotation(2, [0, 0, 10, 10], 2),
        ]
    ),
    [
        detection(1, [104, 0, 10, 10], 0.2),
        detection(1, [0, 0, 10, 10], 0.9),
        detection(1, [1, 0, 10, 10], 0.8),
        detection(1, [105, 0, 10, 10], 0.7),
        detection(1, [200, 0, 10, 10], 0.6),
        detection(1, [106, 0, 10, 10], 0.5, 2),
        detection(1, [500, 0, 10, 10], 0.4),
        detection(2, [0, 0, 10, 10], 0.3, 2),
    ],
)


def test_kinds_by_hand():
    errors = evaluate_errors(*PAPER)
    assert kinds(errors) == [
        *("misplaced", "true", "duplicate", "misplaced", "confused", "both", "background", "true")
    ]
    found = errors.detections
    assert found.objects.tolist() == [1, 0, 0, 1, 2, 1, -1, 4]
    assert found.ious == pytest.approx([6 / 14, 1, 9 / 11, 1 / 3, 1, 1 / 4, 0, 1])
    assert found.found_by.tolist() == [1, -1, -1, -1, 7]
    assert found.mended_by.tolist() == [-1, 3, 4, -1, -1]
    assert found.not_found.tolist() == [False, True, True, True, False]
    assert found.missed.tolist() == [False, False, False, True, False]
    assert errors.checked.annotations[found.objects[0]]["bbox"] == [100, 0, 10, 10]
    counts = dict(zip(ERRORS, (1, 2, 1, 1, 1, 1, 6, 3), strict=True))
    assert errors.all_classes.counts == counts
    cell, cat = errors.per_class
    assert list(cell.counts.values()) == [1, 2, 0, 1, 1, 1, 5, 2]
    assert list(cat.counts.values()) == [0, 0, 1, 0, 0, 0, 1, 1]
    assert (cell.true, cell.boxes, cat.true, cat.boxes) == (1, 3, 1, 2)


def test_costs_by_hand():
    errors = evaluate_errors(*PAPER)
    cell, cat = errors.per_class
    assert (cell.name, cell.category_id) == ("cell", 1)
    aps = [row.AP for row in errors.per_class]
    assert aps == pytest.approx([34 / 101, 25.5 / 101])
    # What each class's AP becomes, in 101sts.
    after = {
        # The .6 is a cat: cat true .6, false .5, true .3: precision 1 up to recall 1/2, then 2/3,
        # 51 + 50 * 2/3. Of cell it goes, behind the only true one: nothing changes.
        "classification": (34, 51 + 100 / 3),
        # The .7 is true, the .2 goes: cell true, false, true: 2/3 up to recall 2/3, 34 + 33 * 2/3.
        "localization": (34 + 22, 25.5),
        "both": (34, 51),  # cat: its only false one goes
        "duplicate": (34, 25.5),
        "background": (34, 25.5),
        # Two cells are left to find, one is found: recalls 0 to 1/2.
        "missed": (51, 25.5),
        "false_positives": (34, 51),
        # Every box that is left is found: cell precision 1 at recall 1, cat 1/2.
        "false_negatives": (101, 50.5),
    }
    before = (34, 25.5)
    for error, aps in after.items():
        gains = [(new - old) / 101 for new, old in zip(aps, before, strict=True)]
        assert (cell.dAP[error], cat.dAP[error]) == pytest.approx(gains), error
        assert errors.all_classes.dAP[error] == pytest.approx(sum(gains) / 2), error
    ap = errors.all_classes.AP
    assert ap == pytest.approx(59.5 / 202)


def test_a_higher_foreground_turns_true_ones_into_misplaced_ones():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    found = [detection(1, [2, 0, 10, 10], 0.9)]  # IoU 8 / 12
    assert kinds(evaluate_errors(truth, found, 0.5)) == ["true"]
    errors = evaluate_errors(truth, found, 0.75)
    assert kinds(errors) == ["misplaced"]
    assert (errors.all_classes.AP, errors.all_classes.dAP["localization"]) == (0, 1)
    assert evaluate_errors(truth, found, 8 / 12).all_classes.true == 1
    # Of the foreground's very IoU, and the box is taken: it would be true if it were free.
    found.append(detection(1, [2, 0, 10, 10], 0.8))
    assert kinds(evaluate_errors(truth, found, 8 / 12)) == ["true", "duplicate"]


def test_the_background_iou_is_a_parameter():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    found = [detection(1, [6, 0, 10, 10], 0.9), detection(1, [6, 0, 10, 10], 0.8, 2)]  # IoU 4 / 16
    assert kinds(evaluate_errors(truth, found)) == ["misplaced", "both"]
    # At exactly b one is misplaced in its own class, and background to another.
    assert kinds(evaluate_errors(truth, found, background_iou=0.25)) == ["misplaced", "background"]
    assert kinds(evaluate_errors(truth, found, background_iou=0.26)) == ["background"] * 2


def test_what_coco_ignores_is_no_error():
    truth = data_set(
        [annotation(1, [0, 0, 50, 50], iscrowd=1), annotation(1, [40, 0, 20, 20])], images=(1,)
    )
    # In the crowd by its whole area, and on the other box by 10 * 20 / 600 = .33.
    found = [detection(1, [30, 0, 20, 20], 0.9), detection(1, [30, 0, 20, 20], 0.8, 2)]
    errors = evaluate_errors(truth, found)
    assert kinds(errors) == ["ignored", "both"]  # the crowd is one of cells
    assert errors.detections.crowd.tolist() == [True, False]
    assert errors.detections.missed.tolist() == [False, True]
    assert errors.all_classes.counts["false_negatives"] == 1


def test_what_is_not_counted_is_no_error():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    found = [detection(1, [90, 0, 10, 10], 0.9)] * 100 + [detection(1, [0, 0, 10, 10], 0.1)]
    errors = evaluate_errors(truth, found)
    assert kinds(errors) == ["background"] * 100 + ["ignored"]
    assert errors.all_classes.counts["missed"] == 1
    assert kinds(evaluate_errors(truth, found, counted=101))[-1] == "true"


def test_a_class_with_nothing_left_to_find():
    """An oracle takes all boxes away: nothing is wrong any more, unless something is found."""
    truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(1, [0, 0, 10, 10], 2)])
    errors = evaluate_errors(truth, [detection(2, [0, 0, 10, 10], 0.9, 2)])
    assert [row.dAP["missed"] for row in errors.per_class] == [1, 0]
    assert evaluate_errors(truth, []).all_classes.dAP == pytest.approx(
        dict.fromkeys(ERRORS, 0.0) | {"missed": 1, "false_negatives": 1}
    )


def test_classes_without_ground_truth_have_no_cost_and_do_not_count():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    found = [detection(1, [0, 0, 10, 10], 0.5), detection(1, [50, 0, 10, 10], 0.9, 2)]
    errors = evaluate_errors(truth, found)
    assert errors.per_class[1].AP is None and set(errors.per_class[1].dAP.values()) == {None}
    assert errors.per_class[1].counts["background"] == 1
    assert (errors.all_classes.AP, errors.all_classes.dAP["background"]) == (1, 0)


@pytest.mark.parametrize("categories", [(), ("cell",)])
def test_nothing_at_all(categories):
    errors = evaluate_errors(data_set([], images=(), categories=categories), [])
    assert errors.all_classes.AP is None
    assert set(errors.all_classes.dAP.values()) == {None}
    assert set(errors.all_classes.counts.values()) == {0}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"iou": 0}, "iou is 0: it must be above 0"),
        ({"iou": float("nan")}, "iou is nan"),
        ({"iou": "0.5"}, "iou is '0.5'"),
        ({"background_iou": 1.5}, "background_iou is 1.5"),
        ({"background_iou": 0.6}, "background_iou is 0.6: it must not be above iou, 0.5"),
    ],
)
def test_an_iou_that_is_none_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate_errors(*PAPER, **options)


# Beside others' numbers.


def stored(shared_data, name):
    names = {
        "val2014": (
            "coco_eval_val2014_100/instances_val2014_100.json",
            "coco_eval_val2014_100/instances_val2014_fakebbox100_results.json",
        ),
        "coco_mini": (
            "coco_mini/annotations/instances_val2017.json",
            "coco_mini/annotations/ssdlite_mobilenet_v2_val2017_dets.json",
        ),
    }
    return (json.loads((shared_data / file).read_text()) for file in names[name])


@pytest.mark.parametrize("iou", [0.5, 0.75])
@pytest.mark.parametrize("name", ["val2014", "coco_mini"])
def test_equals_tidecv_where_the_rules_are_the_same(shared_data, name, iou, monkeypatch):
    """Without crowds and equal scores: every kind, and every class's AP as it is and as mended.

    But for recall: COCO's 101 recalls are those of `linspace`, tidecv's k / 100, and .7 of ten
    boxes reaches only the second's.
    """
    monkeypatch.setattr(error_kinds, "_RECALLS", np.arange(101) / 100)
    golden = {key: GOLDEN[f"{name}|plain|{iou:g}|{key}"] for key in ("kinds", "missed", "classes")}
    truth, found = stored(shared_data, name)
    truth["annotations"] = [row for row in truth["annotations"] if not row["iscrowd"]]
    for row, place in zip(found, GOLDEN[f"{name}|places"].tolist(), strict=True):
        row["score"] = 1 - place / len(found)
    errors = evaluate_errors(truth, found, iou)
    assert kinds(errors) == [TIDE_KINDS.get(number, "true") for number in golden["kinds"].tolist()]
    np.testing.assert_array_equal(errors.detections.missed, golden["missed"])
    left = {"missed": errors.detections.missed, "false_negatives": errors.detections.not_found}
    compared = 0
    for number, row in enumerate(errors.per_class):
        if row.AP is None:
            continue
        for column, error in enumerate((None, *ERRORS)):
            if error in left:  # a class with nothing left to find is 0 or does not count there
                of_class = [a["category_id"] == number + 1 for a in errors.checked.annotations]
                if left[error][of_class].all():
                    continue
            ap = row.AP + (row.dAP[error] if error else 0)
            assert 100 * ap == pytest.approx(golden["classes"][number, column], abs=1e-9)
            compared += 1
    assert compared > 8 * 60


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_is_near_tidecv_on_the_files_as_they_are(shared_data, iou):
    """A crowd's detections and classes without ground truth are counted there."""
    truth, found = stored(shared_data, "coco_mini")
    errors = evaluate_errors(truth, found, iou).all_classes
    ap = errors.AP
    means = dict(zip(("AP", *ERRORS), GOLDEN[f"coco_mini|as_is|{iou:g}|means"], strict=True))
    assert 100 * ap == pytest.approx(means["AP"] * 80 / 78)  # two of 80 classes
    # tidecv drops or keeps the two with what they have found; a class more or less is 1.3 points.
    for error in ERRORS:
        assert 100 * errors.dAP[error] == pytest.approx(means[error], abs=1.3), error


def test_average_precision_is_cocos(shared_data):
    for name in ("val2014", "coco_mini"):
        truth, found = stored(shared_data, name)
        metrics = coco_metrics.evaluate_detections(truth, found)
        for iou, key in ((0.5, "AP50"), (0.75, "AP75"), (0.9, "AP90")):
            ap = evaluate_errors(truth, found, iou).all_classes.AP
            assert ap == pytest.approx(metrics.summary[key], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_every_scene_has_cocos_average_precision_and_no_negative_cost(scene):
    truth, found = scene
    for row in truth["annotations"]:
        row.pop("area", None)  # COCO leaves out what is larger than 1e10
    metrics = coco_metrics.evaluate_detections(truth, found)
    for iou, key in ((0.5, "AP50"), (0.75, "AP75")):
        errors = evaluate_errors(truth, found, iou)
        ap = errors.all_classes.AP
        assert ap == pytest.approx(metrics.summary[key], abs=1e-12)
        for row in (errors.all_classes, *errors.per_class):
            assert all(gain is None or gain > -1e-12 for gain in row.dAP.values())
        counts, total = errors.all_classes.counts, errors.all_classes.boxes
        assert errors.all_classes.true + counts["false_negatives"] == total == metrics.boxes
