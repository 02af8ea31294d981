import json

import pytest

from ioub_jax.diagnostics.of_detections import diagnose, diagnosis_to_json
from ioub_jax.evaluation import coco_metrics
from tests.evaluation.small_data import annotation, data_set, detection


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        ([], []),
        ([annotation(1, [0, 0, 10, 10])], []),
        ([], [detection(1, [0, 0, 10, 10], 0.5)]),
        ([annotation(1, [0, 0, 10, 10])], [detection(1, [0, 0, 10, 9], 0.5)]),
    ],
)
def test_a_diagnosis_is_json_and_has_the_metrics_of_an_evaluation(annotations, found):
    truth = data_set(annotations)
    report = diagnosis_to_json(diagnose(truth, found))
    assert json.loads(json.dumps(report, allow_nan=False)).keys() == {
        "metrics", "correlation", "lrp", "curves", "calibration"
    }  # fmt: skip
    assert report["metrics"] == coco_metrics.metrics_to_json(
        coco_metrics.evaluate_detections(truth, found)
    )
    # The mean, then both classes.
    assert [row["name"] for row in report["lrp"]] == [None, "cell", "cat"]
    assert [row["name"] for row in report["curves"]] == [None, "cell", "cat"]


def test_broken_input_is_refused():
    with pytest.raises(ValueError, match="which the ground truth does not list"):
        diagnose(data_set([]), [detection(3, [0, 0, 10, 10], 0.5)])
