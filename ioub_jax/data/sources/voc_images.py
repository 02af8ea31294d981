"""Images of VOC-style folders with the contents of their XMLs, before interpretation."""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.image_sizes import read_size
from ioub_jax.data.sources.voc_files import SKIP_IMAGE, Entry, VocFolder
from ioub_jax.data.sources.voc_xml import VocAnnotation, read_objects

_log = logging.getLogger(__name__)

#: Treatments of an image without XML: as a problem, or as an image without objects.
UNANNOTATED = ("problem", "empty")
#: The content of a missing XML.
NO_OBJECTS = VocAnnotation(None, "", np.zeros((0, 4)), (), ())
# Tools that write no XML for an image without objects.
_WRITE_NO_EMPTY = ("Label Studio", "datumaro or CVAT")


@dataclasses.dataclass(frozen=True)
class VocImage:
    """A usable image.

    Attributes:
      image_id: position of the image in the lists of all folders, from 1.
      path: the image file.
      xml: the XML of the image, None if it has none.
      size: height and width of the image.
      content: the content of the XML.
    """

    image_id: int
    path: pathlib.Path
    xml: pathlib.Path | None
    size: tuple[int, int]
    content: VocAnnotation


def read_images(
    listed: Sequence[tuple[VocFolder, Entry]], unannotated: str | None, problems: Problems
) -> tuple[list[VocImage], Census]:
    """Parses the XMLs of the listed images and finds the image files.

    Args:
      listed: the images of all folders, in the order of their lists.
      unannotated: one of `UNANNOTATED`, or None to decide by the tool that wrote the XMLs.
      problems: handles the faults and counts the corrections.

    Returns:
      the usable images, and the numbers of all listed images and boxes.

    Raises:
      DataError: under 'raise', about the first image that cannot be used.
    """
    found: list[VocImage] = []
    owners: dict[pathlib.Path, Entry] = {}
    without: list[pathlib.Path] = []
    are_empty: bool | None = None
    images, boxes = len(listed), 0
    # Entries with an XML come first: an XML may refer to an image with another name, for which
    # there is an entry that seems to have no XML.
    for position in sorted(
        range(len(listed)), key=lambda position: listed[position][1].xml is None
    ):
        folder, entry = listed[position]
        try:
            content = NO_OBJECTS if entry.xml is None else read_objects(entry.xml)
            boxes += len(content.names)
            image = folder.choose_image(entry, content.filename, problems)
            if entry.xml is None and image in owners and owners[image].xml is not None:
                images -= 1
                continue
            if image in owners:
                raise _shared_image(image, entry, owners[image].name, len(content.names))
            owners[image] = entry
            if entry.xml is None:
                if are_empty is None:
                    are_empty = _are_empty(unannotated, found)
                if not are_empty:
                    without.append(image)
                    continue
            size = content.size or read_size(image)
        except DataError as error:
            problems.add_error(error)
            continue
        found.append(VocImage(position + 1, image, entry.xml, size, content))
    if without:
        problems.add("missing_annotation", _no_xml(without, images), len(without))
    found.sort(key=lambda image: image.image_id)
    return found, Census(images, boxes, changes=problems.changes)


def _are_empty(unannotated: str | None, annotated: Sequence[VocImage]) -> bool:
    """True if images without XML have no objects; logs a decision that was not configured.

    Args:
      unannotated: as for `read_images`.
      annotated: the images that have XMLs.
    """
    if unannotated is not None:
        return unannotated == "empty"
    tools = collections.Counter(image.content.tool for image in annotated)
    tool = next(iter(tools.most_common(1)), ("", 0))[0]
    if tool not in _WRITE_NO_EMPTY or not all(image.content.names for image in annotated):
        return False
    _log.info(
        "Images without XML are read as images without objects, since %s writes none for them "
        "(config.data.voc.unannotated=empty).",
        tool,
    )
    return True


def _shared_image(image: pathlib.Path, entry: Entry, owner: str, boxes: int) -> DataError:
    what = repr(entry.name) if entry.xml is None else entry.xml.name
    if boxes:
        what += f", whose {boxes} box{'es' * (boxes > 1)} would go with it"
    return DataError(
        f"{image}: is the image of {owner!r} and of {what}; keep one of them, {SKIP_IMAGE}",
        "duplicate_image",
    )


def _no_xml(images: Sequence[pathlib.Path], listed: int) -> str:
    have = "has" if len(images) == 1 else "have"
    leave = "image" if len(images) == 1 else "images"
    return (
        f"{images[0]}: has no XML ({len(images):,} of {listed:,} images {have} none); add what is "
        "missing, set --config.data.voc.unannotated=empty if they show no objects, or set "
        f"config.data.on_error='skip' to leave the {leave} out."
    )
