"""A data set generated from a seed: geometric shapes on a textured background, with no download.

Each class has an outline and an approximate hue. Hues of neighboring classes overlap, so that
color alone does not determine a class. Contrast, size, elongation and rotation are independent of
the class. The box of a partly covered object encloses its visible part, as in COCO, which makes
localization the harder half of the task.
"""

import colorsys
import dataclasses
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.sources.example import Census, Example, create_example

SPLITS = ("train", "val", "test")

SMALLEST = 12  # pixels, the longer side of an object
MAX_ELONGATION = 1.8
MAX_ROTATION = 0.6  # radians, either way
MIN_VISIBLE_SHARE = 0.4
HUE_DEVIATION = 0.035  # of the full circle; neighboring classes are 1/8 apart
_SUPERSAMPLING = 4
_SUBPIXEL_BITS = 4  # OpenCV draws polygons with fixed-point corners

# One or more closed polygons, filled by the even-odd rule, in a square of side 2 around the origin.
Outline = tuple[np.ndarray, ...]


def _arc(start: float, stop: float, *, radius: float = 1.0, count: int = 40) -> np.ndarray:
    angles = np.linspace(start, stop, count, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _star() -> np.ndarray:
    corners = _arc(-np.pi / 2, 1.5 * np.pi, count=10)
    corners[1::2] *= 0.42
    return corners


def _cross(arm: float = 0.3) -> np.ndarray:
    quarter = np.array([[arm, -1.0], [arm, -arm], [1.0, -arm]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # rotates row vectors by 90 degrees
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _crescent() -> np.ndarray:
    # Two circles intersect at the horns: first the outer arc, then back along the inner one.
    outer = _arc(0.3 * np.pi, 1.7 * np.pi)
    horn = np.array([np.cos(0.3 * np.pi), np.sin(0.3 * np.pi)])
    center = np.array([0.75, 0.0])
    inner_radius = float(np.hypot(*(horn - center)))
    opening = float(np.arctan2(horn[1], horn[0] - center[0]))
    inner = center + _arc(2 * np.pi - opening, opening, radius=inner_radius)
    return np.concatenate([outer, inner])


_OUTLINES: dict[str, Outline] = {
    "ellipse": (_arc(0, 2 * np.pi),),
    "rectangle": (np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),),
    "triangle": (np.array([[0.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),),
    "star": (_star(),),
    "ring": (_arc(0, 2 * np.pi), _arc(0, 2 * np.pi, radius=0.55)),
    "cross": (_cross(),),
    "crescent": (_crescent(),),
    "hourglass": (np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]),),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """One object of a scene.

    Attributes:
      label: the class of the shape.
      outline: polygons in pixels of the image.
      rows: the rows of the image that the shape touches.
      columns: the columns of the image that the shape touches.
      cover: float32 `[rows, columns]`, the fraction of each pixel that the shape covers.
    """

    label: int
    outline: Outline
    rows: slice
    columns: slice
    cover: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """True at pixels that belong to the shape if nothing covers it, bool `[rows, columns]`."""
        return self.cover >= 0.5


def coverage(outline: Outline, image_size: tuple[int, int]) -> tuple[slice, slice, np.ndarray]:
    """Coverage of each pixel by a filled outline.

    Args:
      outline: polygons `[k, 2]`, xy in pixels; pixel (0, 0) spans 0..1.
      image_size: height and width of the image.

    Returns:
      rows, columns and float32 coverage in 0..1 of the part of the image around the outline. A
      pixel belongs to the object if its coverage is at least one half.
    """
    corners = np.concatenate(outline)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    right, bottom = min(right, image_size[1]), min(bottom, image_size[0])
    height, width = max(bottom - top, 1), max(right - left, 1)
    fine = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)
    # OpenCV counts from pixel centers, we count from pixel edges: half a fine pixel apart.
    polygons = [
        np.rint(((part - (left, top)) * _SUPERSAMPLING - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
        for part in outline
    ]
    cv2.fillPoly(fine, polygons, 255, shift=_SUBPIXEL_BITS)
    mask = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return slice(top, top + height), slice(left, left + width), mask.astype(np.float32) / 255


def visible_pixels(shapes: Sequence[Shape], image_size: tuple[int, int]) -> np.ndarray:
    """Index of the shape that is visible at each pixel.

    Args:
      shapes: the shapes, back to front.
      image_size: height and width of the image.

    Returns:
      int32 `[H, W]`: the position of the front-most shape that a pixel belongs to, -1 for none.
    """
    owner = np.full(image_size, -1, np.int32)
    for position, shape in enumerate(shapes):
        owner[shape.rows, shape.columns][shape.mask] = position
    return owner


class ShapesSource:
    """`num_images` images of one to `max_objects` shapes.

    For a given `image_size` and `max_objects`, image i depends only on the seed, the split and i.

    Args:
      num_images: length of the data set.
      image_size: height and width of every image.
      seed: seed of the data set, at least 0.
      split: 'train', 'val' or 'test', which have disjoint streams of random numbers.
      max_objects: the largest number of objects in an image.

    Raises:
      ValueError: the split is unknown.
      DataError: the images are too small for the smallest shape.
    """

    classes: tuple[str, ...] = tuple(_OUTLINES)
    category_ids: tuple[int | str, ...] = tuple(range(1, len(_OUTLINES) + 1))

    def __init__(
        self,
        num_images: int,
        image_size: tuple[int, int] = (128, 128),
        seed: int = 0,
        split: str = "train",
        max_objects: int = 6,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"The shapes data set has no split {split!r}; use one of {SPLITS}.")
        if min(image_size) < 2 * SMALLEST:
            raise DataError(
                f"image_size is {tuple(image_size)}; both sides must be at least {2 * SMALLEST}.",
                "image_size",
            )
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.sizes = np.tile(np.array(self.image_size, np.int64), (num_images, 1))
        self.skipped: list[Problem] = []
        self.written_ids: Mapping[int, int | str] = {}
        self.census = Census(num_images, 0)  # boxes are known only after drawing every scene
        self.max_objects = max_objects
        self._seed = seed
        self._split = split

    def __len__(self) -> int:
        """The number of images."""
        return len(self.sizes)

    def __getitem__(self, index: int) -> Example:
        """Draws image `index`."""
        shapes = self.scene(index)
        image = paint(shapes, self.image_size, self._generator(index, purpose=1))
        return dataclasses.replace(self._annotate(shapes, index), image=image)

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """Returns `source[index]`, drawn at full size whatever `at_least` is."""
        del at_least
        return self[index]

    def annotations(self, index: int) -> Example:
        """The objects of image `index`, without its pixels."""
        return self._annotate(self.scene(index), index)

    def image_id(self, index: int) -> int:
        """The number of image `index`; images are numbered from 1."""
        return index + 1

    def describe(self, index: int) -> str:
        """Name of an image in error messages: its number, split and seed."""
        return f"image {index} of the shapes data set ({self._split}, seed {self._seed})"

    def scene(self, index: int) -> list[Shape]:
        """The shapes of image `index`, back to front."""
        rng = self._generator(index, purpose=0)
        shapes = [self._random_shape(rng)]
        for _ in range(int(rng.integers(self.max_objects))):
            candidates = [*shapes, self._random_shape(rng)]
            if self._all_visible(candidates):
                shapes = candidates
        return shapes

    def _generator(self, index: int, purpose: int) -> np.random.Generator:
        if not 0 <= index < len(self):
            raise IndexError(f"The data set has {len(self)} images, so there is no image {index}.")
        return np.random.default_rng([self._seed, SPLITS.index(self._split), index, purpose])

    def _random_shape(self, rng: np.random.Generator) -> Shape:
        """Draws a class, then a stretched and rotated outline of it that lies inside the image."""
        height, width = self.image_size
        label = int(rng.integers(len(self.classes)))
        size = SMALLEST * (min(height, width) / 2 / SMALLEST) ** rng.random()  # log-uniform
        # A thin shape of the smallest size would have too few pixels to recognize its class.
        elongation = min(MAX_ELONGATION, size / SMALLEST) ** rng.uniform(-1, 1)
        angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
        stretch = np.array([np.sqrt(elongation), 1 / np.sqrt(elongation)])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        outline = [(part * stretch) @ turn for part in _OUTLINES[self.classes[label]]]
        low, high = outline[0].min(axis=0), outline[0].max(axis=0)
        scale = size / (high - low).max()
        free = np.array([width, height]) - (high - low) * scale
        corner = rng.random(2) * free
        placed = tuple((part - low) * scale + corner for part in outline)
        return Shape(label, placed, *coverage(placed, self.image_size))

    def _all_visible(self, shapes: list[Shape]) -> bool:
        owner = visible_pixels(shapes, self.image_size)
        visible = np.bincount(owner.ravel() + 1, minlength=len(shapes) + 1)[1:]
        for shape, count in zip(shapes, visible, strict=True):
            if count < MIN_VISIBLE_SHARE * np.count_nonzero(shape.mask):
                return False
        return True

    def _annotate(self, shapes: list[Shape], index: int) -> Example:
        owner = visible_pixels(shapes, self.image_size)
        boxes = []
        for position in range(len(shapes)):
            left, top, width, height = cv2.boundingRect((owner == position).astype(np.uint8))
            boxes.append([left, top, left + width, top + height])
        labels = np.array([shape.label for shape in shapes])
        return create_example(np.array(boxes), labels, self.image_id(index))


def paint(
    shapes: Sequence[Shape], image_size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Paints shapes, back to front, on a random background.

    Args:
      shapes: the shapes.
      image_size: height and width of the image.
      rng: random generator for the background, colors, blur and noise.

    Returns:
      uint8 `[H, W, 3]`.
    """
    # Separate streams ensure that an additional shape changes only the pixels that it touches.
    ground_rng, fill_rng, camera_rng = rng.spawn(3)
    image = _ground(image_size, ground_rng)
    _add_distractors(image, ground_rng)
    for shape in shapes:
        patch = image[shape.rows, shape.columns]
        fill = _fill(shape.label, patch.shape[:2], fill_rng)
        patch += shape.cover[..., None] * (fill - patch)
    blur = camera_rng.uniform(0.0, 0.9)
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (5, 5), blur)
    noise = int(camera_rng.integers(3, 13))
    image += camera_rng.integers(-noise, noise + 1, image.shape, dtype=np.int8)
    return np.clip(image, 0, 255).astype(np.uint8)


def _ground(image_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of three scales around a greyish color, float32 `[H, W, 3]`."""
    height, width = image_size
    image = np.empty((height, width, 3), np.float32)
    image[:] = rng.uniform(60, 190) + rng.uniform(-20, 20, 3)
    for cell, strength in ((64, 26.0), (16, 12.0), (5, 8.0)):
        grid = (height // cell + 2, width // cell + 2)
        # The noise is mostly gray, with a little color.
        noise = rng.standard_normal((*grid, 1)) + 0.5 * rng.standard_normal((*grid, 3))
        noise = (rng.uniform(0.3, 1.0) * strength * noise).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _add_distractors(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draws thin open lines, which belong to no class, on a float32 image in place."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(5))):
        color = (np.array(cv2.mean(image)[:3]) + rng.uniform(-70, 70, 3)).tolist()
        corners = rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * (width, height)
        points = np.rint(corners).astype(np.int32)
        cv2.polylines(image, [points], False, color, thickness=int(rng.integers(1, 3)))


def _fill(label: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A color near the class's hue, with shading and speckle: float32 `[h, w, 3]`, RGB 0-255."""
    height, width = size
    hue = (label / len(_OUTLINES) + rng.normal(0.0, HUE_DEVIATION)) % 1.0
    saturation, value = rng.uniform(0.35, 0.9), rng.uniform(0.45, 0.95)
    color = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    shading = rng.uniform(-20, 20, 2)
    ramp = np.linspace(-0.5, 0.5, height)[:, None] * shading[0]
    ramp = ramp + np.linspace(-0.5, 0.5, width) * shading[1]
    speckle = rng.uniform(-8, 8, (height // 3 + 1, width // 3 + 1)).astype(np.float32)
    ramp = ramp + cv2.resize(speckle, (width, height), interpolation=cv2.INTER_LINEAR)
    return (color + ramp[..., None]).astype(np.float32)
