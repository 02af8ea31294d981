"""What an `Augmentation` refuses, and how its transforms go together."""

import numpy as np
import pytest

from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import PADDING_COLOUR
from ioub_jax.data.resizing import Resize
from tests.data import painted

#: Attribute, a value that it cannot have, what it must be.
REFUSED = [
    ("rotation", 181.0, "degrees, 0 to 180"),
    ("rotation", -1.0, "degrees, 0 to 180"),
    ("affine_scale", (0.0, 1.0), "two factors above 0, the smaller one first"),
    ("affine_scale", (1.5, 0.5), "two factors above 0, the smaller one first"),
    ("affine_scale", (1.0,), "two factors above 0, the smaller one first"),
    ("translation", 1.0, "a share of the image, at least 0, below 1"),
    ("shear", 45.0, "degrees, at least 0 and below 45"),
    ("rotated_boxes", "largest", "one of ('ellipse', 'corners')"),
    ("hsv", (0.015, 0.7), "three gains from 0 to 1, of hue, saturation and value"),
    ("hsv", (0.015, 0.7, 1.4), "three gains from 0 to 1, of hue, saturation and value"),
    ("blur", 3.0, "a probability, 0 to 1"),
    ("cutout", -0.1, "a probability, 0 to 1"),
    ("min_visibility", 25, "a share, 0 to 1"),
]


@pytest.mark.parametrize(("name", "value", "words"), REFUSED)
def test_a_value_out_of_its_range_is_one_sentence(name, value, words):
    with pytest.raises(ValueError) as raised:
        Augmentation(**{name: value})
    assert str(raised.value) == f"{name} is {value!r}; it must be {words}."


def augmented(augmentation, seed, example=None, canvas=(60, 80)):
    """An example on a canvas of noise, with that canvas."""
    example = painted.rectangles(60, 80, [(20, 15, 60, 45)]) if example is None else example
    out = np.random.default_rng(0).integers(0, 255, (*canvas, 3), np.uint8)
    rng = np.random.default_rng(seed)
    return augmentation(example, rng, Resize("fit"), 1.0, out), out


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(rotation=10.0),
        Augmentation(hsv=(0.0, 0.0, 0.4)),
        Augmentation(blur=1.0),
        Augmentation(cutout=1.0),
        Augmentation(rotation=10.0, hsv=(0.1, 0.1, 0.1), blur=0.5, cutout=0.5),
    ],
)
def test_the_pixels_end_up_on_the_canvas(augmentation):
    for seed in range(4):
        example, out = augmented(augmentation, seed, canvas=(90, 90))
        assert np.shares_memory(example.image, out)
        height, width = example.image.shape[:2]
        np.testing.assert_array_equal(out[:height, :width], example.image)


def test_a_transform_more_does_not_change_the_others():
    plain = [augmented(Augmentation(horizontal_flip=0.5), seed)[0] for seed in range(20)]
    blurred = [
        augmented(Augmentation(horizontal_flip=0.5, blur=0.5), seed)[0] for seed in range(20)
    ]
    both = [
        augmented(Augmentation(horizontal_flip=0.5, blur=0.5, cutout=0.5), seed)[0]
        for seed in range(20)
    ]
    for first, second, third in zip(plain, blurred, both, strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)
        uncovered = (third.image != PADDING_COLOUR).any(axis=-1)
        np.testing.assert_array_equal(second.image[uncovered], third.image[uncovered])


def test_a_warp_of_what_was_resized_keeps_boxes_on_their_pixels():
    augmentation = Augmentation(
        horizontal_flip=0.5, vertical_flip=0.5, rotation=180.0, rotated_boxes="corners"
    )
    for seed in range(20):
        # 60x80 becomes 120x160; its padding is the brightest there is but for the object.
        example, _ = augmented(augmentation, seed, canvas=(120, 160))
        seen = painted.found(example.image, 160)
        assert np.abs(example.boxes[0] - seen).max() <= 2.5


def test_a_part_that_is_enlarged_by_the_warp_is_decoded_large_enough():
    assert Augmentation(affine_scale=(0.5, 1.5)).largest_zoom == 1.5
    assert Augmentation(affine_scale=(0.5, 0.8)).largest_zoom == 1.0
    assert Augmentation(affine_scale=(0.5, 1.5), scale_jitter=(1.0, 2.0)).largest_zoom == 3.0
    assert Augmentation(affine_scale=(0.5, 1.5), minimum_iou_crop=True).largest_zoom is None
