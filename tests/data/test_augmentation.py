"""What an `Augmentation` refuses, and how its transforms go together."""

import dataclasses

import numpy as np
import pytest

from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import PADDING_COLOR, padding_color
from ioub_jax.data.partners import Others
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
    ("mosaic", 4.0, "a probability, 0 to 1"),
    ("mosaic_scale", (0.5, 0.0), "two factors above 0, the smaller one first"),
    ("mixup", -1.0, "a probability, 0 to 1"),
    ("copy_paste", 1.5, "a probability, 0 to 1"),
    ("close_after", 0.0, "a share of the run, above 0 and at most 1"),
    ("close_after", 10, "a share of the run, above 0 and at most 1"),
]


@pytest.mark.parametrize(("name", "value", "words"), REFUSED)
def test_a_value_out_of_its_range_is_one_sentence(name, value, words):
    with pytest.raises(ValueError) as raised:
        Augmentation(**{name: value})
    assert str(raised.value) == f"{name} is {value!r}; it must be {words}."


OTHERS = [
    painted.rectangles(40, 60, [(4, 8, 30, 30)]),
    painted.rectangles(90, 90, [(40, 10, 80, 40), (10, 50, 50, 90)]),
    painted.rectangles(60, 30, []),
]


def others_of(examples):
    """Any of the examples; each is of the middle size in a mosaic."""

    def choose(rng, count):
        return [examples[int(number)] for number in rng.integers(len(examples), size=count)]

    return Others(choose, lambda _: 0.5)


def augmented(augmentation, seed, example=None, canvas=(60, 80)):
    """An example on a canvas of noise, with that canvas."""
    example = painted.rectangles(60, 80, [(20, 15, 60, 45)]) if example is None else example
    out = np.random.default_rng(0).integers(0, 255, (*canvas, 3), np.uint8)
    rng = np.random.default_rng(seed)
    return augmentation(example, rng, Resize("fit"), 1.0, out, others_of(OTHERS)), out


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(rotation=10.0),
        Augmentation(hsv=(0.0, 0.0, 0.4)),
        Augmentation(blur=1.0),
        Augmentation(cutout=1.0),
        Augmentation(rotation=10.0, hsv=(0.1, 0.1, 0.1), blur=0.5, cutout=0.5),
        Augmentation(mosaic=1.0),
        Augmentation(mosaic=1.0, horizontal_flip=1.0),
        Augmentation(mixup=1.0),
        Augmentation(copy_paste=1.0),
        Augmentation(mosaic=0.5, mixup=0.5, copy_paste=0.5, photometric_distortion=True, blur=1.0),
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
        uncovered = (third.image != PADDING_COLOR).any(axis=-1)
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


def test_what_is_joined_is_not_changed():
    before = [(other.image.copy(), other.boxes.copy()) for other in OTHERS]
    for seed in range(20):
        augmented(Augmentation(mosaic=0.5, mixup=1.0, copy_paste=1.0), seed, OTHERS[1])
    for other, (image, boxes) in zip(OTHERS, before, strict=True):
        np.testing.assert_array_equal(other.image, image)
        np.testing.assert_array_equal(other.boxes, boxes)


def test_a_mosaic_is_as_large_as_its_first_image_would_be():
    for seed in range(5):
        example, _ = augmented(Augmentation(mosaic=1.0), seed, canvas=(90, 90))
        assert example.image.shape == (68, 90, 3)  # 60x80 fits by 90 / 80: 67.5


def test_a_mosaic_takes_the_place_of_what_crops_a_single_image():
    alone = {"expand_ratio": 4.0, "minimum_iou_crop": True, "scale_jitter": (0.1, 2.0)}
    for seed in range(10):
        plain, _ = augmented(Augmentation(mosaic=1.0), seed)
        same, _ = augmented(Augmentation(mosaic=1.0, **alone), seed)
        np.testing.assert_array_equal(plain.image, same.image)
        np.testing.assert_array_equal(plain.boxes, same.boxes)


def test_each_is_done_with_its_probability_and_closed_for_good():
    plain = [augmented(Augmentation(), seed)[0].image for seed in range(300)]
    for name in ("mosaic", "mixup"):
        options = Augmentation(**{name: 0.3})
        done = [
            (augmented(options, seed)[0].image != image).any() for seed, image in enumerate(plain)
        ]
        assert abs(np.mean(done) - 0.3) < 0.08  # three deviations: 3 sqrt(.21 / 300)
    everything = Augmentation(mosaic=1.0, mixup=1.0, copy_paste=1.0, hsv=(0.1, 0.1, 0.1))
    assert everything.joins and not everything.closed().joins
    assert everything.closed() == Augmentation(hsv=(0.1, 0.1, 0.1))


