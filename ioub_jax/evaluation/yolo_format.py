"""Detections in YOLO's format, as Ultralytics' `save_txt` with `save_conf` writes them."""

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
      ids: n class ids.
      boxes: n of [x, y, width, height], in pixels of the image.
      scores: n.
      size: height and width of the image; centre and sides are written as shares of them.

    Returns:
      the text, '' for an image without detections.
    """
    height, width = size
    rows = []
    for number, (x, y, w, h), score in zip(ids, boxes, scores, strict=True):
        shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height, score)
        rows.append(" ".join([str(number), *(f"{share:.6f}" for share in shares)]) + "\n")
    return "".join(rows)


def description(names: Mapping[int, str]) -> str:
    """A data.yaml that names the classes.

    Args:
      names: the name of each id.

    Returns:
      the text.
    """
    # A text of JSON is one of YAML, whatever is in it.
    lines = [f"  {number}: {json.dumps(name)}\n" for number, name in names.items()]
    return "".join([f"nc: {len(names)}\n", "names:\n", *lines])
