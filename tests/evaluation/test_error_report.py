import json

import pytest

from ioub_jax.evaluation import CocoMetric, coco_metrics, format_table, metrics_to_json
from ioub_jax.evaluation.error_report import (
    error_report_to_json,
    explain_errors,
    format_error_report,
)
from tests.evaluation.small_data import annotation, data_set, detection

# Two cells and a cat in image 1; the first cell is found at .9, the cat is taken for a cell at .8,
# at .3 there is a cat where nothing is. By F1 the cells are cut above .8, together all are: from
# .9 on TP 1, FP 0, FN 2, F1 2 / (1 + 3) = .5, and no more ever. Midway to .8 is .85.
TRUTH = data_set(
    [
        annotation(1, [0, 0, 10, 10]),
        annotation(1, [100, 0, 10, 10]),
        annotation(1, [200, 0, 10, 10], 2),
    ],
    categories=("cell", "\x1b[31mcat"),
)
FOUND = [
    detection(1, [0, 0, 10, 10], 0.9),
    detection(1, [200, 0, 10, 10], 0.8),
    detection(1, [300, 0, 10, 10], 0.3, 2),
]


def test_the_text_is_readable():
    assert format_error_report(explain_errors(TRUTH, FOUND)).splitlines() == [
        "Errors: the gain in AP at one IoU if all of a kind are corrected, and their numbers",
        "   dAP50   dAP75   at 50   at 75  error",
        # The cat is found above its false one: AP of cats is 1, and was 0.
        "   0.500   0.500       1       1  classification",
        "   0.000   0.000       0       0  localization",
        "   0.000   0.000       0       0  both",
        "   0.000   0.000       0       0  duplicate",
        "   0.000   0.000       1       1  background",
        # One cell is left: AP of cells is 1, and was 51/101.
        "   0.248   0.248       1       1  missed",
        "   0.000   0.000       2       2  false positives",
        "   0.248   0.248       2       2  false negatives",
        "",
        "Best score thresholds: by F1, then by LRP (the least error), each with its value",
        "   score   prec.  recall      F1   score   prec.  recall     LRP  class",
        "   0.850   1.000   0.333   0.500   0.850   1.000   0.333   0.667  all classes",
        "   0.850   1.000   0.500   0.667   0.850   1.000   0.500   0.500  cell",
        "       -       -       -       -       -       -       -       -  \\x1b[31mcat",
        "",
        "Confusion at the thresholds by F1: ground truth in rows, detections in columns",
        "       1       2       -",
        "       1       0       1   1  cell",
        "       0       0       1   2  \\x1b[31mcat",
        "       0       0       0   -  background",
    ]


def test_of_many_classes_the_most_frequent_confusions_are_told():
    names = [f"class {number}" for number in range(11)]
    annotations = [annotation(1, [20 * x, 0, 10, 10], 1 + x % 2) for x in range(8)]
    found = [detection(1, [20 * x, 0, 10, 10], 0.5, 1 + x % 3) for x in range(7)]
    # Boxes of the classes 1 2 1 2 1 2 1 2, found as 1 2 3 1 2 3 1, the last not at all.
    text = format_error_report(
        explain_errors(data_set(annotations, categories=names), found)
    ).splitlines()
    heading = next(line for line in text if line.startswith("Confusion"))
    assert heading == (
        "Confusion at the thresholds by F1: 3 boxes found, 1 not found, 0 detections of the "
        "background, 4 of another class, most often"
    )
    assert text[text.index(heading) + 1 :] == [
        "       1  class 0 taken for class 1",
        "       1  class 0 taken for class 2",
        "       1  class 1 taken for class 0",
        "       1  class 1 taken for class 2",
    ]


def test_json_has_everything_and_survives():
    report = explain_errors(TRUTH, FOUND)
    written = error_report_to_json(report)
    assert json.loads(json.dumps(written)) == written
    assert list(written) == ["thresholds", "confusion", "errors"]
    cell = written["thresholds"]["per_class"][0]
    assert (cell["name"], cell["category_id"], cell["boxes"]) == ("cell", 1, 2)
    assert cell["by_f1"] == {
        "threshold": pytest.approx(0.85),
        "precision": 1,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "lrp": pytest.approx(0.5),
    }
    # Neither class has ten boxes, so both are cut where all are.
    assert [row["threshold"] for row in written["confusion"]["classes"]] == [
        pytest.approx(0.85)
    ] * 2
    assert written["confusion"]["cells"] == [[0, 0, 1], [0, 2, 1], [1, 2, 1]]
    assert written["errors"]["75"]["iou"] == 0.75
    assert written["errors"]["50"]["all_classes"]["dAP"]["classification"] == pytest.approx(0.5)
    assert written["errors"]["50"]["per_class"][1]["counts"]["background"] == 1


def test_the_metric_says_why_beside_what():
    report = CocoMetric().compute(TRUTH, FOUND)
    metrics = coco_metrics.evaluate_detections(TRUTH, FOUND)
    errors = explain_errors(TRUTH, FOUND)
    assert report.table == f"{format_table(metrics)}\n\n{format_error_report(errors)}"
    assert report.details == metrics_to_json(metrics) | error_report_to_json(errors)
    assert report.thresholds == errors.thresholds
    assert "thresholds" not in report.numbers


def test_the_confusion_of_a_detector_that_exchanges_two_classes_is_told():
    """Nothing is true, so there is no best threshold; what has .4 is looked at."""
    found = [detection(1, [0, 0, 10, 10], 0.9, 2), detection(1, [200, 0, 10, 10], 0.8)]
    report = explain_errors(TRUTH, found)
    assert report.thresholds.all_classes.by_f1 is None
    assert report.confusion.thresholds == (0.4, 0.4)
    assert report.confusion.counts.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("images", [(), (1,)])
@pytest.mark.parametrize("categories", [(), ("c" * 500,)])
@pytest.mark.parametrize("boxes", [0, 1])
def test_of_nothing_there_is_a_report(images, categories, boxes):
    annotations = [annotation(1, [0, 0, 10, 10])] * (boxes if images and categories else 0)
    report = explain_errors(data_set(annotations, images, categories), [])
    assert format_error_report(report)
    assert json.dumps(error_report_to_json(report), allow_nan=False)
