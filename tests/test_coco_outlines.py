"""Boxes around masks, polygons and keypoints, beside pycocotools' own."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from pycocotools import mask as masks

from ioub_jax.coco_outlines import box_around, has_no_box

SQUARE = [10, 20, 30, 20, 30, 50, 10, 50]
# Rows 1 and 2 of column 1 of 4 x 3 pixels: 5 of 0, then 2 of 1, then 5 of 0.
RUNS = {"size": [4, 3], "counts": [5, 2, 5]}

# What an annotation has, and the box around it.
OUTLINES = {
    "a polygon": ({"segmentation": [SQUARE]}, [10, 20, 20, 30]),
    "two polygons": ({"segmentation": [SQUARE, [5.5, 6, 7, 8, 5, 9]]}, [5, 6, 25, 44]),
    "a polygon that is no list of polygons": ({"segmentation": SQUARE}, [10, 20, 20, 30]),
    "points as pairs": ({"segmentation": [[[10, 20], [30, 20], [30, 50]]]}, [10, 20, 20, 30]),
    "a line": ({"segmentation": [[1, 2, 3, 2]]}, [1, 2, 2, 0]),
    "a mask": ({"segmentation": RUNS}, [1, 1, 1, 2]),
    # Column 0 from row 3, column 1 whole, of column 2 row 0: 3 of 0, 6 of 1, 3 of 0.
    "a mask over columns": ({"segmentation": RUNS | {"counts": [3, 6, 3]}}, [0, 0, 3, 4]),
    "a mask that begins at once": ({"segmentation": RUNS | {"counts": [0, 12]}}, [0, 0, 3, 4]),
    "masks": ({"segmentation": [RUNS, RUNS | {"counts": [0, 1, 11]}]}, [0, 0, 2, 3]),
    "keypoints": ({"keypoints": [5, 6, 2, 0, 0, 0, 9, 4, 1, 8, 9, 2]}, [5, 4, 4, 5]),
    "a mask and keypoints": (
        {"segmentation": RUNS, "keypoints": [5, 6, 2, 9, 9, 2]}, [1, 1, 1, 2]
    ),
    "no mask but keypoints": (
        {"segmentation": [], "keypoints": [5, 6, 2, 9, 9, 2]}, [5, 6, 4, 3]
    ),
    "nothing": ({}, None),
    "nothing in it": ({"segmentation": [], "keypoints": []}, None),
    "an empty polygon": ({"segmentation": [[]]}, None),
    "an odd number": ({"segmentation": [[1, 2, 3]]}, None),
    "a point": ({"segmentation": [[1, 2]]}, None),
    "no numbers": ({"segmentation": [["1", "2", "3", "4"]]}, None),
    "no finite numbers": ({"segmentation": [[1, 2, 3, float("nan")]]}, None),
    "booleans": ({"segmentation": [[True, True, False, False]]}, None),
    "a text": ({"segmentation": "mask.png"}, None),
    "a mask without pixels": ({"segmentation": RUNS | {"counts": [12]}}, None),
    "a mask of another size": ({"segmentation": RUNS | {"counts": [5, 2, 4]}}, None),
    "a mask without a size": ({"segmentation": {"counts": [5, 2, 5]}}, None),
    "a mask of size 0": ({"segmentation": {"size": [0, 3], "counts": []}}, None),
    "a mask with a negative run": ({"segmentation": RUNS | {"counts": [5, -2, 9]}}, None),
    "a mask cut off": ({"segmentation": RUNS | {"counts": "P"}}, None),
    "a mask of other characters": ({"segmentation": RUNS | {"counts": "5 2 5"}}, None),
    "a huge mask": ({"segmentation": {"size": [1e9, 1e9], "counts": "o" * 40}}, None),
    "a list too deep": ({"segmentation": [[[[[[1, 2, 3, 4]]]]]]}, None),
    "keypoints of which none is labeled": ({"keypoints": [5, 6, 0, 9, 9, 0]}, None),
    "keypoints without visibility": ({"keypoints": [5, 6, 9, 9]}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTLINES)
def test_the_box_around_an_outline(name):
    annotation, expected = OUTLINES[name]
    assert box_around(annotation) == expected


@hypothesis.given(strategies.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_masks_are_as_for_pycocotools(data):
    height, width = (data.draw(strategies.integers(1, 40)) for _ in range(2))
    seed, share = data.draw(strategies.tuples(strategies.integers(0, 99), strategies.floats(0, 1)))
    pixels = np.random.default_rng(seed).random((height, width)) < share**3
    encoded = masks.encode(np.asfortranarray(pixels.astype(np.uint8)))
    column = pixels.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], column, [not column[-1]]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    expected = masks.toBbox(encoded).tolist() if pixels.any() else None
    for counts in (encoded["counts"], encoded["counts"].decode(), runs):
        found = box_around({"segmentation": {"size": [height, width], "counts": counts}})
        assert found == expected


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        (None, True),
        ([], True),
        ("", True),
        ([0, 0, 0, 0], True),
        ((0.0, 0, 0, 0), True),
        ([0, 0, 5, 5], False),
        ([1, 2, 3], False),
        ([0, 0, 0], False),
        ("0 0 0 0", False),
        ([None] * 4, False),
        (np.zeros(4), False),
    ],
)
def test_what_stands_for_no_box(bbox, expected):
    assert has_no_box(bbox) == expected
