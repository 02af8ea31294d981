import copy
import json
import pathlib
import subprocess
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ioub_jax import evaluation, files
from ioub_jax.diagnostics import coco_matches, of_detections
from ioub_jax.evaluation import coco_input, coco_metrics
from tests.evaluation.scenes import scenes

BACKENDS = ("pycocotools", "faster_coco_eval")
TWELVE = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)

# AP, AP50, ... of the published detections, from the README of that data set.
VAL2014_FAKE_BOXES = (
    *(0.504581, 0.696973, 0.572982, 0.585626, 0.519400, 0.501398),
    *(0.386813, 0.593680, 0.595353, 0.639811, 0.566421, 0.564291),
)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    return request.param


def load(path):
    return json.loads(path.read_text())


def val2014(shared_data):
    folder = shared_data / "coco_eval_val2014_100"
    return (
        load(folder / "instances_val2014_100.json"),
        load(folder / "instances_val2014_fakebbox100_results.json"),
    )


def coco_mini(shared_data):
    folder = shared_data / "coco_mini" / "annotations"
    return (
        load(folder / "instances_val2017.json"),
        load(folder / "ssdlite_mobilenet_v2_val2017_dets.json"),
    )


def annotation(image_id, box, category_id=1, **rest):
    area = box[2] * box[3]
    return {
        "id": 1000 + image_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": area,
        "iscrowd": 0,
        **rest,
    }


def detection(image_id, box, score, category_id=1):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def data_set(annotations, images=(1, 2), categories=("cell",)):
    return {
        "images": [{"id": image_id} for image_id in images],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(categories)],
    }


def twelve(metrics):
    return [metrics.summary[key] for key in TWELVE]


# Published and known numbers.


def test_reproduces_the_published_numbers_of_val2014(shared_data, backend):
    metrics = evaluation.evaluate_detections(*val2014(shared_data), backend=backend)
    np.testing.assert_allclose(twelve(metrics), VAL2014_FAKE_BOXES, rtol=0, atol=5e-7)
    assert (metrics.images, metrics.boxes, len(metrics.per_class)) == (100, 839 - 9, 80)


def test_reproduces_the_numbers_of_a_real_detector(shared_data, backend):
    folder = shared_data / "coco_mini" / "annotations"
    expected = load(folder / "ssdlite_mobilenet_v2_val2017_pycocotools_stats.json")
    metrics = evaluation.evaluate_detections(*coco_mini(shared_data), backend=backend)
    np.testing.assert_allclose(twelve(metrics), expected, rtol=0, atol=1e-9)
    assert (metrics.images, metrics.boxes, metrics.detections) == (79, 624 - 5, 7898)
    # 78 of the 80 classes have annotations; every mean is over those.
    existing = [row for row in metrics.per_class if row.AP is not None]
    assert len(existing) == 78
    for key in ("AP", "AP50", "AP75"):
        mean = np.mean([getattr(row, key) for row in existing])
        assert mean == pytest.approx(metrics.summary[key], abs=1e-12)


def test_both_backends_give_the_same_numbers(shared_data):
    for ground_truth, detections in (val2014(shared_data), coco_mini(shared_data)):
        assert_backends_agree(ground_truth, detections)


def assert_backends_agree(ground_truth, detections):
    slow, fast = (
        evaluation.evaluate_detections(ground_truth, detections, backend=backend)
        for backend in BACKENDS
    )
    assert slow == fast


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_backends_agree_to_the_last_bit(scene):
    assert_backends_agree(*scene)
    # Every precision and every score of both, too, which the curves are drawn from.
    checked = coco_input.check_input(*scene)
    slow, fast = (coco_metrics.run_evaluator(checked, backend) for backend in BACKENDS)
    np.testing.assert_array_equal(coco_metrics.precision_of(slow), coco_metrics.precision_of(fast))
    for key in ("recall", "scores"):
        np.testing.assert_array_equal(slow.eval[key], fast.eval[key])
    assert coco_matches.curves_of(checked, slow) == coco_matches.curves_of(checked, fast)


