"""Detections on a single image, at the image's own size."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ioub_jax.plotting.drawing import as_rgb
from ioub_jax.plotting.sheets import class_color
from ioub_jax.printing import printable

_LIGHT = 0.6  # luminance from which black is easier to read than white


def draw_on_image(
    image: np.ndarray, boxes: Any, labels: Any, scores: Any, classes: Any
) -> np.ndarray:
    """The image with boxes, each with its class's name and score.

    The best detection is drawn last, on top of the others. Lines and letters grow with the image.

    Args:
      image: uint8 `[H, W, channels]`.
      boxes: `[k, 4]` xyxy in pixels of the image, best first.
      labels: `[k]`.
      scores: `[k]`.
      classes: the name of each label.

    Returns:
      uint8 `[H, W, 3]`.
    """
    canvas = Image.fromarray(np.ascontiguousarray(as_rgb(image)))
    pen = ImageDraw.Draw(canvas)
    size = max(11, round(0.018 * max(image.shape[:2])))
    font = ImageFont.load_default(size)
    line = max(1, round(size / 6))
    for box, label, score in reversed(list(zip(boxes, labels, scores, strict=True))):
        color = tuple(round(255 * part) for part in class_color(int(label))[:3])
        x0, y0, x1, y1 = (float(edge) for edge in box)
        # The last pixel of an outline is drawn too; boxes end before theirs.
        corners = (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))
        pen.rectangle(corners, outline=color, width=line)
        text = f"{printable(classes[int(label)])} {score:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 4, bottom - top + 4
        x = min(max(x0, 0), max(canvas.width - width, 0))
        y = y0 - height if y0 >= height else y0
        pen.rectangle((x, y, x + width, y + height), fill=color)
        luminance = np.dot(color, (0.299, 0.587, 0.114)) / 255
        ink = "black" if luminance > _LIGHT else "white"
        pen.text((x + 2 - left, y + 2 - top), text, fill=ink, font=font)
    return np.asarray(canvas)
