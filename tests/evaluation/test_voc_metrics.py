import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax import evaluation, files
from ioub_jax.evaluation import voc_metrics

KEYS = ("AP", "AP50", "AP60", "AP70", "AP75", "AP80", "AP90")


def annotation(image_id, box, category_id=1, **rest):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, **rest}


def detection(image_id, box, score, category_id=1):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def data_set(annotations, images=(1, 2), categories=("cell",)):
    return {
        "images": [{"id": image_id} for image_id in images],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(categories)],
    }


def both(ground_truth, detections, key="AP50"):
    """11-point and all-points AP."""
    metrics = evaluation.evaluate_voc(ground_truth, detections)
    return metrics.eleven_point[key], metrics.all_points[key]


# The devkit's algorithm, transcribed: VOCevaldet.m, the end of VOCevaldet.m of 2007, and VOCap.m.


def devkit_curve(objects, found, threshold):
    """Recall and precision of one class.

    `objects` holds (image, corners, difficult), `found` (image, corners, score); corners are
    1-based and inclusive.
    """
    taken = [False] * len(objects)
    true, false = [], []
    for image, box, _ in sorted(found, key=lambda entry: -entry[2]):
        largest, which = -np.inf, None
        for position, (other_image, other, _) in enumerate(objects):
            if other_image != image:
                continue
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if width > 0 and height > 0:
                areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
                overlap = width * height / (sum(areas) - width * height)
                if overlap > largest:
                    largest, which = overlap, position
        true.append(0)
        false.append(0)
        if largest < threshold:
            false[-1] = 1
        elif not objects[which][2]:
            if taken[which]:
                false[-1] = 1
            else:
                true[-1] = 1
                taken[which] = True
    true, false = np.cumsum(true), np.cumsum(false)
    with np.errstate(invalid="ignore"):
        precision = true / (true + false)
    return true / sum(not difficult for _, _, difficult in objects), precision


def devkit_eleven_point(recall, precision):
    ap = 0.0
    for tenth in range(11):
        # MATLAB's 0:0.1:1 holds the nearest number to each tenth.
        reached = precision[recall >= tenth / 10]
        reached = reached[~np.isnan(reached)]  # MATLAB's max leaves them out
        ap += max(reached, default=0.0) / 11
    return ap


