"""Mistakes of format that a data set's numbers reveal, each explained in a sentence.

Every rule requires two kinds of evidence: that the numbers contradict their format, and that they
agree with another format. The numbers of a data set that is merely careless do only the former.
"""

import dataclasses

import numpy as np

from ioub_jax.data.audit.written_boxes import WrittenBoxes
from ioub_jax.data.sources.voc_pixels import Evidence, decide

# Fewer different boxes than this prove nothing: the same box drawn in every image counts once.
_FEWEST_BOXES = 5
# A few boxes drawn from the lower right corner can look like another layout by chance.
_FEWEST_CORNERS = 12
# Numbers are percentages only if boxes in pixels would lie in their range with at most this
# probability.
_CHANCE = 1e-6
# A layout is refuted if under it at least this share of the boxes, and at least three, leave their
# image. Another layout explains the numbers if under it nearly all boxes stay inside.
_REFUTED, _EXPLAINED, _FEWEST_REFUTED = 0.03, 0.99, 3
# This many boxes begin at 1 only if none can begin at 0.
_FEWEST_ONES = 20
# A box may exceed its image by this many pixels or this share of its side, because of rounding and
# small slips.
_SLACK_PIXELS, _SLACK_SHARE = 2.0, 0.01

_LAYOUTS = {
    "xywh": "[xmin, ymin, width, height]",
    "xyxy": "[xmin, ymin, xmax, ymax]",
    "cxcywh": "[center x, center y, width, height]",
    "yxyx": "[ymin, xmin, ymax, xmax]",
}
_FORMATS = {
    "xywh": "COCO's [x, y, width, height]",
    "xyxy": "VOC's xmin, ymin, xmax, ymax",
    "cxcywh": "YOLO's center x, center y, width, height",
}
_CONVERSIONS = {
    ("xyxy", "xywh"): "width = xmax - xmin and height = ymax - ymin",
    ("cxcywh", "xywh"): "x = center x - width / 2 and y = center y - height / 2",
    ("yxyx", "xywh"): "x = xmin, y = ymin, width = xmax - xmin and height = ymax - ymin",
    ("xywh", "xyxy"): "xmax = xmin + width and ymax = ymin + height",
    ("cxcywh", "xyxy"): "xmin = center x - width / 2, xmax = xmin + width, and so on",
    ("yxyx", "xyxy"): "x and y swapped in both corners",
    ("xyxy", "cxcywh"): "center x = (xmin + xmax) / 2, width = xmax - xmin, and so on",
    ("xywh", "cxcywh"): "center x = xmin + width / 2 and center y = ymin + height / 2",
}


def find_format_mistakes(
    written: WrittenBoxes, pixels: str | None = None, evidence: Evidence | None = None
) -> list[str]:
    """Finds near-certain mistakes of the format.

    Args:
      written: the numbers of the annotation file.
      pixels: how VOC's pixels are read; None for other formats.
      evidence: the evidence of the XMLs for VOC's pixel convention; None for other formats.

    Returns:
      a sentence for each mistake.
    """
    boxes = _distinct(written)
    mistakes = [_normalized(boxes) or _per_cent(boxes) or _layout(boxes), _categories(written)]
    if pixels is not None and evidence is not None and not mistakes[0]:
        mistakes.append(_first_pixel(pixels, evidence))
    return [sentence for sentence in mistakes if sentence]


def find_share_mistakes(written: WrittenBoxes) -> list[str]:
    """Finds mistakes like `find_format_mistakes`, in shares of the image's sides (YOLO)."""
    mistake = _layout(_distinct(written), unit=True)
    return [mistake] if mistake else []


def _distinct(written: WrittenBoxes) -> WrittenBoxes:
    """Each different box once among all images of the same size."""
    rows = np.unique(np.hstack([written.boxes, written.sizes]), axis=0)
    return dataclasses.replace(written, boxes=rows[:, :4], sizes=rows[:, 4:])


