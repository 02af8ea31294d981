"""Folders of XMLs and of images in a VOC-style data set, whatever its layout."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES

# What the two folders may be called, in small letters: as the devkit's, and else.
_NAMES = {
    "Annotations": (
        ("annotations",),
        ("annotation", "annots", "anns", "labels", "xml", "xmls"),
    ),
    "JPEGImages": (
        ("images", "jpegimages"),
        ("image", "img", "imgs", "jpegs", "jpgs", "photos", "pictures", "pngimages"),
    ),
}
_ROOT = re.compile(rb"<annotation[\s/>]")


@dataclasses.dataclass(frozen=True)
class Parts:
    """Folders in which the XMLs and the images may be.

    Attributes:
      xmls: the folders that may be that of the XMLs.
      images: likewise of the images; the folder itself may be both.
    """

    xmls: tuple[pathlib.Path, ...]
    images: tuple[pathlib.Path, ...]


def parts_of(folder: pathlib.Path) -> Parts:
    """The parts of a folder: subfolders named like the devkit's, or else the folder itself.

    XMLs may also lie among the images, and images among the XMLs.
    """
    named = {part: _named_folders(folder, part) for part in _NAMES}
    xmls = named["Annotations"] or [
        place for place in (folder, *named["JPEGImages"]) if has_files(place, is_xml)
    ]
    images = named["JPEGImages"] or [
        place for place in dict.fromkeys((folder, *xmls)) if has_files(place, is_image)
    ]
    return Parts(tuple(xmls), tuple(images))


def _named_folders(folder: pathlib.Path, part: str) -> list[pathlib.Path]:
    """The subfolders that are named as in the devkit, or else similarly."""
    if (folder / part).is_dir():
        return [folder / part]
    wanted = is_xml if part == "Annotations" else is_image
    usual, rarer = (
        [place for place in subfolders(folder) if place.name.casefold() in names]
        for names in _NAMES[part]
    )
    # A folder that is called so may have something else in it, such as COCO's JSON or YOLO's text.
    for named in (usual, rarer):
        if filled := [place for place in named if has_files(place, wanted, below=True)]:
            return filled
    return usual


def folders_below(root: pathlib.Path) -> list[str]:
    """The names of the folders of a folder that have XMLs and images of their own, sorted."""
    return [place.name for place in subfolders(root) if is_data_set(place)]


def is_data_set(folder: pathlib.Path) -> bool:
    """True if a folder has XMLs of this format where a VOC-style folder has them, and images."""
    parts = parts_of(folder)
    return any(has_annotations(folder, xmls) for xmls in parts.xmls) and (
        bool(parts.images) or has_files(folder, is_image, below=True)
    )


def has_annotations(folder: pathlib.Path, xmls: pathlib.Path) -> bool:
    """True if the XMLs of a folder are in VOC's format, judged by the first of them.

    Args:
      folder: the VOC-style folder; if the XMLs lie in it, those of the folders below do not count.
      xmls: where its XMLs are.
    """
    first = next(iter_files(xmls, is_xml, below=xmls != folder), None)
    if first is None:
        return False
    try:
        with first.open("rb") as file:
            return _ROOT.search(file.read(4096).replace(b"\0", b"")) is not None
    except OSError:
        return False


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The subfolders of a folder, sorted; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".") and name != "__MACOSX"]


def iter_files(
    folder: pathlib.Path, wanted: Callable[[str], bool], *, below: bool
) -> Iterator[pathlib.Path]:
    """The files of a folder with one of these suffixes, in small letters, in a fixed order.

    Args:
      folder: the folder.
      wanted: which suffixes.
      below: whether the folders in it are looked into.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if below and not name.startswith(".") and name != "__MACOSX"
        )
        for name in sorted(names):
            # Beside a file 'x' macOS leaves a '._x' with what it knows about that.
            if not name.startswith(".") and wanted(os.path.splitext(name)[1].lower()):
                yield pathlib.Path(parent, name)


def has_files(folder: pathlib.Path, wanted: Callable[[str], bool], *, below: bool = False) -> bool:
    """True if a folder or its subfolders have files of a suffix."""
    return next(iter_files(folder, wanted, below=below), None) is not None


def is_xml(suffix: str) -> bool:
    """True if a suffix, in small letters, is that of XMLs."""
    return suffix == ".xml"


def is_image(suffix: str) -> bool:
    """True if a suffix, in small letters, is that of images which OpenCV decodes."""
    return suffix in IMAGE_SUFFIXES