def devkit_all_points(recall, precision):
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], np.nan_to_num(precision), [0.0]])
    for position in range(len(precision) - 2, -1, -1):
        precision[position] = max(precision[position], precision[position + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def inclusive(box):
    """1-based inclusive corners of `[x, y, width, height]`."""
    x, y, width, height = box
    return x + 1, y + 1, x + width, y + height


def devkit_aps(ground_truth, detections):
    """`[class, (11 points, all points), threshold]`, of classes with an object that counts."""
    result = {}
    for category in ground_truth["categories"]:
        objects = [
            (row["image_id"], inclusive(row["bbox"]), bool(row["difficult"]))
            for row in ground_truth["annotations"]
            if row["category_id"] == category["id"]
        ]
        if all(difficult for _, _, difficult in objects):
            continue
        found = [
            (row["image_id"], inclusive(row["bbox"]), row["score"])
            for row in detections
            if row["category_id"] == category["id"]
        ]
        curves = [devkit_curve(objects, found, (10 + k) / 20) for k in range(10)]
        result[category["id"]] = np.array(
            [[ap(*curve) for curve in curves] for ap in (devkit_eleven_point, devkit_all_points)]
        )
    return result


def assert_equals_devkit(ground_truth, detections):
    expected = devkit_aps(ground_truth, detections)
    metrics = evaluation.evaluate_voc(ground_truth, detections)
    for row in metrics.per_class:
        assert_aps(row, expected.get(row.category_id))
    assert_aps(metrics, np.mean(list(expected.values()), axis=0) if expected else None)
    return metrics


def assert_aps(metrics, expected):
    for number, named in enumerate((metrics.eleven_point, metrics.all_points)):
        assert tuple(named) == KEYS
        if expected is None:
            assert set(named.values()) == {None}
            continue
        aps = expected[number]
        values = (aps.mean(), *(aps[position] for position in (0, 2, 4, 5, 6, 8)))
        assert tuple(named.values()) == pytest.approx(values, abs=1e-12)


# A case small enough for paper.
#
# Ground truth: A = [0, 0, 10, 10] in image 1; B = [0, 0, 10, 10], C = [50, 50, 20, 20] in image 2.
# Detections, best first:
#   .9 image 1 [0, 0, 10, 10]      IoU with A 1
#   .8 image 1 [30, 30, 10, 10]    IoU 0: false at every threshold
#   .7 image 2 [0, 0, 10, 8.2]     IoU with B 82 / 100 = .82
#   .6 image 2 [50, 50, 20, 13.4]  IoU with C 268 / 400 = .67
# At IoU .50 .55 .60 .65: true, false, true, true. Precision 1, 1/2, 2/3, 3/4 at recall 1/3, 1/3,
#   2/3, 1; interpolated 1 up to recall 1/3, then 3/4. Recalls 0, .1, .2, .3 have 1, seven have 3/4:
#   (4 + 7 * 3/4) / 11 = 9.25 / 11. The area is 1/3 * 1 + 2/3 * 3/4 = 5 / 6.
# At IoU .70 .75 .80: true, false, true, false. Recalls 0 to .3 have 1, the three of .4 to .6 2/3:
#   (4 + 2) / 11 = 6 / 11. The area is 1/3 + 1/3 * 2/3 = 5 / 9.
# At IoU .85 .90 .95: true, then false: 4 / 11; the area is 1/3.
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


def test_a_case_computed_by_hand():
    metrics = evaluation.evaluate_voc(PAPER_TRUTH, PAPER_DETECTIONS)
    eleven, area = (9.25 / 11, 6 / 11, 4 / 11), (5 / 6, 5 / 9, 1 / 3)
    for named, (loose, middle, tight) in (
        (metrics.eleven_point, eleven),
        (metrics.all_points, area),
    ):
        mean = (4 * loose + 3 * middle + 3 * tight) / 10
        expected = (mean, loose, loose, middle, middle, middle, tight)
        assert named == pytest.approx(dict(zip(KEYS, expected, strict=True)), abs=1e-12)
    (row,) = metrics.per_class
    assert row == voc_metrics.VocClassMetrics(
        "cell", 1, 3, 0, metrics.eleven_point, metrics.all_points
    )
    counts = (metrics.images, metrics.boxes, metrics.difficult, metrics.detections)
    assert counts == (2, 3, 0, 4)


def test_a_duplicate_is_false():
    """Two objects: found, found again, the other found. Precision 1, 1/2, 2/3; recall 1/2, 1/2, 1.

    Recalls 0 to .5 have 1, the five of .6 to 1 have 2/3: (6 + 10/3) / 11. Area (1 + 2/3) / 2.
    """
    ground_truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(2, [0, 0, 10, 10])])
    detections = [
        detection(1, [0, 0, 10, 10], 0.9),
        detection(1, [0, 0, 10, 9], 0.8),
        detection(2, [0, 0, 10, 10], 0.7),
    ]
    assert both(ground_truth, detections) == pytest.approx(((6 + 10 / 3) / 11, 5 / 6))


def test_only_the_box_of_largest_iou_is_looked_at_even_if_it_is_taken():
    """Boxes A = [0, 0, 10, 10] and B = [4, 0, 10, 10], a first detection exactly on A.

    The second, [1, 0, 10, 10], has IoU 9 * 10 / 110 = .82 with A and 7 * 10 / 130 = .54 with B: it
    is a second detection of A, though B is free. COCO's metric lets it have B.
    """
    ground_truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(1, [4, 0, 10, 10])])
    detections = [detection(1, [0, 0, 10, 10], 0.9), detection(1, [1, 0, 10, 10], 0.8)]
    # One of two objects at precision 1: recalls 0 to .5.
    assert both(ground_truth, detections) == pytest.approx((6 / 11, 1 / 2))
    coco_ap50 = evaluation.evaluate_detections(ground_truth, detections).summary["AP50"]
    assert coco_ap50 == pytest.approx(1.0)


