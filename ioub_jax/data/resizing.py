"""Size of an image on its canvas, choice of the canvas, and share of padding."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.transforms import fitted_size, short_side_size

#: The modes that can be configured; "zoom" is the mode of tiles.
MODES = ("fit", "short_side", "stretch")
Size = tuple[int, int]  # height and width


@dataclasses.dataclass(frozen=True)
class Resize:
    """The rule by which images are scaled.

    Attributes:
      mode: 'fit', the largest size of the same aspect ratio that fits the canvas; 'short_side',
        the shorter side becomes `short_side` unless the longer one would exceed `long_side`;
        'stretch', the size of the canvas; 'zoom', for tiles, `zoom` times the size of the image.
        Sizes that exceed the canvas are replaced by those of 'fit'.
      short_side: length of the shorter side in pixels, for 'short_side'.
      long_side: largest length of the longer side in pixels, for 'short_side'.
      zoom: factor of the size, for 'zoom'.

    Raises:
      ValueError: the mode is unknown or the sides are not in order.
    """

    mode: str = "fit"
    short_side: int = 800
    long_side: int = 1333
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in (*MODES, "zoom"):
            raise ValueError(f"mode is {self.mode!r} and must be one of {MODES}.")
        if not 1 <= self.short_side <= self.long_side:
            raise ValueError(
                f"short_side is {self.short_side} and long_side is {self.long_side}; they must be "
                "at least 1 and in that order."
            )

    def enlarged(self, factor: float) -> "Resize":
        """The rule for canvases enlarged by a factor, which enlarges images by the same factor."""
        short, long = (max(round(side * factor), 1) for side in (self.short_side, self.long_side))
        return dataclasses.replace(self, short_side=short, long_side=long, zoom=self.zoom * factor)

    def size(self, image_size: Size, canvas: Size, scale: float = 1.0) -> Size:
        """The size of an image on its canvas.

        Args:
          image_size: height and width of the image.
          canvas: height and width of its canvas.
          scale: a factor of the size, at most 1.

        Returns:
          height and width, at most those of the canvas.
        """
        if self.mode == "stretch":
            return canvas
        wanted = fitted = fitted_size(image_size, canvas)
        if self.mode == "short_side":
            wanted = short_side_size(image_size, self.short_side, self.long_side)
        elif self.mode == "zoom":
            wanted = round(image_size[0] * self.zoom), round(image_size[1] * self.zoom)
        fits = wanted[0] <= canvas[0] and wanted[1] <= canvas[1]
        largest = wanted if fits else fitted
        return max(round(largest[0] * scale), 1), max(round(largest[1] * scale), 1)

    def assign(self, sizes: np.ndarray, canvases: Sequence[Size]) -> np.ndarray:
        """The canvas of each image.

        For 'short_side' it is the smallest canvas that holds the image at its size. If there is
        none, it is the canvas that the image fits at the largest scale. For the other modes it is
        the canvas with the nearest aspect ratio.

        Args:
          sizes: `[n, 2]`, height and width of each image.
          canvases: height and width of each canvas.

        Returns:
          int64 `[n]`, positions in `canvases`.
        """
        shapes = np.asarray(canvases, np.float64)
        images = np.asarray(sizes, np.float64).reshape(-1, 2)
        if self.mode != "short_side":
            wanted = np.log(images[:, 0] / images[:, 1])
            return np.abs(wanted[:, None] - np.log(shapes[:, 0] / shapes[:, 1])).argmin(axis=1)
        targets = self._targets(sizes)
        # A canvas that holds the image has a fit of 1. The smallest of those is chosen.
        fits = np.minimum((shapes / targets[:, None]).min(axis=-1), 1.0)
        area = shapes.prod(axis=1)
        best = fits == fits.max(axis=1, keepdims=True)
        return np.where(best, area, np.inf).argmin(axis=1)

    def _targets(self, sizes: np.ndarray) -> np.ndarray:
        """The sizes for 'short_side' regardless of the canvas: float64 `[n, 2]`."""
        unique, inverse = np.unique(np.asarray(sizes), axis=0, return_inverse=True)
        targets = [
            short_side_size((int(height), int(width)), self.short_side, self.long_side)
            for height, width in unique
        ]
        return np.array(targets, np.float64).reshape(-1, 2)[inverse.reshape(-1)]


def padding_share(sizes: np.ndarray, canvases: Sequence[Size], resize: Resize) -> float:
    """Number of padding pixels, as a share of the image pixels.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      canvases: height and width of each canvas.
      resize: how images are scaled.

    Returns:
      0 if the images fill their canvases; 1 if there are as many padding pixels as image pixels.
    """
    unique, counts = np.unique(np.asarray(sizes), axis=0, return_counts=True)
    canvas_of = resize.assign(unique, canvases)
    spent, used = 0, 0
    for size, count, number in zip(unique.tolist(), counts.tolist(), canvas_of, strict=True):
        canvas = canvases[number]
        height, width = resize.size((size[0], size[1]), canvas)
        spent += count * canvas[0] * canvas[1]
        used += count * height * width
    return spent / used - 1


def suggest_canvases(
    sizes: np.ndarray, resize: Resize, count: int, multiple: int = 32
) -> tuple[Size, ...]:
    """The canvases with the least padding, for images resized by their short side.

    Images are sorted by their aspect ratio and split into at most `count` groups. Each group has
    the smallest canvas that holds all of its images. Dynamic programming finds the best split.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      resize: how images are scaled; its mode must be 'short_side'.
      count: the largest number of canvases.
      multiple: the sides of a canvas are multiples of this number.

    Returns:
      at most `count` heights and widths, from the widest to the tallest.

    Raises:
      ValueError: the mode is not 'short_side'; in the other modes the size depends on the canvas.
    """
    if resize.mode != "short_side":
        raise ValueError(
            f"The mode is {resize.mode!r}; canvases can be suggested for 'short_side' only."
        )
    rounded = (np.ceil(resize._targets(sizes) / multiple) * multiple).astype(np.int64)
    shapes, weights = np.unique(rounded, axis=0, return_counts=True)
    order = np.argsort(shapes[:, 0] / shapes[:, 1], kind="stable")
    shapes, weights = shapes[order], weights[order]
    total = len(shapes)
    # best[k][j]: fewest pixels for the first j shapes on k canvases; cut[k][j]: the first shape on
    # the last of those canvases.
    best = np.full((count + 1, total + 1), np.inf)
    best[0, 0] = 0.0
    cut = np.zeros((count + 1, total + 1), np.int64)
    images_before = np.concatenate([[0], np.cumsum(weights)])
    for end in range(1, total + 1):
        # The smallest canvas that holds shapes start..end-1, for every start.
        canvas = np.maximum.accumulate(shapes[:end][::-1], axis=0)[::-1]
        pixels = canvas.prod(axis=1) * (images_before[end] - images_before[:end])
        for used in range(1, count + 1):
            totals = best[used - 1, :end] + pixels
            cut[used, end] = totals.argmin()
            best[used, end] = totals.min()
    used, end = int(best[:, total].argmin()), total
    found: list[Size] = []
    while end > 0:
        start = int(cut[used, end])
        height, width = shapes[start:end].max(axis=0)
        found.append((int(height), int(width)))
        used, end = used - 1, start
    return tuple(reversed(found))