def test_joining_needs_others():
    example = painted.rectangles(60, 80, [])
    out = np.zeros((60, 80, 3), np.uint8)
    with pytest.raises(ValueError, match=r"^others is None; mosaic, mixup and copy_paste need"):
        Augmentation(mixup=0.1)(example, np.random.default_rng(0), Resize("fit"), 1.0, out)


@pytest.mark.parametrize(
    ("options", "draw", "zoom"),
    [
        ({"affine_scale": (0.5, 1.5)}, 0.5, 1.5),
        ({"affine_scale": (0.5, 0.8)}, 0.5, 1.0),
        ({"affine_scale": (0.5, 1.5), "scale_jitter": (1.0, 2.0)}, 0.5, 3.0),
        ({"affine_scale": (0.5, 1.5), "minimum_iou_crop": True}, 0.5, None),
        # .6 to 1.6: half of the way is 1.1, a quarter .85, and the whole is never less than 1.
        ({"mosaic": 1.0, "mosaic_scale": (0.6, 1.6)}, 0.5, 1.1),
        ({"mosaic": 1.0, "mosaic_scale": (0.6, 1.6)}, 0.25, 1.0),
        # In a mosaic there is no jitter and no crop; with even odds there may be.
        ({"mosaic": 1.0, "scale_jitter": (1.0, 2.0), "minimum_iou_crop": True}, 0.0, 1.0),
        ({"mosaic": 0.5, "mosaic_scale": (0.6, 1.6), "scale_jitter": (0.8, 1.2)}, 0.5, 1.2),
        ({"mosaic": 0.5, "mosaic_scale": (0.6, 1.6), "scale_jitter": (0.8, 1.2)}, 1.0, 1.6),
        ({"mosaic": 0.5, "minimum_iou_crop": True}, 0.5, None),
    ],
)
def test_a_part_that_may_be_enlarged_is_decoded_large_enough(options, draw, zoom):
    assert Augmentation(**options).zoom(draw) == pytest.approx(zoom)


def test_a_mosaic_has_each_image_by_its_factor():
    # On a canvas of its size an image of 60x80 is all there at .5, and its object of 40x30 half as
    # large, whichever quarter is large enough; at 1 the object is as it is.
    for draw, side in ((0.0, 20.0), (0.5, 40.0)):
        whole = 0
        for seed in range(60):
            out = np.zeros((60, 80, 3), np.uint8)
            example = painted.rectangles(60, 80, [(20, 15, 60, 45)])
            joined = Augmentation(mosaic=1.0)(
                example,
                np.random.default_rng(seed),
                Resize("fit"),
                1.0,
                out,
                Others(lambda _, count: [OTHERS[2]] * count, lambda one, draw=draw: draw),
            )
            widths = joined.boxes[:, 2] - joined.boxes[:, 0]
            assert (widths < side + 1).all()
            whole += np.isclose(widths, side, atol=0.5).sum()
        assert whole > 3


EVERYTHING = Augmentation(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    scale_jitter=(0.6, 1.6),
    expand_ratio=2.0,
    minimum_iou_crop=True,
    rotation=20.0,
    affine_scale=(0.8, 1.2),
    translation=0.1,
    shear=5.0,
    hsv=(0.0, 0.0, 0.4),
    blur=0.5,
    cutout=0.5,
    mosaic=0.5,
    mixup=0.5,
    copy_paste=0.5,
)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_images_of_other_channels_go_through_all_transforms(channels):
    """What happens to the first channel is what happens to it in an image of gray as RGB."""

    def of(count):
        examples = [
            dataclasses.replace(other, image=other.image[..., :1].repeat(count, axis=2))
            for other in OTHERS
        ]
        out = np.zeros((60, 80, count), np.uint8)

        others = others_of(examples)
        for seed in range(15):
            rng = np.random.default_rng(seed)
            example = EVERYTHING(examples[seed % 2], rng, Resize("fit"), 1.0, out, others)
            yield dataclasses.replace(example, image=example.image.copy())

    painted_in = [padding_color(count)[0] for count in (3, channels)]
    for rgb, other in zip(of(3), of(channels), strict=True):
        assert other.image.shape == (*rgb.image.shape[:2], channels)
        np.testing.assert_array_equal(other.boxes, rgb.boxes)
        np.testing.assert_array_equal(other.ignored, rgb.ignored)
        # But for the color of the padding, which is another one, and for rounding.
        difference = np.abs(other.image[..., 0].astype(int) - rgb.image[..., 0])
        assert difference.max() <= 2 + 1.4 * abs(painted_in[0] - painted_in[1])
