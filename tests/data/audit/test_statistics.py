"""Counts and histograms by hand."""

import numpy as np
import pytest

from ioub_jax.data.audit.statistics import (
    collect_statistics,
    find_duplicate_boxes,
    find_odd_areas,
    size_classes,
)
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.sources.learned import Rules, count_classes


def annotations():
    """Three images: two boxes and a crowd, nothing, and the same box three times."""
    first = create_example(
        [[0, 0, 20, 20], [0, 0, 40, 80], [0, 0, 100, 200]],
        [0, 2, 2],
        1,
        crowd=[False, False, True],
        difficult=[True, False, False],
        area=[400, 900, 20_000],
    )
    box = [5, 5, 15, 25]
    third = create_example([box, box, box], [1, 2, 1], 3)
    region = create_example([[0, 0, 9, 9]], [-1], 2, ignored=[True])
    sizes = np.array([[480, 640], [480, 640], [640, 480]])
    return collect_annotations([first, region, third], sizes)


def test_counts():
    classes = count_classes(annotations(), ("a", "b", "c", "d"), (1, 5, 7, 9), Rules())
    found = collect_statistics(annotations(), classes)
    assert (found.images, found.empty_images, found.boxes) == (3, 1, 6)
    assert (found.crowds, found.difficult, found.ignored, found.most_boxes) == (1, 1, 1, 3)
    assert [(c.name, c.category_id, c.boxes, c.usable, c.images) for c in found.classes] == [
        ("a", 1, 1, 1, 1),
        ("b", 5, 2, 2, 1),
        ("c", 7, 3, 2, 2),
        ("d", 9, 0, 0, 0),
    ]
    # By annotated area, without the crowd: 400, 900 (of a box of 3,200) and 200 three times.
    assert found.size_classes == {"small": 5, "medium": 0, "large": 0}
    assert found.image_sizes == ((480, 640, 2), (640, 480, 1))


def test_histograms():
    found = collect_statistics(annotations(), ())
    # Sides: sqrt(400) = 20, sqrt(3200) = 56.6, sqrt(20000) = 141.4, sqrt(200) = 14.1 three times;
    # the bins begin at 0, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024.
    assert found.box_sides.counts == (0, 0, 3, 1, 1, 0, 0, 1, 0, 0, 0)
    # Width over height: 1 and five times 0.5; bins at 0, 1/8, 1/4, 1/2, 0.8, 1.25, 2, 4, 8.
    assert found.box_aspects.counts == (0, 0, 0, 5, 1, 0, 0, 0, 0)
    # 640 / 480 = 1.33 twice, 0.75 once.
    assert found.image_aspects.counts == (0, 0, 0, 1, 0, 2, 0, 0, 0)
    # Images with 0, 3 and 3 boxes; bins at 0, 1, 2, 3, 6, ...
    assert found.boxes_per_image.counts == (1, 0, 0, 2, 0, 0, 0, 0, 0, 0)
    assert found.boxes_per_image.edges[-1] is None


def test_size_classes_begin_at_32_and_96_squared():
    areas = np.array([0.0, 1023.9, 1024.0, 9215.9, 9216.0, 1e6])
    np.testing.assert_array_equal(size_classes(areas), [0, 0, 1, 1, 2, 2])


def test_a_repeated_box_counts_with_its_class_and_image():
    # Objects 4, 5, 6 are one box with the labels 1, 2, 1: only 6 repeats an earlier one.
    np.testing.assert_array_equal(find_duplicate_boxes(annotations()), [6])


def test_nothing_at_all():
    nothing = collect_annotations([create_example([], [], 1)], np.array([[4, 4]]))
    found = collect_statistics(nothing, ())
    assert (found.boxes, found.most_boxes) == (0, 0)
    assert count_classes(nothing, ("a",), (1,), Rules())[0].boxes == 0
    assert len(find_duplicate_boxes(nothing)) == 0


def test_a_box_without_area_has_no_aspect():
    flat = collect_annotations([create_example([[3, 3, 3, 9]], [0], 1)], np.array([[20, 20]]))
    found = collect_statistics(flat, ())
    assert sum(found.box_sides.counts) == 1
    assert sum(found.box_aspects.counts) == 0


# Areas of the boxes below: 100, 400, 400, 900, 900.
BOXES = [[0, 0, 10, 10], [0, 0, 20, 20], [9, 9, 29, 29], [0, 0, 30, 30], [5, 0, 35, 30]]


@pytest.mark.parametrize(
    ("area", "told"),
    [
        ([100, 400, 400, 900, 900], None),
        ([50, 200, 13, 300, 5], None),  # masks, the last a scratch: 5 / 900 = .56 %
        ([1, 1, 1, 1, 1], "`area` is 1 everywhere"),
        ([0, 0, 0, 0, 0], "`area` is 0 everywhere"),
        ([200, 200, 200, 200, 200], "`area` is 200 everywhere"),  # 900 is over 4 times 100
        ([100, 400, 4, 4, 4], None),  # 4 / 900 = .44 %, of two; 4 / 400 = 1 %
        ([0.1, 0.4, 0.4, 0.9, 900], "below 0.5% of it for 4"),
        # 1.05 times 11 * 11 = 127.05 and 21 * 21 = 463.05 are still no larger.
        ([127, 463, 463, 900, 900], None),
        ([128, 464, 464, 900, 900], "above the width times height of 3 boxes"),
    ],
)
def test_areas_of_other_things(area, told):
    example = create_example(BOXES, np.zeros(5), 1, area=np.array(area))
    found = find_odd_areas(collect_annotations([example], np.array([[40, 40]])))
    assert len(found) == (told is not None)
    assert told is None or (told in found[0].advice and not found[0].must_be_fixed)


def test_equal_areas_of_equal_boxes_are_right():
    example = create_example([BOXES[0]] * 9, np.zeros(9), 1, area=np.full(9, 80))
    assert find_odd_areas(collect_annotations([example], np.array([[40, 40]]))) == []