@pytest.mark.parametrize("flag", ["difficult", "iscrowd"])
def test_a_difficult_box_is_neither_found_nor_missed(flag):
    """Objects: one plain, one difficult; the difficult one is found twice, and something false.

    Best first: on the difficult box, on it again, false, on the plain one. Precision at the plain
    one is 1/2, of one object.
    """
    ground_truth = data_set(
        [annotation(1, [0, 0, 10, 10]), annotation(2, [0, 0, 10, 10], **{flag: 1})]
    )
    detections = [
        detection(2, [0, 0, 10, 10], 0.9),
        detection(2, [0, 0, 10, 10], 0.8),
        detection(1, [40, 0, 10, 10], 0.7),
        detection(1, [0, 0, 10, 10], 0.6),
    ]
    assert both(ground_truth, detections) == pytest.approx((1 / 2, 1 / 2))
    metrics = evaluation.evaluate_voc(ground_truth, detections)
    assert (metrics.boxes, metrics.difficult) == (1, 1)
    # Below the threshold, IoU 8 / 12 with the difficult box at .70, it is false: precision 1 / 4.
    detections[:2] = [detection(2, [0, 2, 10, 10], score) for score in (0.9, 0.8)]
    assert both(ground_truth, detections, "AP60") == pytest.approx((1 / 2, 1 / 2))
    assert both(ground_truth, detections, "AP70") == pytest.approx((1 / 4, 1 / 4))


def test_a_detection_nearest_to_a_difficult_box_does_not_count_for_another():
    """IoU with the difficult box 9/11, with the plain one 7/13: neither true nor false."""
    ground_truth = data_set(
        [annotation(1, [0, 0, 10, 10], difficult=1), annotation(1, [4, 0, 10, 10])]
    )
    assert both(ground_truth, [detection(1, [1, 0, 10, 10], 0.9)]) == (0.0, 0.0)


def test_detections_of_equal_score_stay_in_their_order():
    true, false = detection(2, [0, 0, 10, 10], 0.5), detection(1, [40, 0, 10, 10], 0.5)
    ground_truth = data_set([annotation(2, [0, 0, 10, 10])])
    assert both(ground_truth, [true, false]) == (1.0, 1.0)
    assert both(ground_truth, [false, true]) == (0.5, 0.5)


def test_of_boxes_of_equal_iou_the_first_is_the_nearest():
    """[2, 0, 10, 10] has IoU 8/12 with either box; the second one then stays free."""
    first, second = annotation(1, [0, 0, 10, 10]), annotation(1, [4, 0, 10, 10])
    detections = [detection(1, [2, 0, 10, 10], 0.9), detection(1, [4, 0, 10, 10], 0.8)]
    assert both(data_set([first, second]), detections) == (1.0, 1.0)
    # The other way round the second detection comes too late: one of two objects.
    assert both(data_set([second, first]), detections) == pytest.approx((6 / 11, 1 / 2))


def test_a_recall_of_exactly_a_tenth_reaches_it():
    """k of 10 objects found, and nothing false: recalls 0, .1, ... k / 10 have precision 1.

    In floats `np.arange(0, 1.1, 0.1)[3]` is above 3 / 10, and 7 / 10 below `7 * 0.1`.
    """
    ground_truth = data_set([annotation(1, [20 * k, 0, 10, 10]) for k in range(10)])
    for found in range(1, 11):
        detections = [detection(1, [20 * k, 0, 10, 10], 0.9) for k in range(found)]
        assert both(ground_truth, detections) == pytest.approx(((found + 1) / 11, found / 10))


def test_an_iou_of_exactly_the_threshold_is_enough():
    """[0, 0, 20, k] in a box of [0, 0, 20, 20] has IoU k / 20: found at k - 9 thresholds."""
    ground_truth = data_set([annotation(1, [3, 5, 20, 20])])
    for height in range(10, 20):
        metrics = evaluation.evaluate_voc(ground_truth, [detection(1, [3, 5, 20, height], 0.9)])
        assert metrics.eleven_point["AP"] == pytest.approx((height - 9) / 10)


def test_classes_are_apart_and_one_without_an_object_that_counts_has_no_number():
    ground_truth = data_set(
        [
            annotation(1, [0, 0, 10, 10], 1),
            annotation(1, [0, 0, 10, 10], 2, difficult=1),
            annotation(1, [0, 0, 10, 10], 4),
        ],
        categories=("found", "difficult", "absent", "missed"),
    )
    detections = [detection(1, [0, 0, 10, 10], 0.5, category) for category in (1, 2, 3)]
    metrics = evaluation.evaluate_voc(ground_truth, detections)
    assert [row.all_points["AP"] for row in metrics.per_class] == [1.0, None, None, 0.0]
    assert [row.boxes for row in metrics.per_class] == [1, 0, 0, 1]
    assert [row.difficult for row in metrics.per_class] == [0, 1, 0, 0]
    # The mean over the two classes that have objects.
    assert metrics.eleven_point["AP"] == metrics.all_points["AP"] == 0.5


