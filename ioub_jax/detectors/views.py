"""Test-time augmentation: the views of an image, and the maps to and from their pixels.

All functions run on the device with static shapes, so that all views are one compiled program.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.detectors.detector import Canvas

#: The methods that merge the detections of the views; see `Views.merge`.
MERGES = ("nms", "weighted_box_fusion")
_LARGEST = 8.0


@dataclasses.dataclass(frozen=True)
class Views:
    """The views of an image at test time, which include the unmirrored image at each scale.

    Attributes:
      flip: True to detect in the mirrored image as well.
      scales: factors of the usual size of images. The network sees an image on canvases scaled by
        these factors; the image is read from its file at the largest one.
      merge: 'nms' for the detector's suppression among the candidates of all views together, or
        'weighted_box_fusion' (arXiv 1910.13302) of the detections of each view. With fusion, boxes
        in few views get lower scores, so scores may be below the detector's threshold.

    Raises:
      ValueError: there are no scales, repeated ones, or one that is not a number above 0 and at
        most 8; or there is no such merge.
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
                f"{_LARGEST:g}, such as (0.8, 1.0, 1.25)."
            )
        if self.merge not in MERGES:
            raise ValueError(f"merge is {self.merge!r}; it must be one of {', '.join(MERGES)}.")

    @property
    def largest(self) -> float:
        """The largest scale, which the images in a batch have."""
        return max(self.scales)

    @property
    def all(self) -> tuple[tuple[float, bool], ...]:
        """The scale of every view, and whether it is mirrored."""
        return tuple((s, flip) for s in self.scales for flip in (False, True)[: 1 + self.flip])

    def enlarged(self, canvas: Canvas) -> Canvas:
        """The canvas at the largest scale, from the canvas at scale 1."""
        height, width = (math.ceil(side * self.largest - 1e-6) for side in canvas)
        return height, width

    def canvas(self, largest: Canvas, scale: float) -> Canvas:
        """The canvas of a view.

        Args:
          largest: height and width of the canvas of the largest scale.
          scale: the scale of the view.
        """
        height, width = (math.ceil(side * scale / self.largest - 1e-6) for side in largest)
        return height, width

    def __str__(self) -> str:
        """One line for the user: 'scales 0.8, 1 and mirrored, merged by nms'."""
        scales = ", ".join(f"{scale:g}" for scale in self.scales)
        mirrored = " and mirrored" if self.flip else ""
        return f"scale{'s' * (len(self.scales) > 1)} {scales}{mirrored}, merged by {self.merge}"


def mirrored(images: jax.Array, sizes: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]` mirrored left to right, still in the top left of their canvas.

    Args:
      images: the images, each padded on the right.
      sizes: `[B, 2]`, the integer heights and widths of the images.
    """
    columns = jnp.arange(images.shape[2], dtype=jnp.int32)[None]
    widths = jnp.round(sizes[:, 1:]).astype(jnp.int32)
    sources = jnp.where(columns < widths, widths - 1 - columns, columns)
    return jnp.take_along_axis(images, sources[:, None, :, None], axis=2)


def mirrored_boxes(boxes: jax.Array, sizes: jax.Array) -> jax.Array:
    """Boxes `[B, P, 4]` in mirrored images, mapped back to the images of `sizes` `[B, 2]`."""
    widths = jnp.round(sizes[:, 1])[:, None]
    left, top, right, bottom = (boxes[..., edge] for edge in range(4))
    return jnp.stack([widths - right, top, widths - left, bottom], axis=-1)


def scaled(images: jax.Array, canvas: Canvas) -> jax.Array:
    """uint8 images `[B, H, W, C]` with their padding, resized to another canvas.

    The interpolation is linear, with antialiasing if images shrink.
    """
    if tuple(images.shape[1:3]) == canvas:
        return images
    shape = (images.shape[0], *canvas, images.shape[3])
    resized = jax.image.resize(images.astype(jnp.float32), shape, "linear", antialias=True)
    return jnp.clip(jnp.round(resized), 0.0, 255.0).astype(jnp.uint8)


def ratio(canvas: Canvas, largest: Canvas) -> np.ndarray:
    """Pixels of a view per pixel of the largest view, along height and width, float32 `[2]`."""
    return np.array(canvas, np.float32) / np.array(largest, np.float32)