@settings(max_examples=5, deadline=None)
@given(scenes())
def test_a_diagnosis_has_the_numbers_of_both_backends(scene):
    metrics = of_detections.diagnose(*scene).metrics
    assert metrics == evaluation.evaluate_detections(*scene)


def test_equals_pycocotools_own_summary(shared_data, capsys):
    ground_truth, detections = coco_mini(shared_data)
    metrics = evaluation.evaluate_detections(ground_truth, detections)
    assert capsys.readouterr().out == ""

    truth = COCO()
    truth.dataset = ground_truth
    truth.createIndex()
    evaluator = COCOeval(truth, truth.loadRes(detections), iouType="bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    # But for the precision of a single true detection, which it says is 1 / (1 + 2.2e-16).
    assert twelve(metrics) == pytest.approx(evaluator.stats.tolist(), rel=0, abs=2.3e-16)
    thresholds = evaluator.params.iouThrs
    for key, threshold in {"AP60": 0.6, "AP70": 0.7, "AP80": 0.8, "AP90": 0.9}.items():
        index = int(np.argmin(np.abs(thresholds - threshold)))
        precision = evaluator.eval["precision"][index, :, :, 0, 2]
        mean = np.mean(precision[precision > -1])
        assert metrics.summary[key] == pytest.approx(mean, rel=0, abs=2.3e-16)


# A case small enough for paper.
#
# Ground truth: A = [0, 0, 10, 10] in image 1; B = [0, 0, 10, 10], C = [50, 50, 20, 20] in image 2.
# Detections, best first:
#   .9 image 1 [0, 0, 10, 10]      IoU with A 1
#   .8 image 1 [30, 30, 10, 10]    IoU 0: false at every threshold
#   .7 image 2 [0, 0, 10, 8.2]     IoU with B 82 / 100 = .82
#   .6 image 2 [50, 50, 20, 13.4]  IoU with C 268 / 400 = .67
# At IoU .50 .55 .60 .65: true, false, true, true. Precision 1, 1/2, 2/3, 3/4 at recall 1/3, 1/3,
#   2/3, 1; with later maxima 1 up to recall 1/3, then 3/4. Of the recalls 0, .01, ... 1, 34 are
#   <= 1/3 and 67 lie above: AP = (34 + 67 * 3/4) / 101 = 84.25 / 101.
# At IoU .70 .75 .80: true, false, true, false. 34 recalls with 1, the 33 of .34 to .66 with 2/3:
#   AP = (34 + 22) / 101 = 56 / 101.
# At IoU .85 .90 .95: true, then false: AP = 34 / 101.
# Over all ten: AP = (4 * 84.25 + 3 * 56 + 3 * 34) / 1010 = 607 / 1010.
# Recall at 100: 1 four times, 2/3 three times, 1/3 three times: 7 / 10. At 1 an image: A at every
#   threshold, B up to .80: (7 * 2/3 + 3 * 1/3) / 10 = 17 / 30. All areas are below 32 * 32.
PAPER_TRUTH = data_set(
    [
        annotation(1, [0, 0, 10, 10]),
        annotation(2, [0, 0, 10, 10]),
        annotation(2, [50, 50, 20, 20]),
    ]
)
PAPER_DETECTIONS = [
    detection(2, [50, 50, 20, 13.4], 0.6),
    detection(1, [0, 0, 10, 10], 0.9),
    detection(2, [0, 0, 10, 8.2], 0.7),
    detection(1, [30, 30, 10, 10], 0.8),
]


def test_a_case_computed_by_hand(backend):
    metrics = evaluation.evaluate_detections(PAPER_TRUTH, PAPER_DETECTIONS, backend=backend)
    assert metrics.summary == pytest.approx(
        {
            "AP": 607 / 1010,
            "AP50": 84.25 / 101,
            "AP60": 84.25 / 101,
            "AP70": 56 / 101,
            "AP75": 56 / 101,
            "AP80": 56 / 101,
            "AP90": 34 / 101,
            "APs": 607 / 1010,
            "APm": None,
            "APl": None,
            "AR1": 17 / 30,
            "AR10": 7 / 10,
            "AR100": 7 / 10,
            "ARs": 7 / 10,
            "ARm": None,
            "ARl": None,
        },
        abs=1e-12,
    )
    (row,) = metrics.per_class
    assert (row.name, row.category_id, row.boxes) == ("cell", 1, 3)
    values = (row.AP, row.AP50, row.AP75)
    assert values == pytest.approx((607 / 1010, 84.25 / 101, 56 / 101))


# What is empty, absent, odd.


def test_the_hundred_best_of_a_class_in_an_image_count(backend):
    """The only true detection comes at place 100, then at place 101: precision 1/100, then 0."""
    ground_truth = data_set([annotation(1, [0, 0, 50, 50])])
    for false, expected in ((99, 0.01), (100, 0.0)):
        detections = [detection(1, [0, 0, 50, 50], 0.1)]
        detections += [detection(1, [200, 200, 50, 50], 0.9)] * false
        metrics = evaluation.evaluate_detections(ground_truth, detections, backend=backend)
        assert metrics.summary["AP"] == pytest.approx(expected)


def test_perfect_detections_score_one_and_a_class_without_objects_does_not_count(backend):
    ground_truth = data_set([annotation(1, [0, 0, 40, 40])], categories=("present", "absent"))
    detections = [
        detection(1, [0, 0, 40, 40], 0.5),
        detection(2, [5, 5, 9, 9], 0.9, category_id=2),
    ]
    metrics = evaluation.evaluate_detections(ground_truth, detections, backend=backend)
    assert metrics.summary["AP"] == pytest.approx(1.0)
    assert [row.boxes for row in metrics.per_class] == [1, 0]
    assert metrics.per_class[1].AP is None
    # A false detection of the present class in the image without objects is counted: precision 1/2.
    detections.append(detection(2, [5, 5, 9, 9], 0.9))
    metrics = evaluation.evaluate_detections(ground_truth, detections, backend=backend)
    assert metrics.summary["AP"] == pytest.approx(0.5)


def test_no_detections_at_all_is_zero(backend):
    metrics = evaluation.evaluate_detections(PAPER_TRUTH, [], backend=backend)
    assert metrics.summary["AP"] == metrics.summary["AP90"] == metrics.summary["AR100"] == 0.0
    assert metrics.per_class[0].AP50 == 0.0


@pytest.mark.parametrize("images", [(), (1,)])
@pytest.mark.parametrize("categories", [(), ("cell",)])
def test_no_ground_truth_at_all_has_no_number(backend, images, categories):
    ground_truth = data_set([], images, categories)
    metrics = evaluation.evaluate_detections(ground_truth, [], backend=backend)
    assert set(metrics.summary.values()) == {None}
    assert evaluation.format_table(metrics)
    if images and categories:
        false = [detection(1, [0, 0, 5, 5], 0.9)]
        metrics = evaluation.evaluate_detections(ground_truth, false, backend=backend)
        assert set(metrics.summary.values()) == {None}


def test_a_crowd_is_neither_found_nor_missed(backend):
    crowd = annotation(2, [0, 0, 100, 100], iscrowd=1)
    ground_truth = data_set([annotation(1, [0, 0, 10, 10]), crowd])
    detections = [detection(1, [0, 0, 10, 10], 0.5), detection(2, [20, 20, 10, 10], 0.9)]
    metrics = evaluation.evaluate_detections(ground_truth, detections, backend=backend)
    assert metrics.summary["AP"] == pytest.approx(1.0)
    assert metrics.boxes == metrics.per_class[0].boxes == 1


def test_a_group_that_is_a_crowd_takes_what_lies_in_it_to_a_half_at_iou_50(backend):
    """Open Images' rule of group-of boxes, whose metric is AP50."""
    group = annotation(1, [100, 0, 100, 100], iscrowd=1)
    ground_truth = data_set([annotation(1, [0, 0, 10, 10]), group])
    # Better scored than the object, .6, .6 and .4 of their areas lie in the group.
    inside, again, outside = ([100 - 10 + k, 10, 10, 10] for k in (6, 6, 4))
    found = [detection(1, [0, 0, 10, 10], 0.5)]
    found += [detection(1, box, 0.9) for box in (inside, again)]
    metrics = evaluation.evaluate_detections(ground_truth, found, backend=backend)
    # At IoU .75 both are false: one of three is true.
    assert metrics.summary["AP50"] == pytest.approx(1)
    assert metrics.summary["AP75"] == pytest.approx(1 / 3)
    found.append(detection(1, outside, 0.9))
    metrics = evaluation.evaluate_detections(ground_truth, found, backend=backend)
    assert metrics.summary["AP50"] == pytest.approx(1 / 2)


def test_an_annotation_id_of_zero_and_absent_fields_are_harmless(backend):
    bare = {"id": 0, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50]}
    ground_truth = data_set([bare, bare | {"image_id": 2}])
    detections = [detection(image_id, [0, 0, 50, 50], 0.9) for image_id in (1, 2)]
    metrics = evaluation.evaluate_detections(ground_truth, detections, backend=backend)
    assert metrics.summary["AP"] == metrics.summary["APm"] == pytest.approx(1.0)
    assert metrics.summary["APs"] is None


