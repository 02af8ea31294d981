"""Detections on a single image, in the style of the sheets."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ioub_jax.plotting.class_colors import RIM, class_color, ink_on
from ioub_jax.plotting.drawing import as_rgb
from ioub_jax.plotting.name_places import free_place
from ioub_jax.printing import printable


def draw_on_image(
    image: np.ndarray,
    boxes: Any,
    labels: Any,
    scores: Any,
    classes: Any,
    *,
    least_side: int = 0,
) -> np.ndarray:
    """The image with boxes, each with the name of its class and its score.

    Colors, rims and names are as in a `contact_sheet`: better detections are drawn on top of
    others and are the first to get a place for their names, and a name that would cover another is
    left out. Lines and letters scale with the image.

    Args:
      image: uint8 `[H, W, channels]`.
      boxes: `[k, 4]` xyxy in pixels of the image, best first.
      labels: `[k]`.
      scores: `[k]`.
      classes: the name of each label.
      least_side: the minimum length of the longer side, in pixels. A smaller image is enlarged by
        a whole factor, so that names are legible.

    Returns:
      uint8 `[H, W, 3]`; both sides are multiplied by the factor.
    """
    image = as_rgb(image)
    factor = max(-(-least_side // max(image.shape[:2])), 1)
    enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image
    canvas = Image.fromarray(np.ascontiguousarray(enlarged))
    pen = ImageDraw.Draw(canvas, "RGBA")
    size = max(11, round(0.018 * max(enlarged.shape[:2])))
    font = ImageFont.load_default(size)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4) * factor
    names = [
        f"{printable(classes[int(label)])} {score:.2f}"
        for label, score in zip(labels, scores, strict=True)
    ]
    places = _places(pen, font, boxes, names, canvas.size)
    for box, label in reversed(list(zip(boxes, labels, strict=True))):
        _outline(pen, box, _rgb(label), max(1, round(size / 6)))
    for place, label, name in zip(places, labels, names, strict=True):
        if place is not None:
            pen.rectangle((*place[:2], *(place[2:] - 1)), fill=_rgb(label))
            left, top, _, _ = pen.textbbox((0, 0), name, font=font)
            corner = (place[0] + 2 - left, place[1] + 2 - top)
            pen.text(corner, name, fill=ink_on(class_color(int(label))), font=font)
    return np.asarray(canvas)


def _rgb(label: Any) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in class_color(int(label))[:3])


def _places(
    pen: ImageDraw.ImageDraw,
    font: Any,
    boxes: np.ndarray,
    names: list[str],
    size: tuple[int, int],
) -> list[np.ndarray | None]:
    """Returns the place of each name or None; the first boxes get their places first."""
    places: list[np.ndarray | None] = []
    for box, name in zip(boxes, names, strict=True):
        left, top, right, bottom = pen.textbbox((0, 0), name, font=font)
        taken = [place for place in places if place is not None]
        places.append(free_place(box, (right - left + 4, bottom - top + 4), size, taken))
    return places


def _outline(pen: ImageDraw.ImageDraw, box: np.ndarray, color: tuple[int, ...], line: int) -> None:
    """Draws the outline of a box; its last pixels are inside its right and lower edge."""
    x0, y0, x1, y1 = box
    corners = np.array([x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)])
    width, height = corners[2:] - corners[:2]
    pen.rectangle(tuple(corners), outline=color, width=line)
    for grown in (-1, line):
        if min(width, height) > 2 * grown:
            rim = corners + grown * np.array([1, 1, -1, -1])
            pen.rectangle(tuple(rim), outline=RIM, width=1)