def test_without_detections_all_is_zero_and_without_objects_there_is_no_number():
    assert both(PAPER_TRUTH, [], "AP") == (0.0, 0.0)
    assert both(data_set([]), PAPER_DETECTIONS, "AP") == (None, None)
    assert both(data_set([], (), ()), [], "AP") == (None, None)


def test_a_box_without_area_overlaps_nothing():
    ground_truth = data_set([annotation(1, [5, 5, 0, 0])])
    assert both(ground_truth, [detection(1, [5, 5, 0, 0], 0.9)]) == (0.0, 0.0)


def test_image_ids_of_63_bits_stay_apart():
    """The two ids are one in float64 and in int32."""
    ids = (2**63 - 1, 2**63 - 2)
    ground_truth = data_set([annotation(ids[0], [0, 0, 10, 10])], images=ids)
    assert both(ground_truth, [detection(ids[0], [0, 0, 10, 10], 0.9)]) == (1.0, 1.0)
    assert both(ground_truth, [detection(ids[1], [0, 0, 10, 10], 0.9)]) == (0.0, 0.0)


def test_malformed_input_is_refused_as_by_the_coco_metrics():
    with pytest.raises(ValueError, match="image_id 9, which the ground truth does not list"):
        evaluation.evaluate_voc(PAPER_TRUTH, [detection(9, [0, 0, 1, 1], 0.9)])
    with pytest.raises(ValueError, match="two corners in the wrong order"):
        evaluation.evaluate_voc(
            data_set([annotation(1, [9, 9, 1, 1])]), [detection(1, [9, 9, -1, 1], 0.9)]
        )


# Against the devkit's algorithm, on random and on real detections.


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), jitter=st.sampled_from([0, 3, 12]))
def test_equals_the_devkit_on_random_detections(seed, jitter):
    """Ties in score and IoU, exact tenths, difficult boxes, crowded and empty images among them."""
    generator = np.random.default_rng(seed)
    annotations, detections = [], []
    for _ in range(generator.integers(0, 40)):
        image_id, category_id = (int(value) for value in generator.integers(1, 4, 2))
        box = np.concatenate([generator.integers(0, 40, 2), generator.integers(5, 40, 2)])
        difficult = int(generator.random() < 0.2)
        annotations.append(annotation(image_id, box.tolist(), category_id, difficult=difficult))
        for _ in range(generator.integers(0, 4)):
            moved = np.maximum(box + generator.integers(-jitter, jitter + 1, 4), 1)
            score = float(np.round(generator.random(), 1))
            detections.append(detection(image_id, moved.tolist(), score, category_id))
    ground_truth = data_set(annotations, images=(1, 2, 3, 4), categories=("a", "b", "c", "d"))
    assert_equals_devkit(ground_truth, detections)


def xywh(corners):
    """Our box of a VOC file's inclusive 1-based corners."""
    left, top, right, bottom = (float(value) for value in corners)
    return [left - 1, top - 1, right - left + 1, bottom - top + 1]


@pytest.fixture(scope="module")
def voc2012(shared_data):
    """Ground truth and a real detector's output for a hundred images of VOC2012."""
    folder = shared_data / "voc2012_100"
    names = (folder / "voc.names").read_text().split()
    annotations, detections = [], []
    paths = sorted((folder / "Annotations").glob("*.xml"))
    for image_id, path in enumerate(paths, start=1):
        for element in ElementTree.parse(path).iter("object"):
            corners = [
                element.find("bndbox").findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")
            ]
            annotations.append(
                annotation(
                    image_id,
                    xywh(corners),
                    names.index(element.findtext("name")) + 1,
                    difficult=int(element.findtext("difficult")),
                )
            )
        output = folder / "dets_abs_xyx2y2" / f"{path.stem}.txt"
        for line in output.read_text().splitlines() if output.exists() else ():
            label, score, *corners = line.split()
            detections.append(detection(image_id, xywh(corners), float(score), int(label) + 1))
    return data_set(annotations, range(1, len(paths) + 1), names), detections