def test_the_callers_data_is_not_changed_and_nothing_is_printed(backend, capsys):
    ground_truth, detections = copy.deepcopy((PAPER_TRUTH, PAPER_DETECTIONS))
    evaluation.evaluate_detections(ground_truth, detections, backend=backend)
    assert (ground_truth, detections) == (PAPER_TRUTH, PAPER_DETECTIONS)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_id": 7}, r"detection number 2 .* has image_id 7, which the ground truth"),
        ({"category_id": 9}, r"category_id 9, which is not one of"),
        ({"score": float("nan")}, r"score nan: it must be finite"),
        ({"score": None}, r"no 'score' that is a number"),
        ({"bbox": [0.0, 0.0, float("inf"), 1.0]}, r"bbox .*inf.* must be finite"),
        ({"bbox": [0.0, 0.0, 1.0]}, r"bbox of 3 numbers"),
        ({"bbox": [9.0, 9.0, -4.0, 1.0]}, r"negative size"),
        ({"bbox": None}, r"no 'bbox' that is a list of numbers"),
    ],
)
def test_a_malformed_detection_is_refused(change, sentence):
    detections = [PAPER_DETECTIONS[0], PAPER_DETECTIONS[1] | change]
    with pytest.raises(ValueError, match=sentence):
        evaluation.evaluate_detections(PAPER_TRUTH, detections)


