import colorsys

import numpy as np
import pytest

from ioub_jax.data.appearance import change_colors, random_blur, random_hsv
from ioub_jax.data.sources.example import create_example
from tests.data import painted


def _of_color(color):
    return create_example([], [], 0, image=np.full((3, 4, len(color)), color, np.uint8))


@pytest.mark.parametrize("color", [(200, 40, 60), (30, 90, 220), (77, 77, 77)])
@pytest.mark.parametrize(
    ("hue", "saturation", "value"), [(20.0, 1.0, 1.0), (0.0, 0.5, 1.2), (0.0, 1.0, 0.5)]
)
def test_colors_agree_with_colorsys(color, hue, saturation, value):
    h, s, v = colorsys.rgb_to_hsv(*(level / 255 for level in color))
    changed = ((h + hue / 360) % 1.0, min(s * saturation, 1.0), min(v * value, 1.0))
    image = _of_color(color).image
    found = change_colors(image, hue=hue, saturation=saturation, value=value)
    # A byte of hue is 1.4 degrees; rounding it twice is off by up to 1.4 / 60 of 255 levels.
    expected = 255 * np.array(colorsys.hsv_to_rgb(*changed))
    np.testing.assert_allclose(found[0, 0], expected, atol=7)


def test_gains_are_the_limits():
    example = _of_color((100, 100, 100))
    # Without a gain of hue and saturation every level is multiplied: 100 (1 - .4) to 100 (1 + .4).
    seen = [
        random_hsv(example, np.random.default_rng(seed), gains=(0.0, 0.0, 0.4)).image[0, 0, 0]
        for seed in range(300)
    ]
    assert 60 <= min(seen) < 64 and 136 < max(seen) <= 140
    assert random_hsv(example, np.random.default_rng(0), gains=(0.0, 0.0, 0.0)).image is not None
    red = _of_color((200, 0, 0))
    hues = [
        colorsys.rgb_to_hsv(
            *(random_hsv(red, np.random.default_rng(seed), gains=(0.1, 0, 0)).image[0, 0] / 255)
        )[0]
        for seed in range(300)
    ]
    # A tenth of the circle either way, to a byte of it: .1 + 1 / 256.
    turned = (np.array(hues) + 0.5) % 1 - 0.5
    assert -0.104 <= turned.min() < -0.09 and 0.09 < turned.max() <= 0.104


@pytest.mark.parametrize("channels", [1, 4])
def test_the_value_of_other_channels_is_every_level(channels):
    example = _of_color(tuple(range(40, 40 + channels)))
    image = random_hsv(example, np.random.default_rng(3), gains=(0.0, 0.0, 0.4)).image
    factor = 1 + 0.4 * np.random.default_rng(3).uniform(-1, 1, 3)[2]
    assert image.shape == (3, 4, channels)
    assert image[0, 0].tolist() == [round(factor * (40 + c)) for c in range(channels)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_blur_softens_an_edge_and_moves_nothing(channels):
    example = painted.rectangles(40, 60, [(10, 10, 50, 30)], channels=channels)
    widths = []
    for seed in range(40):
        blurred = random_blur(example, np.random.default_rng(seed), probability=1.0)
        assert blurred.image.shape == example.image.shape and blurred.boxes is example.boxes
        np.testing.assert_array_equal(painted.found(blurred.image, 128), example.boxes[0])
        row = blurred.image[20, :, 0]
        widths.append(((row > 5) & (row < 250)).sum() / 2)
    # Levels 5 to 250 of 255 of a Gaussian edge lie within 2.06 deviations: none at .1 pixels,
    # 4.1 to either side, so 8.2, at 2.
    assert min(widths) == 0 and 7 <= max(widths) <= 9


def test_a_blur_has_its_probability():
    example = painted.rectangles(10, 10, [(2, 2, 8, 8)])
    done = [
        random_blur(example, np.random.default_rng(seed), probability=0.3) is not example
        for seed in range(1000)
    ]
    assert abs(np.mean(done) - 0.3) < 0.044  # three deviations: 3 sqrt(.21 / 1000)
