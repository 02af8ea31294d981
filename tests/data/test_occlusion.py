import numpy as np
import pytest

from ioub_jax.data.occlusion import cover, cut, random_cutout, shares_inside
from tests.data import painted

COLOR = (1, 2, 3)


def test_shares_inside_of_windows():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 30], [5, 5, 5, 9]], np.float32)
    # 5x10 of 100 and nothing; 10x5 of 200 inside of the second; an empty box has no share.
    windows = [[5, 0, 50, 10], [30, 0, 50, 25]]
    np.testing.assert_allclose(shares_inside(boxes, windows), [[0.5, 0], [0, 0.25], [0, 0]])


def test_of_what_little_is_in_a_window_is_ignored():
    example = painted.rectangles(40, 40, [(0, 0, 20, 20), (5, 5, 20, 20), (30, 30, 40, 40)])
    # In x from 15 on: 5/20, 5/15, all.
    part = cut(example, (15, 0, 40, 40), 0.3)
    assert part.labels.tolist() == [0, 1, 2] and part.ignored.tolist() == [True, False, False]
    np.testing.assert_array_equal(part.boxes[0], [0, 0, 5, 20])
    assert cut(example, (15, 0, 30, 40), 0.3).labels.tolist() == [0, 1]  # the third is outside


def test_what_is_covered_by_several_windows_adds_up():
    example = painted.rectangles(40, 40, [(0, 0, 20, 20), (0, 20, 20, 40)])
    windows = np.array([[0, 0, 10, 20], [10, 0, 18, 20]])  # 1/2 and 2/5 of the first
    assert cover(example, windows, 0.2).ignored.tolist() == [True, False]
    assert cover(example, windows, 0.09).ignored.tolist() == [False, False]
    assert cover(example, windows[:1], 0.2).ignored.tolist() == [False, False]
    np.testing.assert_array_equal(cover(example, windows, 0.2).boxes, example.boxes)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cutout_covers_as_much_as_it_says_and_tells_of_what_it_hides(channels):
    example = painted.rectangles(50, 100, [(30, 10, 50, 30), (10, 35, 90, 45)], channels=channels)
    shares, hidden = [], 0
    for seed in range(300):
        done = random_cutout(
            example,
            np.random.default_rng(seed),
            probability=1.0,
            min_visibility=0.5,
            color=COLOR[:channels],
        )
        painted_over = (done.image == COLOR[:channels]).all(axis=-1)
        rows, columns = np.nonzero(painted_over)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert area == painted_over.sum()  # one rectangle
        shares.append(area / 5000)
        for position, (left, top, right, bottom) in enumerate(example.boxes.astype(int)):
            visible = 1 - painted_over[top:bottom, left:right].mean()
            assert done.ignored[position] == (visible < 0.5)
            hidden += done.ignored[position]
        np.testing.assert_array_equal(done.boxes, example.boxes)
    # 2 % to 20 % of the area, to a pixel of each side, less where the image is lower than it.
    assert 0.015 < min(shares) < 0.04 and 0.17 < max(shares) < 0.21 and hidden > 5
    assert example.image.max() == 255 and not example.ignored.any()


def test_a_cutout_has_its_probability_and_its_own_draws():
    few, many = painted.rectangles(10, 10, []), painted.rectangles(30, 40, [(2, 2, 8, 8)])
    how = {"min_visibility": 0.5, "color": COLOR}
    done = []
    for seed in range(1000):
        rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
        done.append(random_cutout(many, rng, probability=0.3, **how) is not many)
        random_cutout(few, other, probability=0.9, **how)
        assert rng.random() == other.random()
    assert abs(np.mean(done) - 0.3) < 0.044  # three deviations: 3 sqrt(.21 / 1000)