@pytest.mark.parametrize(
    ("ground_truth", "sentence"),
    [
        ({"images": [], "annotations": []}, "no 'categories'"),
        (data_set([annotation(3, [0, 0, 1, 1])]), "annotation 1003 .* has image_id 3"),
        (data_set([annotation(1, [0, 0, 1, 1], 4)]), "category_id 4"),
        (data_set([annotation(1, [0, 0, 1, 1], area=float("nan"))]), "area nan"),
        (data_set([], images=(1, 1)), "id 1 2 times in 'images'"),
        (data_set([], images=("1", 1)), "id 1 2 times in 'images'"),
        (data_set([], images=(True,)), "id True in 'images': use an integer or a name"),
        (data_set([], images=(None,)), "id None in 'images'"),
        (data_set([annotation(1, [0, 0, 1, 1], area="big")]), "1001 .* has the area 'big', which"),
        (data_set([annotation(1, [0, 0, 1, 1], iscrowd=2)]), "iscrowd 2, which is neither 0 nor 1"),
        (data_set([annotation(1, [0, 0, 1, 1], difficult="no")]), "difficult 'no', which is nei"),
        (data_set([annotation(1, [0, 0, 1, "1"])]), "annotation 1001 .* no 'bbox' that is a list"),
        (data_set([annotation(1, [0, 0, 1, 1], None)]), "category_id None, which is not one of"),
    ],
)
def test_malformed_ground_truth_is_refused(ground_truth, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluation.evaluate_detections(ground_truth, [])


def test_an_unknown_or_absent_backend_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="'lvis' is neither"):
        evaluation.evaluate_detections(PAPER_TRUTH, [], backend="lvis")
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match="install 'ioub_jax\\[train\\]'"):
        evaluation.evaluate_detections(PAPER_TRUTH, [], backend="faster_coco_eval")


