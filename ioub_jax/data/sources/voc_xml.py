"""What one XML of the VOC devkit's format says, as it is written."""

import dataclasses
import math
import pathlib
from xml.etree import ElementTree

import numpy as np

from ioub_jax.coco_values import side_of
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.voc_files import SKIP_IMAGE

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclasses.dataclass(frozen=True)
class VocAnnotation:
    """The content of one XML, with n objects.

    Attributes:
      size: height and width of the image; None where it says none, or 0 as LabelImg does.
      filename: its <filename>, '' where there is none.
      corners: float64 `[n, 4]`, xmin, ymin, xmax, ymax as written; NaN where no finite number is.
      names: the class of each object, '' where there is none.
      difficult: the flag of each object.
    """

    size: tuple[int, int] | None
    filename: str
    corners: np.ndarray
    names: tuple[str, ...]
    difficult: tuple[bool, ...]


def read_objects(path: pathlib.Path) -> VocAnnotation:
    """Reads an XML.

    The parts of an object, such as a person's head, have boxes of their own one level deeper, which
    are not read.

    Args:
      path: the file.

    Raises:
      DataError: it cannot be read.
    """
    root = _parse(path)
    objects = root.findall("object")
    corners = [[_number(entry, f"bndbox/{name}") for name in _CORNERS] for entry in objects]
    return VocAnnotation(
        size=_read_size(root, path),
        filename=(root.findtext("filename") or "").strip(),
        corners=np.array(corners, np.float64).reshape(-1, 4),
        names=tuple(" ".join((entry.findtext("name") or "").split()) for entry in objects),
        difficult=tuple((entry.findtext("difficult") or "0").strip() == "1" for entry in objects),
    )


def _parse(path: pathlib.Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file, {SKIP_IMAGE}",
            "broken_annotation",
        ) from error
    # Annotations need no entities; a file that declares some may expand without end.
    if b"<!ENTITY" in data:
        raise DataError(
            f"{path}: declares XML entities; remove them, {SKIP_IMAGE}", "broken_annotation"
        )
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: is broken XML ({error}); repair the file, {SKIP_IMAGE}",
            "broken_annotation",
        ) from error


def _number(element: ElementTree.Element, name: str) -> float:
    """The finite number in a child element; NaN stands for a missing or unreadable one."""
    try:
        value = float(element.findtext(name, default=""))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _read_size(root: ElementTree.Element, path: pathlib.Path) -> tuple[int, int] | None:
    written = [(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    try:
        height, width = (side_of(text) for text in written)
    except ValueError as error:
        raise DataError(
            f"{path}: has the <size> {written[1]!r} x {written[0]!r}; correct or remove it, "
            f"{SKIP_IMAGE}",
            "broken_annotation",
        ) from error
    return None if height is None or width is None else (height, width)
