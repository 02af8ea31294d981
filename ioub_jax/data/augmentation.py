"""What happens to a training example between its file and its batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ioub_jax.data import appearance, occlusion, ssd_transforms, transforms
from ioub_jax.data.affine import ROTATED_BOXES, AffineLimits, random_affine
from ioub_jax.data.batching import PADDING_COLOUR
from ioub_jax.data.resizing import Resize, Size
from ioub_jax.data.sources.example import Example


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The random transforms of an example, in their order.

    Attributes:
      photometric_distortion: whether brightness, contrast, saturation and hue are changed (SSD).
      expand_ratio: the image is put on a mean-coloured canvas of up to so many times its sides
        (SSD: 4); 1 for none.
      minimum_iou_crop: whether a random part that overlaps its objects well is cut out (SSD).
      horizontal_flip: probability of mirroring left and right.
      vertical_flip: probability of mirroring top and bottom.
      scale_jitter: range of a factor of the size; what exceeds the canvas is cropped. (1, 1) for
        none.
      rotation: largest angle in degrees, either way, by which the image is turned at its size on
        the canvas.
      affine_scale: range of a factor about its centre, in the same warp. (1, 1) for none.
      translation: largest shift, as a share of its sides, in the same warp.
      shear: largest angle in degrees along each axis, in the same warp; below 45.
      rotated_boxes: what the box of a turned or sheared object surrounds: the 'ellipse' inside of
        its box, or the 'corners' of that.
      hsv: gains of hue, saturation and value, 0 to 1.
      blur: probability of a Gaussian blur.
      cutout: probability of painting over a rectangle.
      min_visibility: share of an object's box that must be left by the warp and by what covers it;
        of which less is left, those are ignored.

    Raises:
      ValueError: a value is out of its range.
    """

    photometric_distortion: bool = False
    expand_ratio: float = 1.0
    minimum_iou_crop: bool = False
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    affine_scale: tuple[float, float] = (1.0, 1.0)
    translation: float = 0.0
    shear: float = 0.0
    rotated_boxes: str = "ellipse"
    hsv: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blur: float = 0.0
    cutout: float = 0.0
    min_visibility: float = 0.25

    def __post_init__(self) -> None:
        for names, is_allowed, words in _RANGES:
            for name in names:
                if not is_allowed(getattr(self, name)):
                    raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {words}.")

    @property
    def largest_zoom(self) -> float | None:
        """By how much a part may be enlarged beyond the size of the whole; None if unknown."""
        if self.minimum_iou_crop:
            return None
        return max(self.scale_jitter[1], 1.0) * max(self.affine_scale[1], 1.0)

    @property
    def affine_limits(self) -> AffineLimits:
        """How far the warp goes."""
        return AffineLimits(self.rotation, self.affine_scale, self.translation, self.shear)

    def __call__(
        self,
        example: Example,
        rng: np.random.Generator,
        resize: Resize,
        scale: float,
        out: np.ndarray,
    ) -> Example:
        """Augments an example and brings it to its size on the canvas.

        Args:
          example: the example as it was read.
          rng: gives every transform a stream of its own, so that switching one on or off does
            not change the others.
          resize: how images are scaled.
          scale: the batch's factor of the size.
          out: uint8 `[H, W, 3]`, the canvas; the image is written to its top left.

        Returns:
          the example as the network sees it, but for the padding.
        """
        photometric, expand, crop, jitter, affine, hsv, blur, cutout = rng.spawn(8)
        if self.photometric_distortion:
            example = ssd_transforms.photometric_distortion(example, photometric)
        if self.expand_ratio > 1:
            example = ssd_transforms.expand(
                example, expand, max_ratio=self.expand_ratio, colour=PADDING_COLOUR
            )
        if self.minimum_iou_crop:
            example = ssd_transforms.minimum_iou_crop(example, crop)
        example = transforms.random_flips(
            example, rng, horizontal=self.horizontal_flip, vertical=self.vertical_flip
        )
        example = self._placed(example, jitter, resize, scale, out)
        example = self._warped(example, affine)
        example = self._with_other_pixels(example, hsv, blur, cutout)
        return _written(example, out)

    def _placed(
        self,
        example: Example,
        jitter: np.random.Generator,
        resize: Resize,
        scale: float,
        out: np.ndarray,
    ) -> Example:
        """At its size on the canvas."""
        canvas: Size = out.shape[:2]
        size = resize.size(transforms.pixels(example).shape[:2], canvas, scale)
        if self.scale_jitter == (1.0, 1.0):
            return transforms.resize(example, size, out)
        return transforms.scale_jitter(
            example, jitter, size=size, canvas=canvas, limits=self.scale_jitter, out=out
        )

    def _warped(self, example: Example, affine: np.random.Generator) -> Example:
        if self.affine_limits.is_none:
            return example
        return random_affine(
            example,
            affine,
            limits=self.affine_limits,
            rotated_boxes=self.rotated_boxes,
            min_visibility=self.min_visibility,
            colour=PADDING_COLOUR,
        )

    def _with_other_pixels(
        self,
        example: Example,
        hsv: np.random.Generator,
        blur: np.random.Generator,
        cutout: np.random.Generator,
    ) -> Example:
        if any(self.hsv):
            example = appearance.random_hsv(example, hsv, gains=self.hsv)
        if self.blur:
            example = appearance.random_blur(example, blur, probability=self.blur)
        if self.cutout:
            example = occlusion.random_cutout(
                example,
                cutout,
                probability=self.cutout,
                min_visibility=self.min_visibility,
                colour=PADDING_COLOUR,
            )
        return example


def _written(example: Example, out: np.ndarray) -> Example:
    """With its pixels in the top left of the canvas, where most transforms have left them."""
    image = transforms.pixels(example)
    if np.may_share_memory(image, out):
        return example
    return transforms.resize(example, image.shape[:2], out)


def _is_probability(value: float) -> bool:
    return 0 <= value <= 1


def _are_factors(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and 0 < values[0] <= values[1]


#: Names of attributes, whether a value is allowed, and what it must be in words.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        ("horizontal_flip", "vertical_flip", "blur", "cutout"),
        _is_probability,
        "a probability, 0 to 1",
    ),
    (("expand_ratio",), lambda value: value >= 1, "at least 1"),
    (
        ("scale_jitter", "affine_scale"),
        _are_factors,
        "two factors above 0, the smaller one first",
    ),
    (("rotation",), lambda value: 0 <= value <= 180, "degrees, 0 to 180"),
    (("translation",), lambda value: 0 <= value < 1, "a share of the image, at least 0, below 1"),
    (("shear",), lambda value: 0 <= value < 45, "degrees, at least 0 and below 45"),
    (
        ("hsv",),
        lambda values: len(values) == 3 and all(map(_is_probability, values)),
        "three gains from 0 to 1, of hue, saturation and value",
    ),
    (("rotated_boxes",), lambda value: value in ROTATED_BOXES, f"one of {ROTATED_BOXES}"),
    (("min_visibility",), _is_probability, "a share, 0 to 1"),
)