# Arrays to COCO results.


def batch(image_ids=(5, 6), is_real=(True, True)):
    """Two images, three slots: image 5 has detections 0 and 2, image 6 has detection 1."""
    boxes = np.arange(24, dtype=np.float32).reshape(2, 3, 4) + np.float32([0, 0, 10.1, 20.2])
    scores = np.float32([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]])
    labels = np.int32([[0, 1, 1], [0, 1, 0]])
    valid = np.array([[True, False, True], [False, True, False]])
    return np.int32(image_ids), boxes, scores, labels, valid, np.array(is_real)


def test_results_are_plain_and_exact():
    *arrays, _ = batch()
    results = evaluation.to_coco_results(*arrays, category_ids=(3, 90))
    assert [(row["image_id"], row["category_id"]) for row in results] == [(5, 3), (5, 90), (6, 90)]
    assert [row["score"] for row in results] == [float(np.float32(s)) for s in (0.9, 0.7, 0.5)]
    # Slot 0 of image 5 is the corner pair (0, 1), (2 + 10.1, 3 + 20.2): 12.1 wide, 22.2 high.
    assert results[0]["bbox"] == pytest.approx([0, 1, 12.1, 22.2], rel=1e-6)
    assert json.loads(json.dumps(results)) == results
    for row, corners in zip(results, arrays[1][arrays[4]], strict=True):
        x, y, width, height = row["bbox"]
        assert np.float32([x, y, x + width, y + height]).tolist() == corners.tolist()


def test_results_of_nothing_are_empty():
    empty = (
        np.zeros(0),
        np.zeros((0, 3, 4)),
        *(np.zeros((0, 3), int),) * 2,
        np.zeros((0, 3), bool),
    )
    assert evaluation.to_coco_results(*empty, category_ids=(1,)) == []


def test_results_of_wrong_shapes_or_labels_are_refused():
    image_ids, boxes, scores, labels, valid, _ = batch()
    with pytest.raises(ValueError, match="must have shapes"):
        evaluation.to_coco_results(image_ids, boxes, scores[:, :2], labels, valid, (1, 2))
    with pytest.raises(ValueError, match=r"span 0\.\.1, but there are 1 category ids"):
        evaluation.to_coco_results(image_ids, boxes, scores, labels, valid, (1,))
    labels[0, 1] = -1  # An empty slot may hold anything.
    assert len(evaluation.to_coco_results(image_ids, boxes, scores, labels, valid, (1, 2))) == 3


def test_padding_examples_are_never_counted():
    collector = evaluation.DetectionCollector((3, 90))
    collector.add(*batch())
    collector.add(*batch(image_ids=(7, 5), is_real=(True, False)))
    collector.add(*batch(image_ids=(5, 5), is_real=(False, False)))
    assert collector.image_ids == {5, 6, 7}
    assert [row["image_id"] for row in collector.results] == [5, 5, 6, 7, 7]


