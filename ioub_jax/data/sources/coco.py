"""Data sets in the format of COCO's instances_*.json."""

import dataclasses
import functools
import logging
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

# The share of boxes that stick out of their images above which that is told. Cut objects are fewer.
_MANY = 1 / 3


class CocoSource(FileSource):
    """The images and boxes of an instances JSON in COCO's format, COCO's own or any other.

    The labels follow the ids of the categories, whatever their order in the file. `area` is the
    annotation's, or the box's where it has none; `iscrowd` becomes `crowd`, and `difficult` and
    `ignored`, which COCO itself does not have, the flags of those names. An annotation without a
    box has the one around its polygons, its mask or its keypoints; other segmentations are never
    looked at. A file without 'annotations', such as COCO's image_info_test-dev2017.json, has images
    without objects. Images come in the order of the file. One in LVIS's format, whose images have a
    `coco_url` and no `file_name`, has `federated`; to a training it is as any other.

    What other tools write is read as the one thing that it can mean, and counted in `census`: ids
    that are strings or floats, file names of other systems (`file_names.resolve`), ids of
    annotations used twice, boxes listed twice, boxes whose corners are exchanged, CVAT's rotated
    boxes (as the upright box around them) and boxes that leave their image (as the part inside). An
    image id that is a name gets a number; `written_ids` has the name. An image without 'height' or
    'width', or with 0, gets them from the header of its file, read here.

    With `on_error='skip'` a bad annotation leaves a region to ignore in its image, and a bad image
    is left out of the data set (with its annotations), each with a `Problem` in `skipped`. What is
    wrong with the file as a whole or with its categories raises either way.

    Args:
      annotation_file: the JSON, in UTF-8 with or without a byte order mark.
      image_folder: what the file names of the images are relative to.
      classes: names of categories, in the order of their labels: objects of the other categories
        are no objects then. None or empty for all categories, sorted by id.
      may_lack: whether the file may lack some of `classes`, as a split for validation may.
      on_error: 'raise' or 'skip'.
      split: 'train', 'val' or 'test': whose keys of the configuration the sentences name.
      exif: 'apply' where images are turned upright as they are read: sizes and boxes are then
        of the upright ones.

    Raises:
      DataError: with one sentence, about the first thing that is wrong: in the categories, then
        the images, then the annotations, each in the order of the file.
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
    """Parameters with which a file is opened, as `CocoSource` takes them."""

    path: pathlib.Path
    folder: pathlib.Path
    classes: tuple[str, ...]
    may_lack: bool
    on_error: str
    split: str
    exif: str

    def contents(self) -> Contents:
        """The contents of the file, read or from the index."""
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
        if not self.folder.is_dir():
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
