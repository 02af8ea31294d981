"""Folders of XMLs and of images in a VOC-style data set, whatever its layout."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES

# Possible names of the two folders, in lower case: the usual ones, and rarer ones.
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
      xmls: the folders that may hold the XMLs.
      images: the folders that may hold the images. Both may be the VOC-style folder itself.
    """

    xmls: tuple[pathlib.Path, ...]
    images: tuple[pathlib.Path, ...]


def parts_of(folder: pathlib.Path) -> Parts:
    """Finds the parts of a folder: subfolders named like the devkit's, or the folder itself.

    XMLs may also lie in the folder of the images, and images in that of the XMLs.
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
    """The subfolders with the devkit's name for a part, or else with a similar name."""
    if os.path.isdir(folder / part):
        return [folder / part]
    wanted = is_xml if part == "Annotations" else is_image
    usual, rarer = (
        [place for place in subfolders(folder) if place.name.casefold() in names]
        for names in _NAMES[part]
    )
    # A folder with such a name may hold something else, such as COCO's JSON or YOLO's text files.
    for named in (usual, rarer):
        if filled := [place for place in named if has_files(place, wanted, below=True)]:
            return filled
    return usual


def folders_below(root: pathlib.Path) -> list[str]:
    """The names of the subfolders that are VOC-style folders with XMLs and images, sorted."""
    return [place.name for place in subfolders(root) if is_data_set(place)]


def is_data_set(folder: pathlib.Path) -> bool:
    """True if a folder has XMLs in VOC's format in one of the usual places, and images."""
    parts = parts_of(folder)
    return any(has_annotations(folder, xmls) for xmls in parts.xmls) and (
        bool(parts.images) or has_files(folder, is_image, below=True)
    )


def has_annotations(folder: pathlib.Path, xmls: pathlib.Path) -> bool:
    """True if the XMLs of a folder are in VOC's format, judged by the first of them.

    Args:
      folder: the VOC-style folder.
      xmls: the folder of its XMLs, including subfolders unless it is `folder` itself.
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
    """The visible subfolders of a folder, sorted; empty if the folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".") and name != "__MACOSX"]


def iter_files(
    folder: pathlib.Path, wanted: Callable[[str], bool], *, below: bool
) -> Iterator[pathlib.Path]:
    """Yields the files of a folder with the wanted suffixes, in a fixed order.

    Args:
      folder: the folder.
      wanted: decides by the suffix, in lower case, whether a file is wanted.
      below: whether files in subfolders are included.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if below and not name.startswith(".") and name != "__MACOSX"
        )
        for name in sorted(names):
            # macOS stores the metadata of a file 'x' in '._x' beside it.
            if not name.startswith(".") and wanted(os.path.splitext(name)[1].lower()):
                yield pathlib.Path(parent, name)


def has_files(folder: pathlib.Path, wanted: Callable[[str], bool], *, below: bool = False) -> bool:
    """True if a folder, or with `below` one of its subfolders, has files with a wanted suffix."""
    return next(iter_files(folder, wanted, below=below), None) is not None


def is_xml(suffix: str) -> bool:
    """True if a suffix, in lower case, is that of XMLs."""
    return suffix == ".xml"


def is_image(suffix: str) -> bool:
    """True if a suffix, in lower case, is that of images which OpenCV decodes."""
    return suffix in IMAGE_SUFFIXES
