"""Augmentation of a training example between its file and its batch."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from ioub_jax.data import appearance, joining, occlusion, ssd_transforms, transforms
from ioub_jax.data.affine import ROTATED_BOXES, AffineLimits, random_affine
from ioub_jax.data.batching import padding_color
from ioub_jax.data.partners import Others
from ioub_jax.data.resizing import Resize, Size
from ioub_jax.data.sources.example import Example


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The random transforms of an example, in the order in which they are applied.

    Attributes:
      photometric_distortion: whether brightness, contrast, saturation and hue are changed (SSD).
      expand_ratio: the largest ratio between the sides of a mean-colored canvas and those of the
        image placed on it (SSD: 4); 1 for no canvas.
      minimum_iou_crop: whether a random part that overlaps its objects well is cut out (SSD).
      horizontal_flip: probability of mirroring left and right.
      vertical_flip: probability of mirroring top and bottom.
      scale_jitter: range of a factor of the size; parts that exceed the canvas are cropped. (1, 1)
        for no change.
      rotation: largest angle in degrees, in either direction, by which the image is rotated at its
        size on the canvas.
      affine_scale: range of a factor of the size about the image's center, in the same warp. (1, 1)
        for no change.
      translation: largest shift as a share of the image's sides, in the same warp.
      shear: largest angle in degrees along each axis, in the same warp; below 45.
      rotated_boxes: the assumed shape of rotated or sheared objects: 'ellipse' for the ellipse
        inscribed in the box, 'corners' for the box itself.
      hsv: gains of hue, saturation and value, 0 to 1.
      blur: probability of a Gaussian blur.
      cutout: probability of painting over a rectangle.
      mosaic: probability of a mosaic of the image and three others, as large as the image alone
        would be. A mosaic replaces `expand_ratio`, `minimum_iou_crop` and `scale_jitter`.
      mosaic_scale: range of the factor of the size of each of the four images.
      mixup: probability of blending with another image.
      copy_paste: probability of pasting objects of another image.
      close_after: share of a run after which mosaic, mixup and copy-paste end; 1 to never end them.
      min_visibility: share of an object's box that must remain visible after the warp, cutout,
        mosaic, mixup and copy-paste; objects with less become regions to ignore.

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
    mosaic: float = 0.0
    mosaic_scale: tuple[float, float] = (0.5, 1.5)
    mixup: float = 0.0
    copy_paste: float = 0.0
    close_after: float = 0.9
    min_visibility: float = 0.25

    def __post_init__(self) -> None:
        for names, is_allowed, words in _RANGES:
            for name in names:
                if not is_allowed(getattr(self, name)):
                    raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {words}.")

    def zoom(self, mosaic_draw: float) -> float | None:
        """Largest factor by which transforms enlarge an image beyond its own size on the canvas.

        Args:
          mosaic_draw: the position of the image's factor in mosaics between its limits, 0 to 1.

        Returns:
          the factor, at least 1; None if it is unknown.
        """
        zoom = 1.0
        if self.mosaic < 1:  # the image may be used without a mosaic
            if self.minimum_iou_crop:
                return None
            zoom = max(self.scale_jitter[1], zoom)
        if self.mosaic:
            zoom = max(self.mosaic_factor(mosaic_draw), zoom)
        return zoom * max(self.affine_scale[1], 1.0)

    def mosaic_factor(self, draw: float) -> float:
        """The factor of an image in mosaics.

        Args:
          draw: the position between the limits, 0 to 1.
        """
        low, high = self.mosaic_scale
        return low + draw * (high - low)

    @property
    def joins(self) -> bool:
        """True if an example may be made of several examples."""
        return max(self.mosaic, self.mixup, self.copy_paste) > 0

    def closed(self) -> "Augmentation":
        """The same without mosaic, mixup and copy-paste."""
        return dataclasses.replace(self, mosaic=0.0, mixup=0.0, copy_paste=0.0)

    @property
    def affine_limits(self) -> AffineLimits:
        """The limits of the warp."""
        return AffineLimits(self.rotation, self.affine_scale, self.translation, self.shear)

    def __call__(
        self,
        example: Example,
        rng: np.random.Generator,
        resize: Resize,
        scale: float,
        out: np.ndarray,
        others: Others | None = None,
    ) -> Example:
        """Augments an example and brings it to its size on the canvas.

        Args:
          example: the example as it was read.
          rng: a new generator. Every transform draws from a separate stream derived from its seed,
            so that switching one on or off does not change the others.
          resize: how images are scaled.
          scale: the batch's factor of the size.
          out: uint8 `[H, W, channels]`, the canvas; the image is written to its top left corner.
          others: the examples that it can be joined with; None if no transform joins examples.

        Returns:
          the example as the network sees it, without the padding.

        Raises:
          ValueError: a transform joins examples, but `others` is None.
        """
        if self.joins and others is None:
            raise ValueError("others is None; mosaic, mixup and copy_paste need other examples.")
        return _Chain(self, rng, resize, scale, out, others).of(example)


#: The streams of a generator by transform. A new transform must be appended, because the position
#: determines the stream.
_STREAMS = (
    *("photometric", "expand", "crop", "jitter"),
    *("affine", "hsv", "blur", "cutout"),
    *("mosaic", "mixup", "copy_paste"),
)


class _Chain:
    """The transforms of one example in their order; arguments as for `Augmentation.__call__`."""

    def __init__(
        self,
        options: Augmentation,
        rng: np.random.Generator,
        resize: Resize,
        scale: float,
        out: np.ndarray,
        others: Others | None,
    ) -> None:
        self._options = options
        self._rng = rng
        self._resize = resize
        self._scale = scale
        self._out = out
        self._color = padding_color(out.shape[2])
        self._others = others

    def of(self, example: Example) -> Example:
        """The example as the network sees it, its pixels in the top left corner of the canvas."""
        example = self._mosaic_of(example) or self._alone(example)
        example = self._warped(self._with_pasted(example))
        return _written(self._with_other_pixels(self._mixed(example)), self._out)

    def _stream(self, name: str) -> np.random.Generator:
        """A new generator of one transform's stream, equal to the child that `spawn` would return.

        Creating a generator takes time, so only those in use are created.
        """
        parent = cast(np.random.SeedSequence, self._rng.bit_generator.seed_seq)
        key = (*parent.spawn_key, _STREAMS.index(name))
        return np.random.default_rng(np.random.SeedSequence(parent.entropy, spawn_key=key))

    def _drawn(self, name: str, probability: float) -> np.random.Generator | None:
        """The generator of a transform if it is applied; None if it is not."""
        if not probability:
            return None
        rng = self._stream(name)
        return rng if rng.random() < probability else None

    def _size_of(self, size: Size) -> Size:
        """The size on the canvas of an image whose stored size is `size`."""
        canvas: Size = self._out.shape[:2]
        return self._resize.size(size, canvas, self._scale)

    def _alone(self, example: Example) -> Example:
        """The example without a mosaic, at its size on the canvas."""
        options = self._options
        example = self._distorted(example)
        if options.expand_ratio > 1:
            example = ssd_transforms.expand(
                example,
                self._stream("expand"),
                max_ratio=options.expand_ratio,
                color=self._color,
            )
        if options.minimum_iou_crop:
            example = ssd_transforms.minimum_iou_crop(example, self._stream("crop"))
        example = self._flipped(example, self._rng)
        size = self._size_of(transforms.pixels(example).shape[:2])
        if options.scale_jitter == (1.0, 1.0):
            return transforms.resize(example, size, self._out)
        return transforms.scale_jitter(
            example,
            self._stream("jitter"),
            size=size,
            canvas=self._out.shape[:2],
            limits=options.scale_jitter,
            out=self._out,
        )

    def _mosaic_of(self, example: Example) -> Example | None:
        """The mosaic of an image and three others; None if no mosaic is drawn."""
        rng = self._drawn("mosaic", self._options.mosaic)
        if rng is None:
            return None
        assert self._others is not None
        height, width = self._size_of(transforms.pixels(example).shape[:2])
        examples = [example, *self._others.choose(rng, 3)]
        draws = map(self._others.mosaic_draw, examples)
        joined = joining.mosaic(
            examples,
            rng,
            size_of=self._size_of,
            factors=[self._options.mosaic_factor(draw) for draw in draws],
            min_visibility=self._options.min_visibility,
            color=self._color,
            out=self._out[:height, :width],
        )
        return self._flipped(self._distorted(joined), self._rng)

    def _distorted(self, example: Example) -> Example:
        if not self._options.photometric_distortion:
            return example
        return ssd_transforms.photometric_distortion(example, self._stream("photometric"))

    def _flipped(self, example: Example, rng: np.random.Generator) -> Example:
        options = self._options
        return transforms.random_flips(
            example, rng, horizontal=options.horizontal_flip, vertical=options.vertical_flip
        )

    def _with_pasted(self, example: Example) -> Example:
        rng = self._drawn("copy_paste", self._options.copy_paste)
        if rng is None:
            return example
        donor = self._other(rng)
        return joining.copy_paste(example, donor, rng, min_visibility=self._options.min_visibility)

    def _mixed(self, example: Example) -> Example:
        rng = self._drawn("mixup", self._options.mixup)
        if rng is None:
            return example
        other = self._other(rng)
        return joining.mixup(example, other, rng, min_visibility=self._options.min_visibility)

    def _other(self, rng: np.random.Generator) -> Example:
        """Another example at its size on the canvas, flipped or not."""
        assert self._others is not None
        other = self._flipped(self._others.choose(rng, 1)[0], rng)
        size = self._size_of(transforms.pixels(other).shape[:2])
        return transforms.resize(other, size, quickly=True)

    def _warped(self, example: Example) -> Example:
        options = self._options
        if options.affine_limits.is_none:
            return example
        return random_affine(
            example,
            self._stream("affine"),
            limits=options.affine_limits,
            rotated_boxes=options.rotated_boxes,
            min_visibility=options.min_visibility,
            color=self._color,
        )

    def _with_other_pixels(self, example: Example) -> Example:
        options = self._options
        if any(options.hsv):
            example = appearance.random_hsv(example, self._stream("hsv"), gains=options.hsv)
        if options.blur:
            example = appearance.random_blur(
                example, self._stream("blur"), probability=options.blur
            )
        if options.cutout:
            example = occlusion.random_cutout(
                example,
                self._stream("cutout"),
                probability=options.cutout,
                min_visibility=options.min_visibility,
                color=self._color,
            )
        return example


def _written(example: Example, out: np.ndarray) -> Example:
    """The example with its pixels in the top left corner of the canvas.

    Most transforms already write them there.
    """
    image = transforms.pixels(example)
    if np.may_share_memory(image, out):
        return example
    return transforms.resize(example, image.shape[:2], out)


def _is_probability(value: float) -> bool:
    return 0 <= value <= 1


def _are_factors(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and 0 < values[0] <= values[1]


#: Names of attributes, a test of their values, and the allowed values in words.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        (
            *("horizontal_flip", "vertical_flip", "blur", "cutout"),
            *("mosaic", "mixup", "copy_paste"),
        ),
        _is_probability,
        "a probability, 0 to 1",
    ),
    (("expand_ratio",), lambda value: value >= 1, "at least 1"),
    (
        ("scale_jitter", "affine_scale", "mosaic_scale"),
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
    (("close_after",), lambda value: 0 < value <= 1, "a share of the run, above 0 and at most 1"),
)
