"""Evaluations by a detector that finds exactly what is annotated, or what it is told to."""

import json
import pickle
import re
import types

import cv2
import numpy as np
import pytest

from ioub_jax.data.loading import Loading
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.detectors import DetectionOptions
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import (
    CocoMetric,
    Report,
    VocMetric,
    coco_format,
    error_report_to_json,
    evaluate_detections,
    evaluate_voc,
    explain_errors,
    format_error_report,
    format_table,
    format_voc_table,
    metrics_to_json,
    voc_metrics_to_json,
)
from ioub_jax.postprocess import Detections
from ioub_jax.training import evaluator
from tests.own_metric import Caught

BIG = 2**63 - 1  # an image id that neither int32 nor float64 holds


def annotation(number, image_id, category_id, box):
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
    }


def instances():
    """Two images and two of COCO's categories, with a gap between their ids."""
    return {
        "images": [
            {"id": id_, "file_name": f"{id_}.png", "height": 64, "width": 64} for id_ in (5, BIG)
        ],
        "annotations": [
            annotation(1, 5, 90, [8, 8, 16, 16]),
            annotation(2, BIG, 1, [0, 0, 32, 32]),
            annotation(3, BIG, 90, [32, 32, 16, 32]),
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
    }


@pytest.fixture
def open_source(tmp_path):
    """Writes a COCO data set and opens it."""
    for image_id in (5, BIG):
        cv2.imwrite(str(tmp_path / f"{image_id}.png"), np.zeros((64, 64, 3), np.uint8))

    def open_source(content):
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return CocoSource(path, tmp_path)

    return open_source


def find_what_is_annotated(batch):
    scores = np.full(batch["labels"].shape, 0.5, np.float32)
    return Detections(batch["boxes"], scores, batch["labels"], batch["valid"])


def find_one_toothbrush(batch):
    """One detection an image, at [0, 0, 8, 16], of the second class."""
    images = len(batch["image"])
    boxes = np.tile(np.float32([0, 0, 8, 16]), (images, 1, 1))
    one = np.ones((images, 1))
    return Detections(boxes, np.float32(0.5 * one), np.int32(one), one.astype(bool))


LOADING = Loading(canvases=((64, 64),), max_boxes=16)
COCO, VOC = CocoMetric("pycocotools"), VocMetric()


def run(source, metrics=(COCO,), find=find_what_is_annotated):
    """Evaluates a detector; the canvas is as large as the images."""
    detector = types.SimpleNamespace(
        detector=types.SimpleNamespace(options=DetectionOptions(score_threshold=0.0)),
        mesh=None,
        on_devices=lambda batch, _: (batch, None),
    )
    return evaluator.evaluate_source(
        lambda batch, anchors: find(batch), source, detector, LOADING, metrics, batch_size=8
    )


def test_detections_have_the_data_sets_own_ids(open_source):
    evaluation = run(open_source(instances()))
    found = {(row["image_id"], row["category_id"], *row["bbox"]) for row in evaluation.results}
    expected = {
        (row["image_id"], row["category_id"], *row["bbox"]) for row in instances()["annotations"]
    }
    assert found == expected
    assert all(type(row["image_id"]) is type(row["category_id"]) is int
               for row in evaluation.results)  # fmt: skip
    assert evaluation.headline == pytest.approx(1.0)
    assert evaluation.reports["coco"].details["boxes"] == 3


COCO_FILES, VOC_FILES = {"metrics.json", "table.txt"}, {"voc_metrics.json", "voc_table.txt"}


@pytest.mark.parametrize(
    ("metrics", "files"),
    [
        ((COCO,), COCO_FILES),
        ((VOC,), VOC_FILES),
        ((COCO, VOC), COCO_FILES | VOC_FILES),
        ((VOC, COCO), COCO_FILES | VOC_FILES),
        ((Caught(),), {"caught_metrics.json", "caught_table.txt"}),
        ((VOC, Caught()), VOC_FILES | {"caught_metrics.json", "caught_table.txt"}),
    ],
)
def test_the_metrics_asked_for_are_computed_and_written(open_source, tmp_path, metrics, files):
    evaluation = run(open_source(instances()), metrics)
    assert list(evaluation.reports) == [metric.name for metric in metrics]
    folder = tmp_path / "evaluation"
    evaluation.write(folder, "val_3")
    assert {path.name for path in folder.iterdir()} == {
        "val_3_detections.json",
        "val_3_thresholds.json",  # whatever the metrics are
        *(f"val_3_{name}" for name in files),
    }
    record = evaluation.record()
    assert json.loads(json.dumps(record)) == record
    assert ("AP" in record, "AR100" in record) == (COCO in metrics,) * 2
    for key in ("voc_AP", "voc_AP50", "voc_all_points_AP90"):
        assert (key in record) == (VOC in metrics)
    assert all(value == pytest.approx(1.0) for key, value in record.items() if "voc" in key)
    assert ("COCO, 2 images" in evaluation.describe()) == (COCO in metrics)
    assert ("PASCAL VOC, 2 images" in evaluation.describe()) == (VOC in metrics)


def test_files_hold_what_the_functions_say(open_source, tmp_path):
    """The whole JSON and the whole table, of both metrics."""
    source = open_source(instances())
    evaluation = run(source, (COCO, VOC), find_one_toothbrush)
    evaluation.write(tmp_path, "test_best")
    truth = coco_format.to_coco_ground_truth(source)
    of_coco = evaluate_detections(truth, evaluation.results, backend="pycocotools")
    errors = explain_errors(truth, evaluation.results)
    both = f"{format_table(of_coco)}\n\n{format_error_report(errors)}"
    of_voc = evaluate_voc(truth, evaluation.results)
    for infix, written, table in (
        ("", metrics_to_json(of_coco) | error_report_to_json(errors), both),
        ("voc_", voc_metrics_to_json(of_voc), format_voc_table(of_voc)),
    ):
        assert json.loads((tmp_path / f"test_best_{infix}metrics.json").read_text()) == written
        assert (tmp_path / f"test_best_{infix}table.txt").read_text() == table + "\n"
    assert evaluation.record() == {
        **of_coco.summary,
        **{f"voc_{key}": value for key, value in of_voc.eleven_point.items()},
        **{f"voc_all_points_{key}": value for key, value in of_voc.all_points.items()},
    }


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [((VOC, COCO), 6 / 11), ((COCO, VOC), 51 / 101), ((Caught(), COCO, VOC), 0.5)],
)
def test_the_first_metric_is_the_headline(metrics, expected):
    """One of two objects found: 6 of the 11 recalls are at most 1/2, and 51 of the 101."""
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [annotation(id_, id_, 7, [0, 0, 9, 9]) for id_ in (1, 2)],
        "categories": [{"id": 7, "name": "train"}],
    }
    results = [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "score": 0.5}]
    evaluation = evaluator.compare(truth, results, metrics)
    assert evaluation.headline == pytest.approx(expected)
    assert next(iter(evaluation.record())) == metrics[0].headline_key
    assert evaluation.record()["voc_AP"] == pytest.approx(6 / 11)
    assert evaluation.record()["AP"] == pytest.approx(51 / 101)


