"""Boxes as the network sees them, and what canvases cost, by hand."""

import itertools

import numpy as np
import pytest

from ioub_jax.data.audit.network_scale import resize_boxes, suggested_canvases, with_padding
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example

FIT = Resize("fit")


def test_boxes_are_scaled_with_their_images_and_crowds_left_out():
    wide = create_example([[0, 0, 10, 10], [4, 8, 20, 40]], [0, 0], 1, crowd=[True, False])
    tall = create_example([[1, 2, 3, 4]], [0], 2)
    annotations = collect_annotations([wide, tall], np.array([[50, 80], [100, 50]]))
    found = resize_boxes(annotations, FIT, [(100, 200), (200, 100)])
    # 50 x 80 fits 100 x 200 at 100 x 160, 100 x 50 fits 200 x 100 exactly: both are doubled.
    np.testing.assert_array_equal(found.objects, [1, 2])
    np.testing.assert_array_equal(found.canvases, [0, 1])
    np.testing.assert_array_equal(found.boxes, [[8, 16, 40, 80], [2, 4, 6, 8]])


def test_a_stretched_box_changes_its_shape():
    stretch, canvases = Resize("stretch"), [(100, 100)]
    example = create_example([[10, 10, 20, 20]], [0], 1)
    annotations = collect_annotations([example], np.array([[50, 200]]))
    found = resize_boxes(annotations, stretch, canvases)
    np.testing.assert_array_equal(found.boxes, [[5, 20, 10, 40]])
    assert suggested_canvases(np.array([[50, 200]]), stretch, canvases) == []


def test_canvases_that_pad_less_are_suggested():
    # Half of the images are square: 100 x 100 in 100 x 200 is as much padding as image, so of
    # 4 canvases of 20,000 pixels 60,000 are image: 80 / 60 - 1.
    sizes = np.array([[100, 100], [100, 200], [100, 100], [100, 200]])
    present = with_padding(sizes, FIT, [(100, 200)])
    assert present.canvases == ((100, 200),)
    assert present.padding_share == pytest.approx(1 / 3)
    found = suggested_canvases(sizes, FIT, [(100, 200)])
    assert all(len(a.canvases) < len(b.canvases) for a, b in itertools.pairwise(found))
    # Sides are multiples of 32: 128 x 128 and 128 x 224.
    assert found[-1].canvases == ((128, 224), (128, 128))
    assert found[-1].padding_share < 0.2


def test_canvases_that_fit_get_no_advice():
    assert suggested_canvases(np.array([[96, 192]] * 3), FIT, [(96, 192)]) == []
