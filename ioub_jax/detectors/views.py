"""Test-time augmentation: the views of an image, and the maps to and from their pixels.

Everything is on the device and of static shapes, so that all views are one compiled program.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.detectors.detector import Canvas

#: How what is found in the views becomes what is found in the image; see `Views.merge`.
MERGES = ("nms", "weighted_box_fusion")
_LARGEST = 8.0


@dataclasses.dataclass(frozen=True)
class Views:
    """The views of an image at test time; the image itself, at each scale, is one of them.

    Attributes:
      flip: True to detect in the mirrored image as well.
      scales: factors of the usual size of images. The network sees an image on canvases of these
        factors; it is read from the file at the largest one.
      merge: 'nms', the candidates of all views go through the suppression of the detector together,
        or 'weighted_box_fusion' (arXiv 1910.13302) of the detections of each: boxes that few views
        have get lower scores, so scores may be below the detector's threshold.

    Raises:
      ValueError: there is no scale, a repeated one, or one that is not a number above 0 and up to
        8, or no such merge.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    merge: str = "weighted_box_fusion"

    def __post_init__(self) -> None:
        """Refuses values that no view can have."""
        allowed = [isinstance(s, int | float) and 0 < s <= _LARGEST for s in self.scales]
        if not allowed or not all(allowed) or len(set(self.scales)) < len(self.scales):
            raise ValueError(
                f"scales is {self.scales!r}; it must be different numbers above 0 and at most "
                f"{_LARGEST:g}, as (0.8, 1.0, 1.25)."
            )
        if self.merge not in MERGES:
            raise ValueError(f"merge is {self.merge!r}; it must be one of {', '.join(MERGES)}.")

    @property
    def largest(self) -> float:
        """The largest scale, that of the images in a batch."""
        return max(self.scales)

    @property
    def all(self) -> tuple[tuple[float, bool], ...]:
        """Scale, and whether it is mirrored, of every view."""
        return tuple((s, flip) for s in self.scales for flip in (False, True)[: 1 + self.flip])

    def enlarged(self, canvas: Canvas) -> Canvas:
        """The canvas of the largest scale for images on that canvas at scale 1."""
        height, width = (math.ceil(side * self.largest - 1e-6) for side in canvas)
        return height, width

    def canvas(self, largest: Canvas, scale: float) -> Canvas:
        """The canvas of a view.

        Args:
          largest: height and width of the canvas of the largest scale.
          scale: that of the view.
        """
        height, width = (math.ceil(side * scale / self.largest - 1e-6) for side in largest)
        return height, width

    def __str__(self) -> str:
        """One line for people: 'scales 0.8, 1 and mirrored, merged by nms'."""
        scales = ", ".join(f"{scale:g}" for scale in self.scales)
        mirrored = " and mirrored" if self.flip else ""
        return f"scale{'s' * (len(self.scales) > 1)} {scales}{mirrored}, merged by {self.merge}"


def mirrored(images: jax.Array, sizes: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]` mirrored left to right, still in the top left of their canvas.

    Args:
      images: the images, each with padding at its right.
      sizes: `[B, 2]`, whole heights and widths of the images.
    """
    columns = jnp.arange(images.shape[2], dtype=jnp.int32)[None]
    widths = jnp.round(sizes[:, 1:]).astype(jnp.int32)
    sources = jnp.where(columns < widths, widths - 1 - columns, columns)
    return jnp.take_along_axis(images, sources[:, None, :, None], axis=2)


def mirrored_boxes(boxes: jax.Array, sizes: jax.Array) -> jax.Array:
    """Boxes `[B, P, 4]` of mirrored images in pixels of the images of `sizes` `[B, 2]`."""
    widths = jnp.round(sizes[:, 1])[:, None]
    left, top, right, bottom = (boxes[..., edge] for edge in range(4))
    return jnp.stack([widths - right, top, widths - left, bottom], axis=-1)


def scaled(images: jax.Array, canvas: Canvas) -> jax.Array:
    """uint8 images `[B, H, W, C]` with their padding at the size of another canvas.

    Linear interpolation, with antialiasing where they shrink.
    """
    if tuple(images.shape[1:3]) == canvas:
        return images
    shape = (images.shape[0], *canvas, images.shape[3])
    resized = jax.image.resize(images.astype(jnp.float32), shape, "linear", antialias=True)
    return jnp.clip(jnp.round(resized), 0.0, 255.0).astype(jnp.uint8)


def ratio(canvas: Canvas, largest: Canvas) -> np.ndarray:
    """Pixels of a view per pixel of the largest along height and width, float32 `[2]`."""
    return np.array(canvas, np.float32) / np.array(largest, np.float32)