def _corners(boxes: np.ndarray, layout: str) -> np.ndarray:
    """`[m, 4]` xyxy of boxes in the given layout."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if layout == "xyxy":
        return boxes
    if layout == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    low = first if layout == "xywh" else first - second / 2
    return np.concatenate([low, low + second], axis=1)


def _inside(written: WrittenBoxes, layout: str, unit: bool = False) -> np.ndarray:
    """Mask of the boxes that, read in a layout, have an area and are inside their image: `[m]`.

    With `unit`, images have height 1 and width 1.
    """
    boxes = _corners(written.boxes, layout)
    size = np.ones((1, 2)) if unit else written.sizes[:, ::-1]
    slack = np.zeros((1, 2)) if unit else np.full((1, 2), _SLACK_PIXELS)
    slack = np.maximum(slack, _SLACK_SHARE * size)
    low, high = boxes[:, :2], boxes[:, 2:]
    inside = (high > low) & (low >= -slack) & (high <= size + slack)
    return np.asarray(inside.all(axis=1))


def _better_layout(written: WrittenBoxes, unit: bool) -> tuple[str, float] | None:
    """The layout that explains the numbers, and the share of boxes that refutes their format's.

    None if the layout of the format is not refuted, or if no other layout explains the numbers.
    """
    outside = ~_inside(written, written.layout, unit)
    # A box without area is a different mistake and refutes no layout.
    outside &= (written.boxes[:, 2:] > 0).all(axis=1)
    if outside.sum() < max(_FEWEST_REFUTED, _REFUTED * len(outside)):
        return None
    for layout in _LAYOUTS:
        if layout != written.layout and _inside(written, layout, unit).mean() >= _EXPLAINED:
            return layout, float(outside.mean())
    return None


def _layout(written: WrittenBoxes, unit: bool = False) -> str | None:
    if len(written.boxes) < (_FEWEST_CORNERS if written.layout == "xyxy" else _FEWEST_BOXES):
        return None
    found = _better_layout(written, unit)
    if found is None:
        return None
    layout, share = found
    return (
        f"Your boxes look like {_LAYOUTS[layout]}: read as {_FORMATS[written.layout]}, "
        f"{_percent(share)} of them {_FAULTS[written.layout]}; read that way, none or hardly any "
        f"do. Convert them with {_CONVERSIONS[layout, written.layout]}."
    )


_FAULTS = {
    "xywh": "leave their image",
    "xyxy": "end before they begin or leave their image",
    "cxcywh": "leave their image",
}


def _normalized(written: WrittenBoxes) -> str | None:
    """A sentence on numbers from 0 to 1 in images of many pixels, where such boxes are rare."""
    boxes = written.boxes
    if len(boxes) < _FEWEST_BOXES or written.sizes.min() < 8:
        return None
    fractions = (boxes != np.round(boxes)).any(axis=1)
    if np.abs(boxes).max() > 1.05 or fractions.mean() < 0.5:
        return None
    found = _better_layout(written, unit=True)
    layout = found[0] if found else written.layout
    conversion = "Multiply x and width by the image's width, y and height by its height"
    if layout != written.layout:
        conversion += f", and convert with {_CONVERSIONS[layout, written.layout]}"
    return (
        f"Your boxes look normalized, {_LAYOUTS[layout]} from 0 to 1: in {len(boxes):,} of them "
        f"no number exceeds {boxes.max():.3g}, with images of up to {written.sizes.max():g} "
        f"pixels. {conversion}."
    )


def _per_cent(written: WrittenBoxes) -> str | None:
    """A sentence on percentages from 0 to 100 in images of many more pixels, as in Label Studio.

    A few boxes in pixels might all lie in the upper left 100 x 100 by chance, but not many.
    """
    boxes, areas = written.boxes, written.sizes.prod(axis=1)
    if len(boxes) < _FEWEST_BOXES or boxes.max() > 100.5 or boxes.min() < -0.5:
        return None
    in_hundredths = dataclasses.replace(written, boxes=boxes / 100)
    found = _better_layout(in_hundredths, unit=True)
    layout = found[0] if found else written.layout
    corners = _corners(boxes, layout)
    reaches = (corners[:, 2:].max(axis=0) > 85).all() and _inside(
        in_hundredths, layout, unit=True
    ).mean() >= _EXPLAINED
    fractions = (boxes != np.round(boxes)).any(axis=1)
    chance = np.log(np.minimum(100.0**2 / areas, 1.0)).sum()
    if not reaches or fractions.mean() < 0.5 or chance > np.log(_CHANCE):
        return None
    conversion = "Multiply x and width by the image's width / 100, y and height by its height / 100"
    if layout != written.layout:
        conversion += f", and convert with {_CONVERSIONS[layout, written.layout]}"
    return (
        f"Your boxes look like percentages of the image, {_LAYOUTS[layout]} from 0 to 100, as "
        f"Label Studio stores them: in {len(boxes):,} of them no number exceeds {boxes.max():.4g}, "
        f"with images of up to {written.sizes.max():g} pixels. {conversion}."
    )


def _categories(written: WrittenBoxes) -> str | None:
    """A sentence on category ids that are off by one, or are positions in the category list."""
    used, listed = written.used_categories, written.listed_categories
    if not used or not listed or used <= listed:
        return None
    span = f"they go from {min(used)} to {max(used)}, the list from {min(listed)} to {max(listed)}"
    if 0 in used and 0 not in listed and {number + 1 for number in used} <= listed:
        return (
            f"Your annotations seem to count categories from 0 and your list from 1: {span}. "
            "Add 1 to every category_id."
        )
    if 0 in listed and 0 not in used and {number - 1 for number in used} <= listed:
        return (
            f"Your annotations seem to count categories from 1 and your list from 0: {span}. "
            "Subtract 1 from every category_id."
        )
    if 0 in used and 0 not in listed and max(used) < len(listed):
        return (
            "Your annotations seem to contain positions in the list of categories instead of ids: "
            f"{span}. Replace every category_id by the id of the category at that position."
        )
    return None


def _first_pixel(pixels: str, evidence: Evidence) -> str | None:
    """A sentence on boxes at the left or upper edge that contradict the convention in use."""
    decision = decide(evidence)
    zeros, ones = evidence.zeros, evidence.ones
    if decision.pixels == pixels:
        return None
    if pixels != "zero_based" and zeros >= _FEWEST_REFUTED and zeros > ones:
        return (
            f"Your boxes look 0-based: {zeros} xmin or ymin are 0 and {ones} are 1, but the "
            f"first pixel is read as 1. Set config.data.voc.pixels='zero_based'."
        )
    if pixels == "zero_based" and ones >= _FEWEST_ONES and not evidence.below:
        return (
            f"Your boxes look 1-based, like VOC's: {ones} xmin or ymin are 1 and none is 0. "
            f"Set config.data.voc.pixels={decision.pixels!r}."
        )
    return None


def find_pixel_doubts(pixels: str, evidence: Evidence) -> list[str]:
    """Finds signs, but no proof, that VOC's corners use another pixel convention.

    Args:
      pixels: how VOC's pixels are read.
      evidence: the evidence of the XMLs for the pixel convention.

    Returns:
      a sentence for each doubt.
    """
    decision = decide(evidence)
    if decision.pixels == pixels:
        return [] if decision.is_certain else [decision.sentence("The XMLs")]
    if not decision.is_certain:
        return []
    return [
        f"Pixels are read as {pixels!r}, although {decision.reason}; if that is intended, set "
        f"config.data.voc.pixels={decision.pixels!r}."
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
