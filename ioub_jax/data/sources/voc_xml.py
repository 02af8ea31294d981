"""Contents of one XML in the VOC devkit's format, as written."""

import dataclasses
import math
import pathlib
import re
from xml.etree import ElementTree

import numpy as np

from ioub_jax.coco_values import side_of, upright_corners
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.other_formats import CVAT
from ioub_jax.data.sources.voc_files import SKIP_IMAGE

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NOTHING = (math.nan,) * 4
_POINT = re.compile(r"[xy]\d*")


@dataclasses.dataclass(frozen=True)
class VocAnnotation:
    """The content of one XML, with n objects.

    Attributes:
      size: height and width of the image; None if the XML gives none, or 0 as LabelImg's do.
      filename: the <filename>, '' if there is none.
      corners: float64 `[n, 4]`, xmin, ymin, xmax, ymax as written; NaN for anything other than a
        finite number.
      names: the class of each object, '' if it has none.
      difficult: the flag `difficult` of each object.
      decimals: whether a number of each object's box is written with a decimal point.
      outlined: whether each object has no box but an outline, around which its corners lie.
      rotated: whether each object has a rotated box, around which its corners lie.
      tool: the tool that wrote the XML (`tool_of`).
    """

    size: tuple[int, int] | None
    filename: str
    corners: np.ndarray
    names: tuple[str, ...]
    difficult: tuple[bool, ...]
    decimals: tuple[bool, ...] = ()
    outlined: tuple[bool, ...] = ()
    rotated: tuple[bool, ...] = ()
    tool: str = ""


@dataclasses.dataclass(frozen=True)
class _Box:
    """The box of an object; the attributes are those of `VocAnnotation`."""

    corners: tuple[float, ...]
    decimals: bool = False
    outlined: bool = False
    rotated: bool = False


def read_objects(path: pathlib.Path) -> VocAnnotation:
    """Reads an XML.

    The parts of an object, such as a person's head, have their own boxes one level deeper, which
    are not read. An object without <bndbox> gets the box around its <polygon>, or around its
    <robndbox> (roLabelImg's rotated boxes). Objects that LabelMe marks as deleted are left out.

    Args:
      path: the file.

    Raises:
      DataError: the file cannot be read.
    """
    root = _parse(path)
    objects = [entry for entry in root.findall("object") if entry.findtext("deleted") != "1"]
    if root.tag != "annotation" and not objects:
        is_cvat = root.tag == "annotations" and root.find("image") is not None
        way_out = SKIP_IMAGE.removeprefix("or ")
        raise DataError(
            f"{path}: is not a VOC annotation, its root element is <{root.tag[:40]}>"
            f"{CVAT.hint(way_out) if is_cvat else f'; remove the file, or {way_out}'}",
            "broken_annotation",
        )
    boxes = [_read_box(entry) for entry in objects]
    return VocAnnotation(
        size=_read_size(root, path),
        filename=(root.findtext("filename") or "").strip(),
        corners=np.array([box.corners for box in boxes], np.float64).reshape(-1, 4),
        names=tuple(" ".join((entry.findtext("name") or "").split()) for entry in objects),
        difficult=tuple((entry.findtext("difficult") or "0").strip() == "1" for entry in objects),
        decimals=tuple(box.decimals for box in boxes),
        outlined=tuple(box.outlined for box in boxes),
        rotated=tuple(box.rotated for box in boxes),
        tool=tool_of(root),
    )


def _read_box(entry: ElementTree.Element) -> _Box:
    """The box of an object, or the box around its outline or rotated box if it has that instead."""
    box, outline, turned = (entry.find(name) for name in ("bndbox", "polygon", "robndbox"))
    if box is not None:
        written = [box.findtext(name, default="") for name in _CORNERS]
        return _Box(tuple(map(_number, written)), any("." in text for text in written))
    if outline is not None:
        points = [text for text in outline.itertext() if text.strip()]
        return _Box(_around(outline), any("." in text for text in points), outlined=True)
    if turned is not None:
        return _Box(_around_rotated(turned), rotated=True)
    return _Box(_NOTHING)


