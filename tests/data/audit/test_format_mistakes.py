"""Each mistake is told by its sentence; what is right or merely careless is left alone."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from ioub_jax.data.audit.format_mistakes import (
    find_format_mistakes,
    find_pixel_doubts,
    find_share_mistakes,
)
from ioub_jax.data.audit.written_boxes import WrittenBoxes, read_coco_boxes, read_voc_boxes
from ioub_jax.data.sources.voc import VocSource
from ioub_jax.data.sources.voc_pixels import gather_evidence


def random_corners(seed, count=200, size=(480, 640)):
    """Whole-pixel xyxy boxes inside images of one size, from small to large."""
    rng = np.random.default_rng(seed)
    limit = np.array(size[::-1])
    sides = np.ceil(limit * rng.uniform(0.02, 0.8, (count, 2)))
    low = np.floor((limit - sides) * rng.uniform(0, 1, (count, 2)))
    return np.concatenate([low, low + sides], axis=1)


def written(corners, layout, *, says, size=(480, 640), unit=0, categories=((), ())):
    """The boxes in a layout, in a file whose format says another; sides are `unit`, if not 0."""
    low, high = corners[:, :2], corners[:, 2:]
    boxes = {
        "xyxy": corners,
        "xywh": np.concatenate([low, high - low], axis=1),
        "cxcywh": np.concatenate([(low + high) / 2, high - low], axis=1),
        "yxyx": corners[:, [1, 0, 3, 2]],
    }[layout]
    if unit:
        boxes = unit * boxes / np.tile(size[::-1], 2)
    sizes = np.tile(np.array(size, float), (len(boxes), 1))
    return WrittenBoxes(says, boxes, sizes, *map(frozenset, categories))


@pytest.mark.parametrize(
    ("layout", "says", "beginning", "conversion"),
    [
        ("xyxy", "xywh", "[xmin, ymin, xmax, ymax]", "width = xmax - xmin"),
        ("cxcywh", "xywh", "[center x, center y, width, height]", "x = center x - width / 2"),
        ("xywh", "xyxy", "[xmin, ymin, width, height]", "xmax = xmin + width"),
        ("cxcywh", "xyxy", "[center x, center y, width, height]", "xmin = center x - width / 2"),
        ("yxyx", "xywh", "[ymin, xmin, ymax, xmax]", "width = xmax - xmin"),
        ("yxyx", "xyxy", "[ymin, xmin, ymax, xmax]", "x and y swapped in both corners"),
    ],
)
def test_a_wrong_layout_is_told(layout, says, beginning, conversion):
    (sentence,) = find_format_mistakes(written(random_corners(0), layout, says=says))
    assert sentence.startswith(f"Your boxes look like {beginning}: read as ")
    assert conversion in sentence


@pytest.mark.parametrize(
    ("layout", "beginning", "conversion"),
    [
        ("xyxy", "[xmin, ymin, xmax, ymax]", "center x = (xmin + xmax) / 2, width = xmax - xmin"),
        ("xywh", "[xmin, ymin, width, height]", "center x = xmin + width / 2"),
    ],
)
def test_a_wrong_layout_of_shares_is_told(layout, beginning, conversion):
    (sentence,) = find_share_mistakes(written(random_corners(0), layout, says="cxcywh", unit=1))
    assert sentence.startswith(f"Your boxes look like {beginning}: read as YOLO's center x, center")
    assert conversion in sentence


def test_exchanged_corners_in_shares_are_told():
    corners = written(random_corners(0), "xyxy", says="cxcywh", unit=1)
    exchanged = WrittenBoxes("cxcywh", corners.boxes[:, [1, 0, 3, 2]], corners.sizes)
    # Shares have no aspect ratio that tells x from y: the first that explains them is told.
    (sentence,) = find_share_mistakes(exchanged)
    assert sentence.startswith("Your boxes look like [xmin, ymin, xmax, ymax]: read as YOLO's")


def test_right_shares_and_careless_ones_are_left_alone():
    right = written(random_corners(0), "cxcywh", says="cxcywh", unit=1)
    assert find_share_mistakes(right) == []
    # A tenth of them, at the left edge, stick out by a tenth of the image, and are no corners.
    careless = right.boxes.copy()
    careless[:20, 0] = careless[:20, 2] / 2 - 0.1
    assert find_share_mistakes(WrittenBoxes("cxcywh", careless, right.sizes)) == []
    few = WrittenBoxes("cxcywh", np.array([[0.8, 0.8, 0.9, 0.9]]), right.sizes[:1])
    assert find_share_mistakes(few) == []


def test_the_share_in_the_sentence_by_hand():
    # Corners read as x, y, width, height in images of 100 x 100: 60 + 90 > 102 for three boxes,
    # 10 + 40 and 20 + 30 stay inside for two, so 3 of 5 leave their image. Repeated boxes are one.
    corners = [[60, 60, 90, 90], [60, 61, 90, 90], [61, 60, 90, 90]]
    corners += [[10, 10, 40, 40], [20, 20, 30, 30], [20, 20, 30, 30]]
    boxes = WrittenBoxes("xywh", np.array(corners, float), np.full((6, 2), 100.0))
    assert find_format_mistakes(boxes) == [
        "Your boxes look like [xmin, ymin, xmax, ymax]: read as COCO's [x, y, width, height], "
        "60% of them leave their image; read that way, none or hardly any do. Convert them with "
        "width = xmax - xmin and height = ymax - ymin."
    ]


@pytest.mark.parametrize("layout", ["xywh", "xyxy", "cxcywh"])
@pytest.mark.parametrize("says", ["xywh", "xyxy"])
def test_normalized_boxes_are_told_with_their_layout(layout, says):
    (sentence,) = find_format_mistakes(written(random_corners(1), layout, says=says, unit=1))
    names = {"xywh": "[xmin, ymin, w", "xyxy": "[xmin, ymin, xmax", "cxcywh": "[center x"}
    assert sentence.startswith(f"Your boxes look normalized, {names[layout]}")
    assert ("and convert with" in sentence) == (layout != says)


@pytest.mark.parametrize("layout", ["xywh", "xyxy", "cxcywh"])
@pytest.mark.parametrize("says", ["xywh", "xyxy"])
def test_per_cent_are_told_with_their_layout(layout, says):
    boxes = written(random_corners(1), layout, says=says, unit=100)
    (sentence,) = find_format_mistakes(boxes)
    names = {"xywh": "[xmin, ymin, w", "xyxy": "[xmin, ymin, xmax", "cxcywh": "[center x"}
    assert sentence.startswith(f"Your boxes look like percentages of the image, {names[layout]}")
    assert "Multiply x and width by the image's width / 100" in sentence
    assert ("and convert with" in sentence) == (layout != says)


def test_pixels_of_small_images_are_no_per_cent():
    corners = random_corners(4, size=(100, 100)) + 0.25
    # The chance to lie in 100 x 100 of 110 x 110 is .83 for each: .83^70 = 2e-6, .83^80 = 3e-7.
    for count, size, told in ((200, 100, 0), (70, 110, 0), (5, 640, 1), (4, 640, 0)):
        some = np.concatenate([corners[: count - 1], [[50.5, 50.5, 95.5, 95.5]]])
        boxes = written(some, "xyxy", says="xyxy", size=(size, size))
        assert len(find_format_mistakes(boxes)) == told, (count, size)


def test_few_drawings_in_many_images_are_no_other_layout():
    """Half of the boxes drawn from the lower right corner, which also look like center and size."""
    drawing = np.array([[30.0, 20, 60, 50], [60, 50, 30, 20], [48, 40, 20, 22]])
    boxes = WrittenBoxes("xyxy", np.tile(drawing, (20, 1)), np.full((60, 2), 100.0))
    assert find_format_mistakes(boxes) == []


def test_right_boxes_of_few_drawings_raise_no_alarm():
    """800 sets, from one box to some, in any order of their corners, repeated or not."""
    rng = np.random.default_rng(0)
    sizes = [(480, 640), (640, 480), (100, 100), (80, 96), (1080, 1920), (3000, 4000)]
    for seed in range(800):
        size = sizes[seed % len(sizes)]
        corners = random_corners(seed, int(rng.integers(1, 31)), size)
        if seed % 2:
            corners = corners + 0.25
        if seed % 4 > 1:
            exchanged = rng.random(len(corners)) < rng.random()
            corners[exchanged] = corners[exchanged][:, [2, 3, 0, 1]]
        corners = np.repeat(corners, rng.integers(1, 7), axis=0)
        for layout in ("xywh", "xyxy"):
            boxes = written(corners, layout, says=layout, size=size)
            assert find_format_mistakes(boxes) == [], (seed, layout)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    seed=strategies.integers(0, 2**16),
    count=strategies.integers(0, 100),
    layout=strategies.sampled_from(["xywh", "xyxy"]),
    careless=strategies.floats(0, 0.5),
)
def test_right_and_careless_boxes_raise_no_alarm(seed, count, layout, careless):
    """A share of the boxes is shifted out of the image or has no area."""
    corners = random_corners(seed, count)
    rng = np.random.default_rng(seed)
    shifted = rng.random(count) < careless
    corners[shifted] += rng.uniform(-300, 300, (int(shifted.sum()), 1))
    flat = rng.random(count) < careless / 5
    corners[flat, 2] = corners[flat, 0]
    assert find_format_mistakes(written(corners, layout, says=layout)) == []


def test_boxes_all_in_the_upper_left_prove_nothing():
    corners = random_corners(2, size=(100, 100))
    assert find_format_mistakes(written(corners, "xyxy", says="xywh", size=(480, 640))) == []


def test_boxes_of_one_pixel_are_not_normalized():
    boxes = np.tile(np.array([[0.0, 0, 1, 1], [1, 0, 1, 1]]), (10, 1))
    assert find_format_mistakes(WrittenBoxes("xywh", boxes, np.full((20, 2), 64.0))) == []


@pytest.mark.parametrize(
    ("used", "listed", "way_out"),
    [
        ({0, 1, 2}, {1, 2, 3}, "Add 1 to every category_id"),
        ({1, 2, 3}, {0, 1, 2}, "Subtract 1 from every category_id"),
        ({0, 1, 2}, {10, 20, 30}, "Replace every category_id"),
        ({0, 5, 11}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13}, "Replace every category_id"),
    ],
)
def test_categories_counted_from_elsewhere(used, listed, way_out):
    boxes = written(random_corners(3), "xywh", says="xywh", categories=(used, listed))
    (sentence,) = find_format_mistakes(boxes)
    assert way_out in sentence
    assert f"go from {min(used)} to {max(used)}" in sentence


@pytest.mark.parametrize(
    ("used", "listed"),
    [
        ({1, 3}, {1, 2, 3}),
        ({1, 2}, {0, 1, 2}),  # a list whose 0 is a super-category
        ({0, 1}, {0, 1}),
        ({1, 2, 99}, {1, 2, 3}),  # unknown, but not off by one
        (set(), {1, 2}),
    ],
)
def test_categories_that_are_right_or_wrong_in_another_way(used, listed):
    boxes = written(random_corners(3), "xywh", says="xywh", categories=(used, listed))
    assert find_format_mistakes(boxes) == []


def touching(first, count, zeros=0):
    """Boxes of which `count` begin at x = `first`, and some of these at 0, in 100 x 100 pixels."""
    boxes = np.tile([5.0, 5, 50, 50], (100, 1))
    boxes[:count, 0] = first
    boxes[:zeros, 0] = 0
    return evidence_of(boxes, (100, 100))


def evidence_of(corners, size):
    """What the numbers of boxes tell of their pixels, and nothing else."""
    decimals = np.zeros(len(corners), bool)
    return gather_evidence(corners, np.full((len(corners), 2), size), decimals, [])


NOTHING = WrittenBoxes("xyxy", np.array([[5.0, 5, 50, 50]]), np.full((1, 2), 100.0))


@pytest.mark.parametrize(
    ("evidence", "pixels", "told"),
    [
        (touching(0, 3), "devkit", "pixels='zero_based'"),
        (touching(0, 3), "one_based_exclusive", "pixels='zero_based'"),
        (touching(0, 2), "devkit", None),  # two slips
        (touching(1, 50), "devkit", None),
        (touching(1, 20), "zero_based", "pixels='devkit'"),
        (touching(1, 19), "zero_based", None),
        (touching(0, 50), "zero_based", None),
        (touching(0, 50), None, None),  # a format without the question
        (touching(1, 50, zeros=5), "devkit", None),  # careless
    ],
)
def test_the_first_pixel(evidence, pixels, told):
    found = find_format_mistakes(NOTHING, pixels, evidence)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


@pytest.mark.parametrize(
    "file",
    [
        "coco_mini/annotations/instances_train2017.json",
        "coco_mini/annotations/instances_val2017.json",
        "coco_eval_val2014_100/instances_val2014_100.json",
        "deep_pcb/annotations/instances_trainval.json",
        "deep_pcb/annotations/instances_test.json",
    ],
)
def test_real_coco_files_raise_no_alarm(shared_data, file):
    boxes = read_coco_boxes(shared_data / file)
    assert len(boxes.boxes) > 500
    assert find_format_mistakes(boxes) == []


@pytest.mark.parametrize(("name", "count"), [("bccd", 4888), ("voc2012_100", 273)])
def test_real_voc_folders_raise_no_alarm(shared_data, name, count):
    source = VocSource(shared_data / name, "all", on_error="skip")
    xmls = [source.annotation_file(index) for index in range(len(source))]
    boxes = read_voc_boxes(xmls, source.sizes)
    assert len(boxes.boxes) == count
    assert source.pixels == "devkit"
    assert find_format_mistakes(boxes, "devkit", source.evidence) == []
    assert find_pixel_doubts("devkit", source.evidence) == []
    if name == "bccd":  # 610 boxes touch the left or upper edge
        (sentence,) = find_format_mistakes(boxes, "zero_based", source.evidence)
        assert "look 1-based" in sentence


def test_real_boxes_in_another_layout_are_told(shared_data):
    good = read_coco_boxes(shared_data / "coco_mini/annotations/instances_val2017.json")
    corners = np.concatenate([good.boxes[:, :2], good.boxes[:, :2] + good.boxes[:, 2:]], axis=1)
    (sentence,) = find_format_mistakes(WrittenBoxes("xywh", corners, good.sizes))
    assert sentence.startswith("Your boxes look like [xmin, ymin, xmax, ymax]")


@pytest.mark.parametrize(
    ("moved", "pixels", "told"),
    [
        ((0, 0, 0, 0), "devkit", None),
        ((0.25, 0.5, 0, 0), "devkit", "set config.data.voc.pixels='zero_based'"),
        ((0.25, 0.5, 0, 0), "zero_based", None),  # as it is set
        ((0, 0, 1, 1), "devkit", "set config.data.voc.pixels='one_based_exclusive'"),
        ((0, 0, 1, 1), "one_based_exclusive", None),
        ((0, 0, 2, 2), "devkit", "this is not certain"),  # careless, but not by a pixel
        ((1, 1, 0, 0), "devkit", "this is not certain"),  # no box begins at 1
        ((1, 1, 0, 0), "zero_based", None),  # as it is set, and there is no proof
    ],
)
def test_pixels_that_are_counted_otherwise(moved, pixels, told):
    """Boxes in images of 100 x 80, 1-based and inclusive, in two corners and between them."""
    corners = np.array([[1, 1, 20 + n, 30] for n in range(10)])
    corners = np.concatenate([corners, [[60 - n, 40, 100, 80] for n in range(10)]]) + moved
    found = find_pixel_doubts(pixels, evidence_of(corners, (80, 100)))
    assert len(found) == (told is not None)
    assert told is None or told in found[0]