def find_nothing(batch):
    """No detection; the best candidates of the images have .03 and NaN."""
    found = find_one_toothbrush(batch)
    scores = np.float32([[0.03], [np.nan]])[: len(found.scores)]
    return found._replace(scores=np.resize(scores, found.scores.shape), valid=found.valid & False)


def test_where_nothing_is_found_the_highest_score_is_told(open_source):
    evaluation = run(open_source(instances()), find=find_nothing)
    assert evaluation.highest_score == pytest.approx(0.03)
    assert evaluation.describe().endswith(
        "\n\nNo score reached evaluation.score_threshold=0, the highest was 0.03: train longer, or "
        "lower it to see what is found."
    )
    content = instances()
    del content["annotations"]
    words = run(open_source(content), find=find_nothing).describe()
    assert "nothing to compare the detections with" in words and "the highest was 0.03" in words


def test_of_detections_that_are_all_wrong_the_highest_score_is_told(open_source):
    """[0, 0, 8, 16] overlaps neither [8, 8, 24, 24] nor [32, 32, 48, 64]."""
    evaluation = run(open_source(instances()), find=find_one_toothbrush)
    assert evaluation.headline == 0.0
    assert evaluation.describe().endswith(
        "AP is 0 with 2 detections; the highest score was 0.5 (evaluation.score_threshold=0)."
    )
    good = run(open_source(instances())).describe()
    assert "highest" not in good