def test_image_ids_of_63_bits_stay_apart(backend):
    """The two ids are one in float64 and in int32."""
    ids = (2**63 - 1, 2**63 - 2)
    _, *arrays = batch()
    collector = evaluation.DetectionCollector((3, 90))
    collector.add(np.array(ids, np.int64), *arrays)
    assert [row["image_id"] for row in collector.results] == [ids[0], ids[0], ids[1]]
    assert collector.image_ids == set(ids)
    found = [row for row in collector.results if row["image_id"] == ids[1]]
    for image_id, expected in ((ids[1], 1.0), (ids[0], 0.0)):
        truth = data_set([annotation(image_id, found[0]["bbox"], 90)], images=ids)
        truth["categories"] = [{"id": 90, "name": "toothbrush"}]
        metrics = evaluation.evaluate_detections(truth, found, backend=backend)
        assert metrics.summary["AP"] == pytest.approx(expected)


@pytest.mark.parametrize("image_ids", [(6, 8), (8, 8)])
def test_an_image_that_arrives_twice_is_refused(image_ids):
    collector = evaluation.DetectionCollector((3, 90))
    collector.add(*batch())
    with pytest.raises(ValueError, match=f"image_id {max(image_ids[0], 6)} was evaluated twice"):
        collector.add(*batch(image_ids=image_ids))
    assert len(collector.results) == 3


class FakeSource:
    """A source of two images: one with a plain and a crowd box, one without any."""

    sizes = np.array([[480, 640], [10, 20]])
    classes = ("cat", "dög")
    category_ids = (17, 18)
    written_ids: ClassVar = {}

    def __len__(self):
        return 2

    def image_id(self, index):
        return np.int32(100 + index)

    def describe(self, index):
        return f"{index}.jpg"

    def annotations(self, index):
        count = (2, 0)[index]
        return types.SimpleNamespace(
            boxes=np.float32([[1, 2, 11, 22], [0, 0, 640, 480]])[:count],
            labels=np.int32([1, 0])[:count],
            crowd=np.array([False, True])[:count],
            difficult=np.array([True, False])[:count],
            ignored=np.zeros(2, bool)[:count],
            area=np.float32([150, 99])[:count],
        )


class SourceOfRegions(FakeSource):
    """A cat, a region with a left-out cat, and one of whose object not even the class is known."""

    def annotations(self, index):
        count = (3, 0)[index]
        return types.SimpleNamespace(
            boxes=np.float32([[0, 0, 9, 9], [20, 20, 30, 30], [40, 40, 60, 60]])[:count],
            labels=np.int32([0, 0, -1])[:count],
            crowd=np.zeros(count, bool),
            difficult=np.zeros(count, bool),
            ignored=np.array([False, True, True])[:count],
            area=np.float32([81, 100, 400])[:count],
        )


def test_detections_in_a_region_to_ignore_count_nowhere():
    ground_truth = evaluation.to_coco_ground_truth(SourceOfRegions())
    crowds = [(a["category_id"], a["bbox"]) for a in ground_truth["annotations"] if a["iscrowd"]]
    unknown = [40.0, 40.0, 20.0, 20.0]
    assert crowds == [(17, [20.0, 20.0, 10.0, 10.0]), (17, unknown), (18, unknown)]
    found = [
        {"image_id": 100, "category_id": 17, "bbox": [0, 0, 9, 9], "score": 0.5},
        # Better scored, and false but for the regions.
        {"image_id": 100, "category_id": 17, "bbox": [20, 20, 10, 10], "score": 0.9},
        {"image_id": 100, "category_id": 17, "bbox": [44, 44, 8, 8], "score": 0.8},
    ]
    assert evaluation.evaluate_detections(ground_truth, found).summary["AP"] == pytest.approx(1)
    metrics = evaluation.evaluate_voc(ground_truth, found)
    assert (metrics.boxes, metrics.difficult, metrics.eleven_point["AP"]) == (1, 0, 1.0)
    # Outside of the regions they are false: precision 1 / 3 where the cat is found.
    for detection in found[1:]:
        detection["bbox"][0] += 100
    assert evaluation.evaluate_voc(ground_truth, found).all_points["AP"] == pytest.approx(1 / 3)
    assert evaluation.evaluate_detections(ground_truth, found).summary["AP"] == pytest.approx(1 / 3)


