"""AP where images hold more objects of a class than COCO's metrics count, and its name."""

import pytest

from ioub_jax import evaluation
from ioub_jax.evaluation import CocoMetric, recorded_numbers
from ioub_jax.evaluation.dense_objects import base_of, named
from tests.evaluation.small_data import annotation, data_set, detection


def squares(count, image_id=1, category_id=1):
    """So many boxes beside one another."""
    return [
        annotation(image_id, [12.0 * (k % 20), 12.0 * (k // 20), 10, 10], category_id)
        for k in range(count)
    ]


def perfect(annotations):
    return [detection(a["image_id"], a["bbox"], 0.9, a["category_id"]) for a in annotations]


# A perfect detector of 150: at 100 recall is 2/3, 67 of the 101 recalls 0, .01, ... 1; at 120 it is
# .8, which 81 reach; at 150 all. The cat of the second image is found: AP 1.
OBJECTS = squares(150) + squares(1, 2, 2)
TRUTH = data_set(OBJECTS)
AP = {100: 67 / 101, 120: 81 / 101, 150: 1.0}


@pytest.mark.parametrize("backend", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("counted", [120, 150, 3000])
def test_what_counts_more_has_names_of_its_own(backend, counted):
    metrics = evaluation.evaluate_detections(
        TRUTH, perfect(OBJECTS), backend=backend, counted=counted
    )
    own = evaluation.evaluate_detections(TRUTH, perfect(OBJECTS), backend=backend)
    assert {key: metrics.summary[key] for key in own.summary} == own.summary
    assert own.summary["AP"] == pytest.approx((AP[100] + 1) / 2)
    mean = (AP.get(counted, 1.0) + 1) / 2
    for key in ("AP", "AP50", "AP90", "APs"):
        assert metrics.summary[f"{key}@{counted}"] == pytest.approx(mean)
    # Recall at 120 is .8 of the one class and 1 of the other.
    recall = (min(counted, 150) / 150 + 1) / 2
    assert metrics.summary[f"AR@{counted}"] == pytest.approx(recall)
    assert metrics.summary["AR100"] == pytest.approx((2 / 3 + 1) / 2)
    cell = metrics.per_class[0]
    assert cell.AP == own.per_class[0].AP == pytest.approx(AP[100])
    assert cell.others[f"AP@{counted}"] == pytest.approx(AP.get(counted, 1.0))
    assert own.per_class[0].others == {}
    written = evaluation.metrics_to_json(metrics)
    assert written["per_class"][0][f"AP75@{counted}"] == cell.others[f"AP75@{counted}"]
    assert written["per_class"][0]["AP75"] == cell.AP75 and "others" not in written["per_class"][0]


def test_the_headline_has_that_name():
    assert (CocoMetric().headline_key, CocoMetric(counted=300).headline_key) == ("AP", "AP@300")
    report = CocoMetric("pycocotools", 150).compute(TRUTH, perfect(OBJECTS))
    assert report.numbers["AP@150"] == pytest.approx(1.0)
    assert report.numbers["AP"] < 0.9
    # All of them are COCO's, also under other names; another's metric may have such a name, too.
    record = {**report.numbers, "AP@0.5": 0.25, "F1@20": 0.5, "AR5@150": 0.75}
    assert recorded_numbers.own_numbers(record) == {"AP@0.5": 0.25, "F1@20": 0.5, "AR5@150": 0.75}


def test_fewer_than_cocos_are_refused():
    with pytest.raises(ValueError, match="counted is 99; it must be at least COCO's 100"):
        evaluation.evaluate_detections(TRUTH, [], counted=99)


def test_names():
    assert (named("AP50", 100), named("AP50", 300)) == ("AP50", "AP50@300")
    assert [base_of(key) for key in ("AP", "AP50@300", "AP@x", "@3")] == ["AP", "AP50", "AP@x", ""]


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        (100, "AP 0.832; evaluation.coco_detections=150 counts all, as AP@150"),
        (120, "AP 0.832 and AP@120 0.901; evaluation.coco_detections=150 counts all, as AP@150"),
        (150, "AP 0.832 and AP@150 1.000"),
        (300, "AP 0.832 and AP@300 1.000"),
    ],
)
def test_dense_images_are_told_of_with_the_key_that_helps(counted, told):
    metrics = evaluation.evaluate_detections(TRUTH, [], counted=counted)
    assert metrics.dense is not None
    assert (metrics.dense.images, metrics.dense.most) == (1, 150)
    # (67 / 101 + 1) / 2 = .8317, (81 / 101 + 1) / 2 = .9010.
    expected = (
        "1 image has more than 100 objects of a class, up to 150, and AP counts the 100 best "
        f"detections: a perfect detector has {told}"
    )
    assert metrics.dense.sentence() == expected
    assert expected in evaluation.format_table(metrics).splitlines()
    assert evaluation.metrics_to_json(metrics)["dense_images"]["most"] == 150


def test_where_all_are_counted_nothing_is_told():
    # 100 of a class, and a crowd besides; 90 of each of two classes in an image are 180 objects.
    crowd = annotation(1, [0, 0, 300, 300], iscrowd=1)
    for objects in ([*squares(100), crowd], squares(90) + squares(90, 1, 2), []):
        metrics = evaluation.evaluate_detections(data_set(objects), [])
        assert metrics.dense is None
        assert "dense_images" not in evaluation.metrics_to_json(metrics)


def test_the_table_names_what_it_counts():
    metrics = evaluation.evaluate_detections(TRUTH, perfect(OBJECTS), counted=3000)
    lines = evaluation.format_table(metrics).splitlines()
    assert lines[1] == (
        "AP@3000 counts the 3,000 best detections of a class in an image, AP the 100 of COCO's own "
        "metrics"
    )
    assert lines[-9:] == [
        "  AP@3000  AP50@3000  AP60@3000  AP70@3000  AP75@3000  AP80@3000  AP90@3000",
        "    1.000      1.000      1.000      1.000      1.000      1.000      1.000",
        "",
        "  APs@3000  APm@3000  APl@3000  AR@3000  ARs@3000  ARm@3000  ARl@3000",
        "     1.000         -         -    1.000     1.000         -         -",
        "",
        "  AP@3000  AP50@3000  AP75@3000   boxes  class",
        "    1.000      1.000      1.000     150  cell",
        "    1.000      1.000      1.000       1  cat",
    ]
