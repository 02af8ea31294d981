"""Means over chosen classes, in the metrics of COCO, VOC and LVIS."""

import pytest

from ioub_jax import evaluation
from ioub_jax.evaluation import CocoMetric, LvisMetric, VocMetric, recorded_numbers
from ioub_jax.evaluation.chosen_classes import chosen_means
from tests.evaluation.small_data import annotation, data_set, detection

BOX = [0, 0, 40, 40]
# Of `cell` one of two objects is found, and nothing false: 51 of the 101 recalls are reached, 6 of
# VOC's 11, and half of the area. Of `cat` all is found, of `dog` nothing, and of `cow` nothing is
# there.
TRUTH = data_set(
    [annotation(1, BOX), annotation(2, BOX), annotation(1, BOX, 2), annotation(1, BOX, 3)],
    categories=("cell", "cat", "dog", "cow"),
)
FOUND = [detection(1, BOX, 0.9), detection(1, BOX, 0.9, 2)]
LVIS = TRUTH | {"images": [image | {"neg_category_ids": []} for image in TRUTH["images"]]}


def test_a_mean_is_over_the_chosen_classes_that_have_objects():
    metric = CocoMetric("pycocotools", average_classes=("cell", "dog", "cow", "cell"))
    numbers = metric.compute(TRUTH, FOUND).numbers
    assert numbers["AP"] == pytest.approx((51 / 101 + 1 + 0) / 3)
    for key in ("AP_chosen", "AP50_chosen", "AP75_chosen"):
        assert numbers[key] == pytest.approx((51 / 101 + 0) / 2)
    # A run's records have them where a metric of one's own would be: in curves and comparisons.
    own = recorded_numbers.own_numbers(numbers)
    assert list(own) == ["AP_chosen", "AP50_chosen", "AP75_chosen"]
    assert "AP_chosen" not in CocoMetric().compute(TRUTH, FOUND).numbers


def test_what_counts_more_detections_has_its_name_there_too():
    numbers = CocoMetric("pycocotools", 300, ("cat",)).compute(TRUTH, FOUND).numbers
    assert numbers["AP_chosen"] == numbers["AP75_chosen@300"] == pytest.approx(1)


def test_table_and_json_name_them():
    chosen = evaluation.evaluate_detections(TRUTH, FOUND, average_classes=["cat", "cow"])
    sentence = (
        "AP_chosen 1.000, AP50_chosen 1.000, AP75_chosen 1.000: the mean over 2 chosen classes "
        "(cat, cow)"
    )
    assert sentence in evaluation.format_table(chosen).splitlines()
    written = evaluation.metrics_to_json(chosen)
    assert written["average_classes"] == ["cat", "cow"]
    assert written["AP50_chosen"] == pytest.approx(1)


def test_vocs_metric_has_both_kinds():
    report = VocMetric(("cell", "dog")).compute(TRUTH, FOUND)
    assert report.numbers["voc_AP50_chosen"] == pytest.approx(6 / 11 / 2)
    assert report.numbers["voc_all_points_AP_chosen"] == pytest.approx(1 / 2 / 2)
    assert "voc_AP_chosen 0.273, voc_AP50_chosen 0.273" in report.table
    assert report.details["voc_AP_chosen"] == report.numbers["voc_AP_chosen"]


def test_lviss_metric_has_them():
    report = LvisMetric("pycocotools", ("cell", "cat")).compute(LVIS, FOUND)
    assert report.numbers["lvis_AP_chosen"] == pytest.approx((51 / 101 + 1) / 2)
    assert report.details["average_classes"] == ["cell", "cat"]
    assert "AP_chosen 0.752" in report.table


def test_no_object_gives_no_number():
    chosen = evaluation.evaluate_detections(TRUTH, FOUND, average_classes=("cow",)).chosen
    assert set(chosen.numbers.values()) == {None}
    assert chosen.sentence().startswith(
        "AP_chosen -, AP50_chosen -, AP75_chosen -: the mean over 1"
    )


@pytest.mark.parametrize(
    "evaluate", [evaluation.evaluate_detections, evaluation.evaluate_voc, evaluation.evaluate_lvis]
)
def test_a_name_of_no_class_is_refused(evaluate):
    with pytest.raises(ValueError, match=r"average_classes names 'bird', .* choose from cell, cat"):
        evaluate(LVIS, FOUND, average_classes=("cell", "bird"))


def test_many_and_odd_names_stay_a_line():
    rows = [(f"class\n{k}", {"AP": 0.5}) for k in range(7)]
    sentence = chosen_means(rows, [name for name, _ in rows]).sentence()
    assert sentence.startswith("AP_chosen 0.500: the mean over 7 chosen classes (")
    assert sentence.endswith(" and 2 more)") and "\n" not in sentence
