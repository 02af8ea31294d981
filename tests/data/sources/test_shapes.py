import cv2
import numpy as np
import pytest

from ioub_jax.data.sources.shapes import (
    MIN_VISIBLE_SHARE,
    ShapesSource,
    coverage,
    paint,
    visible_pixels,
)


def test_an_image_depends_on_seed_split_and_index_alone():
    source = ShapesSource(20, seed=5)
    again = ShapesSource(1000, seed=5)
    assert [again[i].image.tobytes() for i in (7, 3)] == [source[i].image.tobytes() for i in (7, 3)]
    others = [ShapesSource(20, seed=6), ShapesSource(20, seed=5, split="val")]
    images = {data[3].image.tobytes() for data in (source, *others)} | {source[4].image.tobytes()}
    assert len(images) == 4


def test_example_has_the_promised_shapes_and_dtypes():
    source = ShapesSource(10, image_size=(96, 160))
    example = source[2]
    count = len(example.labels)
    assert example.image.shape == (96, 160, 3) and example.image.dtype == np.uint8
    assert example.boxes.shape == (count, 4) and example.boxes.dtype == np.float32
    assert example.labels.dtype == np.int32 and example.area.dtype == np.float32
    assert source.sizes.tolist() == [[96, 160]] * 10
    assert example.image_id == source.image_id(2) == 3
    assert len(source.classes) >= 8 and source.category_ids == tuple(range(1, 9))


def test_annotations_are_those_of_the_image():
    source = ShapesSource(30)
    for index in range(30):
        drawn, written = source[index], source.annotations(index)
        assert written.image is None
        np.testing.assert_array_equal(drawn.boxes, written.boxes)
        np.testing.assert_array_equal(drawn.labels, written.labels)


def test_coverage_of_a_rectangle_by_hand():
    # Four fine pixels a side show an edge to a quarter: x from 2.1 to 5.2 as 2 to 5.25 and y from
    # 1.1 to 2.9 as 1 to 3. Columns 2, 3, 4 are full, column 5 has a quarter.
    corners = np.array([[2.1, 1.1], [5.2, 1.1], [5.2, 2.9], [2.1, 2.9]])
    rows, columns, cover = coverage((corners,), (8, 8))
    image = np.zeros((8, 8), np.float32)
    image[rows, columns] = cover
    expected = np.zeros((8, 8), np.float32)
    expected[1:3, 2:5] = 1
    expected[1:3, 5] = 0.25
    np.testing.assert_allclose(image, expected, atol=0.01)


def _redraw(outline, size, factor):
    """The pixels of which an outline, drawn `factor` times larger on the whole image, has half."""
    fine = np.zeros((size[0] * factor, size[1] * factor), np.uint8)
    corners = [np.rint((part * factor - 0.5) * 16).astype(np.int32) for part in outline]
    cv2.fillPoly(fine, corners, 1, shift=4)
    blocks = fine.reshape(size[0], factor, size[1], factor)
    return blocks.mean(axis=(1, 3), dtype=np.float64) >= 0.5


@pytest.mark.parametrize(("factor", "tolerance"), [(4, 0), (16, 1)])
def test_boxes_are_tight_to_the_pixels_of_the_redrawn_objects(factor, tolerance):
    source = ShapesSource(40, seed=11)
    for index in range(len(source)):
        scene, example = source.scene(index), source.annotations(index)
        masks = [_redraw(shape.outline, source.image_size, factor) for shape in scene]
        for position, box in enumerate(example.boxes):
            hidden = np.logical_or.reduce([*masks[position + 1 :], np.zeros_like(masks[0])])
            assert np.abs(_bounds(masks[position] & ~hidden) - box).max() <= tolerance


def _bounds(mask):
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_painting_an_object_changes_the_image_in_its_box_alone():
    source = ShapesSource(8, seed=2)
    for index in range(8):
        shape = source.scene(index)[0]
        left, top, right, bottom = _bounds(visible_pixels([shape], source.image_size) == 0)
        ground, painted = (
            paint(shapes, source.image_size, np.random.default_rng(index)).astype(int)
            for shapes in ([], [shape])
        )
        changed = np.abs(painted - ground).max(axis=-1)
        assert changed[top:bottom, left:right].max() > 25
        # A pixel that it covers by less than half is outside the box; blur reaches 2 further.
        changed[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3] = 0
        assert changed.max() == 0


def test_scenes_are_varied_and_every_object_is_visible():
    source = ShapesSource(300)
    counts, labels, sides = [], [], []
    for index in range(len(source)):
        scene, example = source.scene(index), source.annotations(index)
        owner = visible_pixels(scene, source.image_size)
        for position, shape in enumerate(scene):
            share = np.count_nonzero(owner == position) / np.count_nonzero(shape.mask)
            assert share >= MIN_VISIBLE_SHARE
        counts.append(len(scene))
        labels.extend(example.labels)
        sides.extend((example.boxes[:, 2:] - example.boxes[:, :2]).max(axis=1))
        assert (example.boxes[:, :2] >= 0).all() and (example.boxes[:, 2:] <= 128).all()
    assert set(counts) == {1, 2, 3, 4, 5, 6}
    assert (np.bincount(labels, minlength=8) > len(labels) / 16).all()
    assert 10 <= min(sides) <= 13 and 60 <= max(sides) <= 64


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="no split 'minival'"):
        ShapesSource(1, split="minival")
    with pytest.raises(ValueError, match="must be at least 24"):
        ShapesSource(1, image_size=(16, 128))
    with pytest.raises(IndexError, match="no image 5"):
        ShapesSource(5)[5]
