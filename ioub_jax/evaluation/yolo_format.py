"""Detections in YOLO's format, as written by Ultralytics' `save_txt` with `save_conf`."""

import json
from collections.abc import Iterable, Mapping, Sequence


def label_text(
    ids: Iterable[int],
    boxes: Iterable[Sequence[float]],
    scores: Iterable[float],
    size: tuple[int, int],
) -> str:
    """Text of an image's label file: a row `class cx cy w h confidence` for each detection.

    Args:
      ids: the class id of each detection.
      boxes: the box [x, y, width, height] of each detection, in pixels of the image.
      scores: the score of each detection.
      size: height and width of the image; centers and sides of boxes are written as shares of them.

    Returns:
      the text; '' for an image without detections.
    """
    height, width = size
    rows = []
    for number, (x, y, w, h), score in zip(ids, boxes, scores, strict=True):
        shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height, score)
        rows.append(" ".join([str(number), *(f"{share:.6f}" for share in shares)]) + "\n")
    return "".join(rows)


def description(names: Mapping[int, str]) -> str:
    """Text of a data.yaml that names the classes.

    Args:
      names: the name of each class id.

    Returns:
      the text.
    """
    # A string in JSON is also valid in YAML, except for JSON's pairs of escapes of one character.
    lines = [
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in names.items()
    ]
    return "".join([f"nc: {len(names)}\n", "names:\n", *lines])
