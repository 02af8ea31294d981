"""Folders of images with YOLO label files, as Ultralytics, Roboflow and darknet write them."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.corners import find_repeated, judge_boxes
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.data.sources.image_sizes import upright_sizes
from ioub_jax.data.sources.regions import ignored_regions
from ioub_jax.data.sources.yolo_classes import (
    are_counted_from_1,
    choose_classes,
    describe_unknown,
)
from ioub_jax.data.sources.yolo_files import YoloFiles, read_files
from ioub_jax.data.sources.yolo_layout import open_layout

_log = logging.getLogger(__name__)
# If a larger share of the boxes sticks out of their images, a warning says so. Boxes of objects
# that the image border cuts are fewer.
_MANY = 1 / 3
_SKIP_BOX = "or set config.data.on_error='skip' to leave the box out."
# Numbers up to this are taken for percentages if images are larger and enough rows have them.
_PER_CENT, _FEWEST = 100.5, 5


class YoloSource(FileSource):
    """Images and boxes of one split of a data set in YOLO's format, whichever tool wrote it.

    `yolo_layout.find` finds the parts of the data set: a data.yaml or obj.data with the splits and
    the names of the classes, or only folders. If the folder of an image is in `images`, its label
    file is in the corresponding folder in `labels`, otherwise beside it. An image without a label
    file is background, as is one whose label file is empty. Every label file and the header of
    every image are read once, at construction; images are decoded on access.

    A row is `class cx cy w h` in fractions of the image's sides, or `class x1 y1 x2 y2 ...`, which
    is read as the box around the points (`yolo_rows.RowReader`). A box that sticks out of its image
    is clipped, and rows of the same class with the same box in an image are read once; `census`
    counts both. Labels have the order of the class ids, and `category_ids` are these ids.
    `image_id` is the position in the split, from 1; it does not depend on which images are skipped.

    With `on_error='skip'` a bad row becomes a region to ignore and a bad image is left out of the
    data set, each with a `Problem` in `skipped`.

    Args:
      root: the folder of the data set, or its data.yaml or obj.data.
      split: 'train', 'val' or 'test'; 'all' for all images in the data set; or a folder or a list
        of images, relative to the data set's folder.
      classes: names of the classes to learn, in the order of their labels; objects of all other
        classes are left out. None or empty for all classes. If no file names the classes, these
        are the names of the ids 0, 1, ...
      on_error: 'raise' or 'skip'.
      may_lack: whether the data set may lack some of `classes`, as a validation split may.
      exif: 'apply' if images are turned upright as they are read; sizes and boxes then refer to
        the upright images.

    Raises:
      ValueError: `on_error` is unknown.
      DataError: a folder or a file cannot be used.
    """

    def __init__(
        self,
        root: str | pathlib.Path,
        split: str = "train",
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
        *,
        may_lack: bool = False,
        exif: str = "ignore",
    ) -> None:
        problems = Problems(on_error)
        layout = open_layout(root)
        files = read_files(layout, split, problems)
        if exif == "apply":
            files = _turned_upright(files)
        where = layout.names_file or layout.folder
        names, chosen = choose_classes(
            layout.names, files.used_classes, tuple(classes or ()), where, may_lack=may_lack
        )
        objects = _Objects(files, names, where, problems)
        annotations, other_classes = objects.annotations(chosen)
        _warn_of_clipping(problems.changes["clipped"], len(annotations.boxes), layout.folder)
        super().__init__(
            annotations,
            [image.path for image in files.images],
            tuple(chosen.values()),
            tuple(chosen),
            problems.found,
            Census(files.listed_images, files.listed_boxes, other_classes, problems.changes),
        )
        self._label_files = [image.label_file for image in files.images]

    def annotation_file(self, index: int) -> pathlib.Path | None:
        """The label file of image `index`, or None if it has none."""
        label_file = self._label_files[index]
        return None if label_file is None else pathlib.Path(label_file)

    def select(self, images: np.ndarray) -> Self:
        """The same data set with some of its images only, in the order of `images`."""
        chosen = super().select(images)
        chosen._label_files = [self._label_files[index] for index in images]
        return chosen


def _warn_of_clipping(clipped: int, boxes: int, folder: pathlib.Path) -> None:
    """Warns if so many boxes stick out of their images that they may be in another layout."""
    if clipped > _MANY * boxes:
        _log.warning(
            "%s: %d of %d boxes stick out of their images and are clipped; if their numbers are "
            "not the center, width and height, ioub check_data finds out what they are.",
            folder,
            clipped,
            boxes,
        )


def _turned_upright(files: YoloFiles) -> YoloFiles:
    """The images with their sizes after they are turned upright."""
    images = files.images
    sizes = upright_sizes([image.path for image in images], [image.size for image in images])
    upright = [
        dataclasses.replace(image, size=size) for image, size in zip(images, sizes, strict=True)
    ]
    return dataclasses.replace(files, images=upright)


class _Objects:
    """Conversion of the rows of a split to objects in pixels.

    Args:
      files: the images and rows.
      names: the name of each class id.
      where: the file with the names.
      problems: handles rows that cannot be used and counts corrections.
    """

    def __init__(
        self,
        files: YoloFiles,
        names: Mapping[int, str],
        where: pathlib.Path,
        problems: Problems,
    ) -> None:
        self._images = files.images
        self._rows = files.rows
        self._names = names
        self._where = where
        self._problems = problems
        self._sizes = np.array([image.size for image in files.images], np.int64).reshape(-1, 2)
        self._row_sizes = self._sizes[files.rows.owners]
        self._corners = files.rows.corners * np.tile(self._row_sizes[:, ::-1], 2)

    def annotations(self, chosen: Mapping[int, str]) -> tuple[Annotations, int]:
        """The objects of the chosen classes, and the number of those of other classes."""
        classes, problems = self._rows.classes, self._problems
        label_of = {number: label for label, number in enumerate(chosen)}
        labels = np.array([label_of.get(number, -1) for number in classes.tolist()], np.int32)
        is_named = np.isin(classes, list(self._names))
        is_other = is_named & (labels < 0)
        self._tell_rows([index for index in self._rows.faults if not is_other[index]])
        self._tell_unknown(~is_named & (classes >= 0))
        judged = judge_boxes(self._corners, self._row_sizes)
        for kind in _FAULTS:
            for index in np.flatnonzero(judged.faults[kind] & (labels >= 0)).tolist():
                problems.add(kind, self._describe_fault(kind, index))
        is_ignored = judged.is_faulty | (labels < 0)
        repeated = find_repeated(self._rows.owners, labels, judged.ordered) & ~is_ignored
        is_kept = ~is_ignored & ~repeated
        problems.note("repeated", repeated.sum())
        problems.note("exchanged", (judged.exchanged & is_kept).sum())
        problems.note("clipped", (judged.clipped & is_kept).sum())
        regions = ignored_regions(self._corners, self._row_sizes)
        boxes = np.where(judged.is_faulty[:, None], regions, judged.boxes)
        listed = np.flatnonzero(~repeated & ~is_other)
        return self._collect(listed, boxes, labels, is_ignored), int(is_other.sum())

    def _collect(
        self, rows: np.ndarray, boxes: np.ndarray, labels: np.ndarray, is_ignored: np.ndarray
    ) -> Annotations:
        """The annotations of some rows."""
        counts = np.bincount(self._rows.owners[rows], minlength=len(self._images))
        none = np.zeros(len(rows), bool)
        return Annotations(
            np.array([image.image_id for image in self._images], np.int64),
            self._sizes,
            np.concatenate([[0], np.cumsum(counts)]),
            boxes=boxes[rows],
            labels=labels[rows],
            crowd=none,
            difficult=none.copy(),
            ignored=is_ignored[rows],
            area=(boxes[rows, 2:] - boxes[rows, :2]).prod(axis=1),
        )

    def _place(self, index: int) -> str:
        """The label file and the line of a row."""
        image = self._images[self._rows.owners[index]]
        return f"{image.label_file}:{self._rows.lines[index]}"

    def _tell_rows(self, indices: Sequence[int]) -> None:
        """Reports rows that cannot be read; rows with too large numbers share one sentence."""
        faults = self._rows.faults
        for index in indices:
            if words := faults[index].words:
                sentence = f"{self._place(index)}: {faults[index].row} {words}, {_SKIP_BOX}"
                self._problems.add(faults[index].kind, sentence)
        large = [index for index in indices if not faults[index].words]
        if not large:
            return
        first, total = faults[large[0]], len(self._rows.lines)
        height, width = self._row_sizes[large[0]]
        advice = (
            "if they are pixels, divide x and width by the image's width, y and height by its "
            "height"
        )
        largest = max(faults[index].largest for index in large)
        if largest <= _PER_CENT < self._row_sizes[large].max() and len(large) >= _FEWEST:
            advice = "if they are percentages, divide them by 100"
        have = "has such a number" if len(large) == 1 else "have such numbers"
        self._problems.add(
            "bad_box",
            f"{self._place(large[0])}: {first.row} has {first.largest:g}, which is not a share of "
            f"a side of its image of {width}x{height} ({len(large):,} of {total:,} "
            f"{'row' if total == 1 else 'rows'} {have}); {advice}, {_skip_boxes(len(large))}",
            len(large),
        )

    def _tell_unknown(self, is_unknown: np.ndarray) -> None:
        """Reports all rows whose class has no name in one sentence."""
        faults = self._rows.faults
        indices = [index for index in np.flatnonzero(is_unknown).tolist() if index not in faults]
        if not indices:
            return
        classes = self._rows.classes
        told = describe_unknown(classes[indices].tolist(), self._names, self._where)
        told = f"{self._place(indices[0])}: {told}"
        if are_counted_from_1(classes[classes >= 0].tolist(), self._names):
            # If only the rows without a class were left out, all others would have wrong names.
            raise DataError(
                f"{told}; the ids seem to be counted from 1: subtract 1 from each.",
                "unknown_category",
            )
        self._problems.add(
            "unknown_category",
            f"{told}; name it there or correct the row, {_skip_boxes(len(indices))}",
            len(indices),
        )

    def _describe_fault(self, kind: str, index: int) -> str:
        """A sentence on the fault of a row's box."""
        corners = ", ".join(f"{value:.7g}" for value in self._corners[index])
        height, width = self._row_sizes[index]
        name = self._names[int(self._rows.classes[index])]
        return (
            f"{self._place(index)}: the box ({name}; {corners} in pixels) "
            f"{_FAULTS[kind].format(width=width, height=height)}, {_SKIP_BOX}"
        )


_FAULTS = {
    "no_area": "has no area; repair or delete the row",
    "outside": "is outside its image of {width}x{height}; repair or delete the row",
}


def _skip_boxes(count: int) -> str:
    return _SKIP_BOX if count == 1 else _SKIP_BOX.replace("the box", "the boxes")