def test_measured_thresholds_are_written_where_anything_is_true(open_source, tmp_path):
    """All three objects are found with score .5, below which there is nothing."""
    source = open_source(instances())
    evaluation = run(source, (VOC,))
    evaluation.write_thresholds(tmp_path, "val_7")
    names = zip((1, 90), source.classes, strict=True)
    assert json.loads((tmp_path / "val_7_thresholds.json").read_text()) == {
        "all_classes": 0.5,
        "classes": [{"category_id": id_, "name": name, "threshold": 0.5} for id_, name in names],
    }
    assert run(source, (COCO,)).thresholds == evaluation.thresholds
    wrong = run(source, (COCO,), find_one_toothbrush)
    assert wrong.thresholds.all_classes.by_f1 is None
    wrong.write(tmp_path, "val_8")
    assert not (tmp_path / "val_8_thresholds.json").exists()


def test_a_metric_of_ones_own(open_source, tmp_path):
    """Of three objects on two images all are found, with score .5."""
    source = open_source(instances())
    evaluation = run(source, (Caught(0.5), COCO))
    assert evaluation.headline == evaluation.record()["caught"] == 1.0
    assert evaluation.record()["caught_per_image"] == 1.5
    assert evaluation.describe().startswith("caught, 3 of 3 objects\n\nCOCO, 2 images")
    evaluation.write(tmp_path, "val_7")
    assert (tmp_path / "val_7_caught_table.txt").read_text() == "3 of 3 objects\n"
    written = json.loads((tmp_path / "val_7_caught_metrics.json").read_text())
    assert written == {"caught_per_image": 1.5, "caught": 1.0}
    strict = run(source, (Caught(0.6), COCO))
    assert strict.headline == 0.0 and strict.record()["AP"] == pytest.approx(1.0)
    assert "caught is 0 with 3 detections; the highest score was 0.5" in strict.describe()


@pytest.mark.parametrize("metric", [COCO, VOC, Caught(0.3)])
def test_metrics_are_pickled(metric):
    assert pickle.loads(pickle.dumps(metric)) == metric
    report = metric.compute(instances(), [])
    assert pickle.loads(pickle.dumps(report)) == report


def named(name, numbers, headline_key="x"):
    return types.SimpleNamespace(
        name=name, headline_key=headline_key, compute=lambda *_: Report(numbers, "A table.")
    )


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ((), "metrics is empty; give at least one"),
        ((COCO, CocoMetric()), "Two metrics have the name 'coco'; give each its own name."),
        ((named("a/b", {}),), "A metric has the name 'a/b', which is part of file names"),
        (
            (COCO, named("mine", {"x": 1.0, "AP": 0.5})),
            "The metric 'mine' has a number 'AP', which the metric 'coco' has, too; give it "
            "another key, such as 'mine_AP'.",
        ),
        (
            (named("mine", {"x": 1.0, "step": 5.0}),),
            "The metric 'mine' has a number 'step', which the record of an evaluation has, too",
        ),
        (
            (named("mine", {"a": 1.0, "b": 1.0}),),
            "The metric 'mine' calls 'x' its headline, but its numbers are a, b; name one of them.",
        ),
    ],
)
def test_metrics_that_do_not_go_together_are_refused(metrics, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        evaluator.compare(instances(), [], metrics)


def test_without_annotations_there_are_results_only(open_source, tmp_path):
    """As with COCO's image_info_test-dev2017.json."""
    content = instances()
    del content["annotations"]
    source = open_source(content)
    evaluation = run(source, (COCO, VOC, Caught()), find_one_toothbrush)
    assert (evaluation.reports, evaluation.headline) == ({}, None)
    assert evaluation.record() == {}
    assert "nothing to compare the detections with" in evaluation.describe()
    assert "own category ids" in evaluation.describe()
    evaluation.write(tmp_path / "evaluation", "test_best")
    (path,) = (tmp_path / "evaluation").iterdir()
    assert path.name == "test_best_detections.json"
    assert json.loads(path.read_text()) == [
        {"image_id": id_, "category_id": 90, "bbox": [0.0, 0.0, 8.0, 16.0], "score": 0.5}
        for id_ in (5, BIG)
    ]


def test_a_stop_ends_an_evaluation(open_source):
    source = open_source(instances())
    found = evaluator.evaluate_source(
        None, source, None, LOADING, (COCO,), batch_size=8, should_stop=lambda: True
    )
    assert found is None
