"""Data sets in the format of COCO's instances_*.json."""

import logging
import pathlib
from collections.abc import Sequence

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.coco_file import Keys, choose_categories, read_categories, read_json
from ioub_jax.data.sources.coco_images import read_images
from ioub_jax.data.sources.coco_objects import read_objects
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.files import FileSource
from ioub_jax.data.sources.image_sizes import upright_sizes

# The share of boxes that stick out of their images above which that is told. Cut objects are fewer.
_MANY = 1 / 3


class CocoSource(FileSource):
    """The images and boxes of a COCO-format instances JSON: COCO's own or anybody's.

    The labels follow the ids of the categories, whatever their order in the file. `area` is the
    annotation's, or the box's where it has none; `iscrowd` becomes `crowd`, and `difficult` and
    `ignored`, which COCO itself does not have, the flags of those names. Segmentations are never
    looked at. A file without 'annotations', such as COCO's image_info_test-dev2017.json, has images
    without objects. Images come in the order of the file.

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
        annotation_file: The JSON, in UTF-8 with or without a byte order mark.
        image_folder: What the file names of the images are relative to.
        classes: Names of categories, in the order of their labels: objects of the other categories
            are no objects then. None or empty for all categories, sorted by id.
        may_lack: Whether the file may lack some of `classes`, as a split for validation may.
        on_error: 'raise' or 'skip'.
        split: 'train', 'val' or 'test': whose keys of the configuration the sentences name.
        exif: 'apply' where images are turned upright as they are read: sizes and boxes are then
            of the upright ones.

    Raises:
        DataError: With one sentence, about the first thing that is wrong: in the categories, then
            the images, then the annotations, each in the order of the file.
        ValueError: If `on_error` is unknown.
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
        problems = Problems(on_error)
        keys = Keys(split)
        path = pathlib.Path(annotation_file).expanduser()
        folder = pathlib.Path(image_folder).expanduser()
        content = read_json(path, keys)
        categories = read_categories(content["categories"], path, keys)
        if may_lack and classes:
            classes = [name for name in classes if name in categories] or classes
        chosen = choose_categories(categories, classes, path)
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder; {keys.check_root} {keys.check_folder}.",
                "folder",
            )
        images = read_images(content, path, folder, keys, problems)
        if exif == "apply":
            images.sizes[:] = upright_sizes(images.paths, images.sizes)
        annotations, other_classes = read_objects(
            content["annotations"],
            images,
            list(categories.values()),
            list(chosen.values()),
            path,
            problems,
        )
        _warn_of_clipping(problems.changes["clipped"], len(annotations.boxes), path)
        census = Census(
            len(content["images"]), len(content["annotations"]), other_classes, problems.changes
        )
        super().__init__(
            annotations,
            images.paths,
            tuple(chosen),
            tuple(chosen.values()),
            problems.found,
            census,
            images.written_ids,
        )


def _warn_of_clipping(clipped: int, boxes: int, path: pathlib.Path) -> None:
    """Tells of boxes that stick out of their images so often that they may be no such boxes."""
    if clipped > _MANY * boxes:
        logging.getLogger(__name__).warning(
            "%s: %d of %d boxes stick out of their images and are clipped; if their numbers are "
            "not x, y, width and height, experiments.check_data tells what they are.",
            path,
            clipped,
            boxes,
        )