def test_equals_the_devkit_on_real_detections(voc2012):
    metrics = assert_equals_devkit(*voc2012)
    counts = (metrics.images, metrics.boxes, metrics.difficult, metrics.detections)
    assert counts == (100, 273 - 38, 38, 452)
    eleven_point = (0.359739, 0.607511, 0.564096, 0.495013, 0.377188, 0.255359, 0.057428)
    all_points = (0.355410, 0.613875, 0.567531, 0.491707, 0.365919, 0.237089, 0.047572)
    assert tuple(metrics.eleven_point.values()) == pytest.approx(eleven_point, abs=5e-7)
    assert tuple(metrics.all_points.values()) == pytest.approx(all_points, abs=5e-7)


# Twelve cats of PASCAL VOC and a detector's twelve boxes: image, score, inclusive corners. The toy
# example of the toolkit of Padilla et al. ("A Comparative Analysis of Object Detection Metrics with
# a Companion Open-Source Toolkit", Electronics 2021, 10(3), 279), whose README gives AP 88.64 %
# (11 points) and 89.58 % (all points) at IoU .5, and 49.24 % and 50.97 % at IoU .75.
CATS = (
    (0, 1, 49, 341, 499), (2, 160, 1, 448, 375), (3, 28, 1, 335, 496), (4, 40, 4, 484, 370),
    (5, 170, 44, 459, 251), (5, 72, 123, 387, 334), (6, 60, 123, 220, 305), (6, 243, 105, 437, 317),
    (7, 1, 16, 352, 272), (7, 130, 139, 500, 366), (8, 34, 1, 281, 283), (9, 1, 39, 248, 300),
)  # fmt: skip
DETECTED_CATS = (
    (0, 0.94, 12, 44, 344, 481), (1, 0.85, 220, 344, 400, 431), (2, 0.95, 166, 0, 477, 365),
    (3, 0.92, 49, 7, 318, 500), (4, 0.95, 6, 55, 495, 402), (5, 0.81, 65, 74, 370, 331),
    (6, 0.86, 67, 117, 229, 304), (6, 0.76, 281, 109, 444, 320), (7, 0.89, 7, 9, 349, 265),
    (7, 0.82, 151, 123, 503, 375), (8, 0.99, 29, 0, 268, 287), (9, 0.98, 47, 43, 226, 298),
)  # fmt: skip


def test_reproduces_published_numbers():
    annotations = [annotation(image_id, xywh(corners)) for image_id, *corners in CATS]
    detections = [
        detection(image, xywh(corners), score) for image, score, *corners in DETECTED_CATS
    ]
    ground_truth = data_set(annotations, images=range(10), categories=("cat",))
    assert both(ground_truth, detections, "AP50") == pytest.approx((0.8864, 0.8958), abs=5e-5)
    assert both(ground_truth, detections, "AP75") == pytest.approx((0.4924, 0.5097), abs=5e-5)


# Reports.


def test_the_table_is_readable():
    annotations = [*PAPER_TRUTH["annotations"], annotation(2, [0, 0, 5, 5], difficult=1)]
    ground_truth = data_set(annotations, categories=("cell", "血小板"))
    metrics = evaluation.evaluate_voc(ground_truth, PAPER_DETECTIONS)
    assert evaluation.format_voc_table(metrics).splitlines() == [
        "2 images, 3 ground-truth boxes, 1 difficult, 4 detections",
        "",
        "      AP    AP50    AP60    AP70    AP75    AP80    AP90",
        "   0.609   0.841   0.841   0.545   0.545   0.545   0.364  11 points (VOC2007)",
        "   0.600   0.833   0.833   0.556   0.556   0.556   0.333  all points (VOC2010 and later)",
        "",
        "               11 points              all points",
        "      AP    AP50    AP75      AP    AP50    AP75   boxes  class",
        "   0.609   0.841   0.545   0.600   0.833   0.556       3  cell",
        "       -       -       -       -       -       -       0  血小板",
    ]


def test_metrics_survive_json(tmp_path):
    ground_truth = data_set(PAPER_TRUTH["annotations"], categories=("cell", "platelet"))
    metrics = evaluation.evaluate_voc(ground_truth, PAPER_DETECTIONS)
    report = evaluation.voc_metrics_to_json(metrics)
    files.write_json(tmp_path / "metrics.json", report)
    assert json.loads((tmp_path / "metrics.json").read_text()) == report
    assert report.keys() == {
        *("eleven_point", "all_points", "images", "boxes", "difficult", "detections", "per_class"),
    }
    assert report["per_class"][0]["eleven_point"]["AP50"] == pytest.approx(9.25 / 11)
    assert report["per_class"][1]["all_points"]["AP"] is None
