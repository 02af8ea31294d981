import cv2
import numpy as np
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.report import embedded_images
from ioub_jax.report.galleries import Picture
from ioub_jax.report.html_elements import Html
from ioub_jax.report.measurement import measure
from tests.evaluation.small_data import annotation, data_set


def picture(image, box=None):
    return Picture(0, image, Html(""), (), None, box)


class Pixels:
    """Images whose red is x / 4 and whose green is y / 4; the second one is broken."""

    def __init__(self, width, height):
        x, y = np.meshgrid(np.arange(width) / 4, np.arange(height) / 4)
        self.pixels = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)

    def read(self, number):
        if number == 1:
            raise DataError("2.png: is broken.", "unreadable_image")
        return self.pixels


@pytest.fixture(scope="module")
def measured():
    # Boxes in the middle of the image and at its corner.
    truth = data_set([annotation(1, [500, 400, 20, 20]), annotation(1, [990, 790, 10, 10])])
    truth["images"][0] |= {"width": 1000, "height": 800}
    return measure(truth, [], resamplings=0)


def decoded(image):
    return cv2.imdecode(np.frombuffer(image.jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_wholes_are_reduced_and_parts_are_cut_out(measured):
    pictures = [picture(0), picture(0, 0), picture(0, 1), picture(0), picture(1)]
    embedded = embedded_images.embed(pictures, measured, Pixels(1000, 800))
    assert embedded.of_pictures == (0, 1, 2, 0, 3)
    assert embedded.problems == ("2.png: is broken.",)
    whole, middle, corner, broken = embedded.images
    assert whole.region == (0, 0, 1000, 800) and decoded(whole).shape == (512, 640, 3)
    # 640 pixels around (510, 410), and those before the right lower end.
    assert middle.region == (190, 90, 640, 640)
    assert corner.region == (360, 160, 640, 640)
    assert decoded(corner).shape == (640, 640, 3)
    np.testing.assert_allclose(decoded(corner)[0, 0, :2], [360 / 4, 160 / 4], atol=6)
    assert broken.jpeg is None and broken.address is None
    assert whole.address.startswith("data:image/jpeg;base64,/9j/")


def test_pixels_may_be_of_another_size_than_the_ground_truth_says(measured):
    embedded = embedded_images.embed([picture(0, 1)], measured, Pixels(500, 400))
    # The region is the same, of half as many pixels.
    assert embedded.images[0].region == (360, 160, 640, 640)
    assert decoded(embedded.images[0]).shape == (320, 320, 3)


def test_without_images_there_are_blank_sheets(measured):
    embedded = embedded_images.embed([picture(0), picture(1)], measured, None)
    assert [image.jpeg for image in embedded.images] == [None, None]
    # Nothing is known of the second one, in which there is nothing.
    assert embedded.images[1].region == (0, 0, 1, 1)


def test_a_jpeg_has_at_most_its_share():
    noise = np.random.default_rng(0).integers(0, 256, (640, 640, 3), np.uint8)
    for most in (100_000, 10_000):
        assert most / 4 < len(embedded_images._compressed(noise, most)) <= most
    assert embedded_images._compressed(noise[:1, :1], 10)  # as small as it gets


@pytest.mark.parametrize(
    ("focus", "expected"),
    [
        ((40, 40, 10, 20), (15, 20, 60, 60)),  # three times 20 around (45, 50)
        ((-50, 90, 300, 30), (0, 0, 100, 100)),  # never beyond the image
        ((90, 0, 2, 2), (70, 0, 30, 30)),  # at least 30
    ],
)
def test_what_is_around_a_box(focus, expected):
    assert embedded_images.within(focus, (100, 100), 3, 30) == expected