def test_ground_truth_of_a_source():
    ground_truth = evaluation.to_coco_ground_truth(FakeSource())
    assert json.loads(json.dumps(ground_truth)) == ground_truth
    assert ground_truth == {
        "images": [
            {"id": 100, "file_name": "0.jpg", "height": 480, "width": 640},
            {"id": 101, "file_name": "1.jpg", "height": 10, "width": 20},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 100,
                "category_id": 18,
                "bbox": [1.0, 2.0, 10.0, 20.0],
                "area": 150.0,
                "iscrowd": 0,
                "difficult": 1,
                "ignored": 0,
            },
            {
                "id": 2,
                "image_id": 100,
                "category_id": 17,
                "bbox": [0.0, 0.0, 640.0, 480.0],
                "area": 99.0,
                "iscrowd": 1,
                "difficult": 0,
                "ignored": 0,
            },
        ],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dög"}],
    }
    # A difficult box counts for COCO, and a crowd is as difficult for VOC.
    metrics = evaluation.evaluate_detections(ground_truth, [])
    assert (metrics.images, metrics.boxes) == (2, 1)
    metrics = evaluation.evaluate_voc(ground_truth, [])
    assert (metrics.images, metrics.boxes, metrics.difficult) == (2, 0, 2)


# Reports.


def test_the_table_is_readable():
    ground_truth = data_set(PAPER_TRUTH["annotations"], categories=("cell", "血小板"))
    metrics = evaluation.evaluate_detections(ground_truth, PAPER_DETECTIONS)
    assert evaluation.format_table(metrics).splitlines() == [
        "2 images, 3 ground-truth boxes, 4 detections",
        "",
        "      AP    AP50    AP60    AP70    AP75    AP80    AP90",
        "   0.601   0.834   0.834   0.554   0.554   0.554   0.337",
        "",
        "     APs     APm     APl     AR1    AR10   AR100     ARs     ARm     ARl",
        "   0.601       -       -   0.567   0.700   0.700   0.700       -       -",
        "",
        "      AP    AP50    AP75   boxes  class",
        "   0.601   0.834   0.554       3  cell",
        "       -       -       -       0  血小板",
    ]


def test_metrics_and_detections_survive_json(tmp_path):
    metrics = evaluation.evaluate_detections(PAPER_TRUTH, PAPER_DETECTIONS)
    report = evaluation.metrics_to_json(metrics)
    files.write_json(tmp_path / "metrics.json", report, indent=2)
    read = load(tmp_path / "metrics.json")
    assert read == report
    assert read["APm"] is None
    assert read["per_class"][0]["boxes"] == 3
    files.write_json(tmp_path / "detections.json", PAPER_DETECTIONS)
    again = evaluation.evaluate_detections(PAPER_TRUTH, load(tmp_path / "detections.json"))
    assert again == metrics


@pytest.mark.parametrize("value", [{"x": float("nan")}, {"x": object()}])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path, value):
    path = tmp_path / "metrics.json"
    files.write_json(path, {"AP": 0.5})
    with pytest.raises((TypeError, ValueError)):
        files.write_json(path, value)
    assert load(path) == {"AP": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_evaluation_loads_no_accelerator_and_no_model():
    root = pathlib.Path(coco_metrics.__file__).parents[2]
    code = (
        "import sys, ioub_jax.evaluation;"
        "print({'jax', 'flax', 'optax', 'ioub_jax.models', 'ioub_jax.training'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
