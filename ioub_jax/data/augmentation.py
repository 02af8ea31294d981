"""What happens to a training example between its file and its batch."""

import dataclasses

import numpy as np

from ioub_jax.data import ssd_transforms, transforms
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

    Raises:
      ValueError: a value is out of its range.
    """

    photometric_distortion: bool = False
    expand_ratio: float = 1.0
    minimum_iou_crop: bool = False
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    scale_jitter: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a probability, 0 to 1.")
        if self.expand_ratio < 1:
            raise ValueError(f"expand_ratio is {self.expand_ratio}; it must be at least 1.")
        if len(self.scale_jitter) != 2 or not 0 < self.scale_jitter[0] <= self.scale_jitter[1]:
            raise ValueError(
                f"scale_jitter is {self.scale_jitter}; it must be two factors above 0, the smaller "
                "one first."
            )

    @property
    def largest_zoom(self) -> float | None:
        """By how much a part may be enlarged beyond the size of the whole; None if unknown."""
        return None if self.minimum_iou_crop else max(self.scale_jitter[1], 1.0)

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
        photometric, expand, crop, jitter = rng.spawn(4)
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
        assert example.image is not None
        canvas: Size = out.shape[:2]
        size = resize.size(example.image.shape[:2], canvas, scale)
        if self.scale_jitter == (1.0, 1.0):
            return transforms.resize(example, size, out)
        return transforms.scale_jitter(
            example, jitter, size=size, canvas=canvas, limits=self.scale_jitter, out=out
        )
