import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.tiling import Tiling, cut

TILINGS = st.builds(
    Tiling,
    size=st.integers(32, 120),
    overlap=st.floats(0, 0.9),
    visibility=st.floats(0.01, 1),
)
SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def test_the_grid_of_a_large_image():
    tiling = Tiling(640, 0.2)
    # 640 * .2 = 128 are shared, so tiles begin every 512 pixels. Along 1500 pixels:
    # 0, 512, and 1024 moved back to 1500 - 640 = 860; along 640 there is one.
    assert (tiling.shared, tiling.stride) == (128, 512)
    assert tiling.starts(1500).tolist() == [0, 512, 860]
    assert tiling.starts(640).tolist() == [0]
    assert tiling.starts(641).tolist() == [0, 1]
    # Rows first; an image that is lower than a tile has tiles as low as itself.
    assert tiling.windows((500, 1500)).tolist() == [
        [0, 0, 640, 500],
        [512, 0, 1152, 500],
        [860, 0, 1500, 500],
    ]
    # ceil((9000 - 640) / 512) + 1 = 18 rows of ceil((12000 - 640) / 512) + 1 = 24.
    assert tiling.count((9000, 12000)) == 18 * 24 == len(tiling.windows((9000, 12000)))


@given(TILINGS, SIZES)
def test_tiles_cover_the_image_and_lie_in_it(tiling, size):
    windows = tiling.windows(size)
    assert (windows[:, :2] >= 0).all() and (windows[:, 2:] <= size[::-1]).all()
    sides = np.minimum(tiling.size, size[::-1])
    assert (windows[:, 2:] - windows[:, :2] == sides).all()
    covered = np.zeros(size, bool)
    for left, top, right, bottom in windows.tolist():
        covered[top:bottom, left:right] = True
    assert covered.all()
    assert len(windows) == len(np.unique(windows, axis=0)) == tiling.count(size)


@given(TILINGS, SIZES, st.data())
def test_what_is_no_longer_than_the_overlap_lies_whole_in_a_tile(tiling, size, data):
    height, width = (data.draw(st.integers(0, min(tiling.shared, side))) for side in size)
    top = data.draw(st.integers(0, size[0] - height))
    left = data.draw(st.integers(0, size[1] - width))
    windows = tiling.windows(size)
    holds = (windows[:, :2] <= (left, top)) & (windows[:, 2:] >= (left + width, top + height))
    assert holds.all(axis=1).any()


def annotations_of(boxes, size, **flags):
    return collect_annotations(
        [create_example(boxes, np.zeros(len(boxes)), 7, **flags)], np.array([size])
    )


def test_a_box_is_an_object_where_enough_of_it_is_seen():
    # Tiles of 40 begin at 0, 20 and 30 of 70 pixels; the box is from 30 to 50, that is 20 wide.
    # Tile 0 (0-40) shows 10 of 20, tile 1 (20-60) all of it, as does tile 2 (30-70).
    whole = annotations_of([[30, 5, 50, 15]], (40, 70))
    tiles = cut(whole, Tiling(40, 0.5, visibility=0.5))
    assert tiles.windows[:, 0].tolist() == [0, 20, 30]
    assert tiles.annotations.boxes.tolist() == [
        [30, 5, 40, 15],
        [10, 5, 30, 15],
        [0, 5, 20, 15],
    ]
    assert tiles.shown.tolist() == [0.5, 1, 1]
    assert tiles.annotations.ignored.tolist() == [False, False, False]
    assert tiles.annotations.area.tolist() == [100, 200, 200]  # of 200
    strict = cut(whole, Tiling(40, 0.5, visibility=0.51)).annotations
    assert strict.ignored.tolist() == [True, False, False]
    assert strict.offsets.tolist() == [0, 1, 2, 3]


def test_a_tile_that_a_box_only_touches_has_nothing_of_it():
    tiles = cut(annotations_of([[32, 0, 40, 8]], (32, 64)), Tiling(32, 0.0))
    assert tiles.annotations.counts.tolist() == [0, 1]


def test_crowds_and_regions_stay_what_they_are():
    boxes = [[0, 0, 64, 32], [0, 0, 64, 32]]
    whole = annotations_of(
        boxes, (32, 200), crowd=np.array([True, False]), ignored=np.array([False, True])
    )
    # The third tile, from 64 on, has nothing; the second shows 32 of 64, the third of the first
    # tile's neighbors begins at 32.
    tiles = cut(whole, Tiling(32, 0.0, visibility=1.0)).annotations
    assert tiles.counts.tolist() == [2, 2, 0, 0, 0, 0, 0]
    assert tiles.crowd.tolist() == [True, False] * 2
    assert tiles.ignored.tolist() == [False, True] * 2


@given(TILINGS, SIZES, st.integers(0, 2**32 - 1))
def test_every_part_of_a_box_is_in_its_tiles(tiling, size, seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (5, 2, 2)) * size[::-1], axis=1)
    whole = annotations_of(corners.reshape(5, 4), size)
    tiles = cut(whole, tiling)
    count = tiles.annotations.counts
    back = tiles.annotations.boxes + np.repeat(tiles.windows[:, [0, 1, 0, 1]], count, axis=0)
    original = whole.boxes[tiles.objects]
    assert (back >= original - 1e-3)[:, :2].all() and (back <= original + 1e-3)[:, 2:].all()
    for box in range(5):
        of_box = back[tiles.objects == box]  # some of each corner
        np.testing.assert_allclose(of_box[:, :2].min(axis=0), whole.boxes[box, :2], atol=1e-3)
        np.testing.assert_allclose(of_box[:, 2:].max(axis=0), whole.boxes[box, 2:], atol=1e-3)
    fits = (whole.boxes[:, 2:] - whole.boxes[:, :2] <= tiling.shared - 1).all(axis=1)
    assert tiles.whole_somewhere(5)[fits].all()
    assert (tiles.annotations.ignored == (tiles.shown < np.float32(tiling.visibility))).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 31}, "size is 31; it must be at least 32 pixels"),
        ({"overlap": 1.0}, "overlap is 1.0; it must be at least 0 and below 1"),
        ({"overlap": -0.1}, "overlap is -0.1; it must be at least 0 and below 1"),
        ({"visibility": 0.0}, "visibility is 0.0; it must be above 0 and at most 1"),
        ({"visibility": 1.2}, "visibility is 1.2; it must be above 0 and at most 1"),
        ({"zoom": 0.0}, "zoom is 0.0; it must be above 0"),
        ({"zoom": 0.1}, "zoom is 0.1, which makes inputs of 6 pixels of tiles of 64; they must"),
    ],
)
def test_what_is_no_tiling(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(Tiling(64), **change)
