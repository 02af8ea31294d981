"""What a box that is left out leaves in its image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax.data.sources.regions import ignored_regions

NAN = np.nan


@pytest.mark.parametrize(
    ("corners", "region"),
    [
        ([10, 20, 30, 40], [10, 20, 30, 40]),
        ([30, 40, 10, 20], [10, 20, 30, 40]),  # from the lower right corner
        ([-50, 20, 30, 70], [0, 20, 30, 60]),  # as far as it is inside of 100x60
        # A line of 20 pixels: the square over it, 20 / 2 to both sides of x = 50.
        ([50, 20, 50, 40], [40, 20, 60, 40]),
        ([5, 20, 5, 40], [0, 20, 15, 40]),  # the square, cut at the edge
        ([50, 20, 50, 20], [0, 0, 100, 60]),  # a point
        ([200, 20, 300, 40], [0, 0, 100, 60]),  # all outside
        ([NAN, 20, 30, 40], [0, 0, 100, 60]),
        ([np.inf, 20, 30, 40], [0, 0, 100, 60]),
    ],
)
def test_region_of_a_box(corners, region):
    """Width 100, height 60."""
    assert ignored_regions([corners], [[60, 100]]).tolist() == [region]


@given(
    st.lists(
        st.lists(
            st.floats(width=64) | st.sampled_from([NAN, np.inf, -np.inf]), min_size=4, max_size=4
        ),
        max_size=5,
    )
)
def test_regions_lie_in_the_image_and_have_an_area(corners):
    regions = ignored_regions(np.array(corners).reshape(-1, 4), [[60, 100]] * len(corners))
    assert regions.shape == (len(corners), 4) and regions.dtype == np.float32
    assert np.all((regions >= 0) & (regions <= [100, 60, 100, 60]))
    assert np.all(regions[:, 2:] > regions[:, :2])
