"""Data sets in the format of COCO's instances_*.json."""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Sequence

from ioub_jax.data.checks import DataError, Problems, check_on_error
from ioub_jax.data.sources.coco_document import Document, read_document
from ioub_jax.data.sources.coco_federated import Federated, is_federated, read_federated
from ioub_jax.data.sources.coco_file import (
    Keys,
    check_format,
    choose_categories,
    load_json,
    read_categories,
)
from ioub_jax.data.sources.coco_images import read_images
from ioub_jax.data.sources.coco_index import Contents, load_or_read
from ioub_jax.data.sources.coco_objects import read_objects
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.data.sources.image_sizes import upright_sizes

# If a larger share of the boxes sticks out of their images, a warning says so. Boxes of objects
# that the image border cuts are fewer.
_MANY = 1 / 3


class CocoSource(FileSource):
    """The images and boxes of an instances JSON in COCO's format, COCO's own or any other.

    Labels are numbered in the order of the category ids, whatever the order in the file. `area` is
    the annotation's area, or the area of the box if the annotation has none. `iscrowd` becomes the
    flag `crowd`; `difficult` and `ignored`, which COCO itself does not have, become the flags of
    those names. An annotation without a box gets the box around its polygons, its mask or its
    keypoints; segmentations of annotations with a box are not used. A file without 'annotations',
    such as COCO's image_info_test-dev2017.json, has images without objects. Images have the order
    of the file. A file in LVIS's format, whose images have a `coco_url` and no `file_name`, has
    `federated`; training treats it like any other file.

    Deviations of other tools from the format are read if they have only one possible meaning, and
    are counted in `census`: ids that are strings or floats, file names of other systems
    (`file_names.resolve`), annotation ids used twice, boxes listed twice, boxes with exchanged
    corners, CVAT's rotated boxes (read as the upright box around them) and boxes that leave their
    image (read as the part inside it). If an image id is a name, a number replaces it, and
    `written_ids` has the name. If 'height' or 'width' of an image is missing or 0, they are read
    from the header of its file at once.

    With `on_error='skip'` a bad annotation leaves a region to ignore in its image, and a bad image
    is left out of the data set together with its annotations, each with a `Problem` in `skipped`.
    Faults of the file as a whole and of its categories raise an error in any case.

    Args:
      annotation_file: the JSON, in UTF-8 with or without a byte order mark.
      image_folder: the folder to which the file names of the images are relative.
      classes: names of categories, in the order of their labels; objects of all other categories
        are left out. None or empty for all categories, sorted by id.
      may_lack: whether the file may lack some of `classes`, as a validation split may.
      on_error: 'raise' or 'skip'.
      split: 'train', 'val' or 'test': the split whose configuration keys error messages name.
      exif: 'apply' if images are turned upright as they are read; sizes and boxes then refer to
        the upright images.

    Raises:
      DataError: the file cannot be used. Its sentence is about the first fault: in the categories,
        then the images, then the annotations, each in the order of the file.
      ValueError: `on_error` is unknown.
    """

    def __init__(
        self,
        annotation_file: str | pathlib.Path,
        image_folder: str | pathlib.Path,
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
        split: str = "*",
        *,
        may_lack: bool = False,
        exif: str = "ignore",
    ) -> None:
        check_on_error(on_error)
        opening = _Opening(
            pathlib.Path(annotation_file).expanduser(),
            pathlib.Path(image_folder).expanduser(),
            tuple(classes or ()),
            may_lack,
            on_error,
            split,
            exif,
        )
        contents = opening.contents()
        self._opening, self._is_federated = opening, contents.is_federated
        census = contents.census
        _warn_of_clipping(
            census.changes.get("clipped", 0), len(contents.annotations.boxes), opening.path
        )
        super().__init__(
            contents.annotations,
            contents.paths,
            contents.classes,
            contents.category_ids,
            contents.skipped,
            census,
            contents.written_ids,
        )

    @functools.cached_property
    def federated(self) -> Federated | None:
        """The classes verified in each image, read at the first access; None if unstated."""
        if not self._is_federated:
            return None
        return read_federated(self._opening.path, self._opening.split)


@dataclasses.dataclass(frozen=True)
class _Opening:
    """The parameters of `CocoSource`, with which a file is opened."""

    path: pathlib.Path
    folder: pathlib.Path
    classes: tuple[str, ...]
    may_lack: bool
    on_error: str
    split: str
    exif: str

    def contents(self) -> Contents:
        """The contents of the file, from the index or else read from the file."""
        options = {
            "classes": self.classes,
            "may_lack": self.may_lack,
            "on_error": self.on_error,
            "split": self.split,
            "exif": self.exif,
        }
        return load_or_read(self.path, self.folder, options, self._contents)

    def _contents(self) -> Contents:
        keys = Keys(self.split)
        return read_document(self.path, lambda: load_json(self.path, keys), self._read)

    def _read(self, document: Document) -> Contents:
        keys, problems = Keys(self.split), Problems(self.on_error)
        check_format(document.head, self.path, keys)
        categories = read_categories(document.head["categories"], self.path, keys)
        classes: Sequence[str] = self.classes
        if self.may_lack:
            classes = [name for name in classes if name in categories] or classes
        chosen = choose_categories(categories, classes, self.path)
        if not os.path.isdir(self.folder):
            raise DataError(
                f"{self.folder}: there is no such folder; {keys.check_root} {keys.check_folder}.",
                "folder",
            )
        images = read_images(document, self.path, self.folder, keys, problems)
        if self.exif == "apply":
            sizes = [(height, width) for height, width in images.sizes.tolist()]
            images.sizes[:] = upright_sizes(images.paths, sizes)
        annotations, listed, other_classes = read_objects(
            document.pieces("annotations"),
            images,
            list(categories.values()),
            list(chosen.values()),
            self.path,
            problems,
        )
        return Contents(
            annotations,
            images.paths,
            tuple(chosen),
            tuple(chosen.values()),
            problems.found,
            Census(images.listed, listed, other_classes, problems.changes),
            images.written_ids,
            document.digest,
            None if self.exif == "apply" else images.seen,
            is_federated(document.head),
        )


def _warn_of_clipping(clipped: int, boxes: int, path: pathlib.Path) -> None:
    """Warns if so many boxes stick out of their images that they may be in another layout."""
    if clipped > _MANY * boxes:
        logging.getLogger(__name__).warning(
            "%s: %d of %d boxes stick out of their images and are clipped; if their numbers are "
            "not x, y, width and height, ioub check_data finds out what they are.",
            path,
            clipped,
            boxes,
        )
