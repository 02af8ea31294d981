"""Pictures of a training's detections in its validation images."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ioub_jax import plotting
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.chosen_images import evenly
from ioub_jax.data.sources.example import Source, select_objects
from ioub_jax.data.sources.tiles import whole_of

# A sheet cannot show more pixels of an image.
_SIDES = (480, 480)


def detections_sheet(
    source: Source, results: Sequence[Mapping[str, Any]], count: int, title: str
) -> bytes:
    """A sheet of images with their ground truth and detections.

    Args:
      source: the images, or tiles of them. The drawn images are spread evenly over the source and
        are the same at every step.
      results: the detections in all images, one COCO result dict each.
      count: the number of images to draw.
      title: the line above the sheet.

    Returns:
      A JPEG file.
    """
    source = whole_of(source)
    labels = {category: label for label, category in enumerate(source.category_ids)}
    images, truths, found = [], [], []
    for index in evenly(np.arange(len(source)), count).tolist():
        try:
            example = source.load(index, _SIDES)
        except DataError:  # `on_error='skip'` has already reported it
            continue
        image = np.asarray(example.image)
        seen = select_objects(example, ~example.ignored)
        scale = image.shape[0] / source.sizes[index][0]
        image_id = source.written_ids.get(example.image_id, example.image_id)
        of_image = [result for result in results if result["image_id"] == image_id]
        images.append(image)
        truths.append((seen.boxes, seen.labels))
        found.append(_arrays(of_image, labels, scale))
    sheet = io.BytesIO()
    plotting.contact_sheet(sheet, images, truths, found, source.classes, title=title)
    packed = io.BytesIO()
    Image.open(sheet).convert("RGB").save(packed, format="JPEG", quality=88)
    return packed.getvalue()


def _arrays(
    results: Sequence[Mapping[str, Any]], labels: Mapping[int | str, int], scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes xyxy in pixels of the drawn image, labels and scores."""
    xywh = np.array([result["bbox"] for result in results], np.float64).reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1) * scale
    scores = np.array([result["score"] for result in results], np.float64)
    return boxes, np.array([labels[result["category_id"]] for result in results], int), scores