def _around(outline: ElementTree.Element) -> tuple[float, ...]:
    """The corners of the box around a polygon, written as <x1><y1>... or LabelMe's <pt><x><y>."""
    points: dict[str, list[float]] = {"x": [], "y": []}
    for element in outline.iter():
        if _POINT.fullmatch(element.tag):
            points[element.tag[0]].append(_number(element.text or ""))
    x, y = points["x"], points["y"]
    if len(x) != len(y) or len(x) < 2:
        return _NOTHING
    corners = np.array([x, y])
    return (*corners.min(axis=1).tolist(), *corners.max(axis=1).tolist())


def _around_rotated(turned: ElementTree.Element) -> tuple[float, ...]:
    """The corners around roLabelImg's box, given by its center, sides and angle in radians."""
    x, y, width, height, angle = (
        _number(turned.findtext(name, default="")) for name in ("cx", "cy", "w", "h", "angle")
    )
    upright = np.array([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])
    return tuple(upright_corners(upright, np.array([math.degrees(angle)]))[0].tolist())


def tool_of(root: ElementTree.Element) -> str:
    """The tool that wrote an XML, recognized by other contents: a key of `voc_pixels.TOOLS`.

    Or 'supervision', whose XMLs look like Roboflow's and whose versions differ in their pixel
    convention; '' for any other tool.
    """
    source = {element.tag: (element.text or "").strip() for element in root.findall("source/*")}
    database = source.get("database", "")
    box = root.find("object/bndbox")
    order = [] if box is None else [element.tag for element in box]
    if root.find("object/polygon/pt") is not None:
        return "LabelMe"
    if root.findtext("owner/name") == "Label Studio":
        return "Label Studio"
    if source.get("annotation", "").startswith("PASCAL VOC"):
        return "the devkit"
    if [source.get(name) for name in ("database", "annotation", "image")] == ["Unknown"] * 3:
        return "datumaro or CVAT"
    if database == "Unspecified":
        return "makesense.ai"
    if database == "roboflow.ai" and root.findtext("folder") == "VOC":
        return "supervision"
    if database == "Unknown" and root.find("path") is not None and order == list(_CORNERS):
        return "LabelImg"
    if root.find("source") is None and order == ["xmin", "xmax", "ymin", "ymax"]:
        return "pylabel"
    if [element.tag for element in root if element.tag != "object"] == ["filename", "size"]:
        return "globox" if root.find("size/depth") is None and _has_bare_objects(root) else ""
    return ""


def _has_bare_objects(root: ElementTree.Element) -> bool:
    """True if objects have only a name and a box, and the box is written as Python floats."""
    objects = root.findall("object")
    return all([part.tag for part in entry] == ["name", "bndbox"] for entry in objects) and all(
        "." in (number.text or "") for number in root.findall("object/bndbox/*")
    )


def _parse(path: pathlib.Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file, {SKIP_IMAGE}",
            "broken_annotation",
        ) from error
    # Annotations need no entities, and a file that declares some may expand to any size.
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


def _number(text: str) -> float:
    """The finite number in a text; NaN for a missing or unreadable one."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _read_size(root: ElementTree.Element, path: pathlib.Path) -> tuple[int, int] | None:
    written = [
        (root.findtext(f"size/{side}") or root.findtext(f"imagesize/{of_labelme}") or "").strip()
        for side, of_labelme in (("height", "nrows"), ("width", "ncols"))
    ]
    try:
        height, width = (side_of(text) for text in written)
    except ValueError as error:
        raise DataError(
            f"{path}: has the <size> {written[1]!r} x {written[0]!r}; correct or remove it, "
            f"{SKIP_IMAGE}",
            "broken_annotation",
        ) from error
    return None if height is None or width is None else (height, width)
