import hypothesis
import numpy as np
from hypothesis import strategies

from ioub_jax.data.sources.corners import find_repeated, judge_boxes

SIZE = (48, 64)  # height and width
KINDS = ("bad_box", "no_area", "outside")

# xmin, ymin, xmax, ymax as written in an image of 64x48, and the box or the fault.
CASES = {
    "inside": ((3, 4, 10, 20), [3, 4, 10, 20], ""),
    "the whole image": ((0, 0, 64, 48), [0, 0, 64, 48], ""),
    "by rounding": ((-3.6e-15, 0, 64.01, 48), [0, 0, 64, 48], ""),
    "beyond two edges": ((-6, 4, 70, 20), [0, 4, 64, 20], "clipped"),
    "far beyond all": ((-1e6, -1e6, 1e6, 1e6), [0, 0, 64, 48], "clipped"),
    "half a pixel beyond": ((3, 4, 64.5, 20), [3, 4, 64, 20], "clipped"),
    "from the lower right": ((10, 20, 3, 4), [3, 4, 10, 20], "exchanged"),
    "x alone": ((10, 4, 3, 20), [3, 4, 10, 20], "exchanged"),
    "exchanged and beyond": ((70, 20, 3, 4), [3, 4, 64, 20], "exchanged clipped"),
    "a line": ((3, 4, 10, 4), None, "no_area"),
    "a line outside": ((70, 4, 70, 9), None, "no_area"),
    "too thin for float32": ((3, 4, 3 + 1e-12, 9), None, "no_area"),
    "right of it": ((64, 4, 70, 9), None, "outside"),
    "above it": ((3, -9, 10, 0), None, "outside"),
    "below it, exchanged": ((10, 60, 3, 50), None, "outside"),
    "a number missing": ((np.nan, 4, 10, 20), None, "bad_box"),
    "infinite": ((3, 4, np.inf, 20), None, "bad_box"),
    "no coordinate": ((3, 4, 1e16, 20), None, "bad_box"),
}


def test_every_box_is_put_right_or_has_one_fault():
    corners = [case[0] for case in CASES.values()]
    judged = judge_boxes(np.array(corners), np.array([SIZE] * len(corners)))
    for index, (name, (_, box, words)) in enumerate(CASES.items()):
        faults = [kind for kind in KINDS if judged.faults[kind][index]]
        changes = [word for word in ("exchanged", "clipped") if getattr(judged, word)[index]]
        assert " ".join(faults + changes) == words, name
        assert judged.is_faulty[index] == (box is None)
        if box is not None:
            assert judged.boxes[index].tolist() == box, name


def test_pixels_counted_from_1():
    # Column 5 alone is [4, 5), columns 1 to 64 are all of 64; column 0 is one before the first.
    corners = np.array([[5, 6, 6, 7], [1, 1, 64, 48], [0, 1, 64, 48], [65, 1, 70, 9], [9, 9, 2, 3]])
    judged = judge_boxes(corners, np.array([SIZE] * 5), (1, 1, 0, 0))
    expected = [[4, 5, 6, 7], [0, 0, 64, 48], [0, 0, 64, 48], [1, 2, 9, 9]]
    np.testing.assert_array_equal(judged.boxes[[0, 1, 2, 4]], expected)
    assert judged.clipped.tolist() == [False, False, True, False, False]
    assert judged.faults["outside"].tolist() == [False, False, False, True, False]


NUMBERS = strategies.floats(allow_nan=True, allow_infinity=True, width=64)


@hypothesis.given(strategies.lists(strategies.tuples(*[NUMBERS] * 4), max_size=5))
def test_what_is_not_faulty_is_a_box_inside_its_image(corners):
    sizes = np.array([SIZE] * len(corners)).reshape(-1, 2)
    judged = judge_boxes(np.array(corners).reshape(-1, 4), sizes)
    boxes = judged.boxes[~judged.is_faulty]
    assert boxes.dtype == np.float32
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes >= 0).all() and (boxes <= [64, 48, 64, 48]).all()
    # Each box has one fault at most.
    assert (np.sum([judged.faults[kind] for kind in KINDS], axis=0) <= 1).all()


def test_repeated_objects_have_the_image_label_and_box_of_one_before():
    box, other = [1, 2, 3, 4], [1, 2, 3, 4.5]
    rows = [(0, 1, box), (0, 1, box), (0, 2, box), (1, 1, box), (0, 1, other), (0, 1, box)]
    images, labels, boxes = (np.array(column) for column in zip(*rows, strict=True))
    repeated = find_repeated(images, labels, boxes)
    assert repeated.tolist() == [False, True, False, False, False, True]
    zero, minus_zero = [[0.0, 0, 1, 1]], [[-0.0, 0, 1, 1]]
    two = np.zeros(2, np.int64)
    assert find_repeated(two, two, np.array(zero + minus_zero)).tolist() == [False, True]
    assert find_repeated(two[:0], two[:0], np.zeros((0, 4))).tolist() == []
