"""The images and label files of one split of a YOLO data set, each read once."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.image_sizes import read_size
from ioub_jax.data.sources.text_files import read_text
from ioub_jax.data.sources.yolo_images import SplitImages
from ioub_jax.data.sources.yolo_labels import LabelFolders
from ioub_jax.data.sources.yolo_layout import YoloLayout
from ioub_jax.data.sources.yolo_rows import RowReader, Rows

_log = logging.getLogger(__name__)
_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."
_WAY_OUT = f"repair the file, {_SKIP_IMAGE}".removesuffix(".")


@dataclasses.dataclass(frozen=True)
class YoloImage:
    """A usable image.

    Attributes:
      image_id: position of the image in the split, from 1.
      path: the image file.
      label_file: the label file, None if the image has none.
      size: height and width of the image.
    """

    image_id: int
    path: str
    label_file: str | None
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class YoloFiles:
    """Contents of a split's files.

    Attributes:
      images: the usable images.
      rows: the rows of their label files, in the order of the images; the owner of a row is the
        position of its image.
      listed_images: number of all images, including unusable ones.
      listed_boxes: number of all rows, including those of unusable images.
    """

    images: list[YoloImage]
    rows: Rows
    listed_images: int
    listed_boxes: int

    @property
    def used_classes(self) -> list[int]:
        """The class ids that occur in rows, sorted."""
        classes: list[int] = np.unique(self.rows.classes[self.rows.classes >= 0]).tolist()
        return classes


def read_files(layout: YoloLayout, split: str, problems: Problems) -> YoloFiles:
    """Reads the label files and the headers of the images of a split.

    Args:
      layout: the layout of the data set.
      split: the split, as for `YoloLayout.images`.
      problems: handles images and label files that cannot be used.

    Raises:
      DataError: the split does not exist, no image has a label file, or no image can be used.
    """
    listed = layout.listed(split)
    _tell_lists(listed, problems)
    paths, folders = list(listed.paths), LabelFolders()
    label_files = [folders.find(path) for path in paths]
    _check_labels(paths, label_files, folders, split)
    orphans = folders.orphans(listed.of_folders, listed.folders)
    reader = _Reader(layout.keypoint_numbers, problems)
    reader.read(paths, label_files)
    reader.tell_orphans(orphans)
    if not reader.images:
        raise DataError(
            f"{layout.folder}: none of the {len(paths):,} images of the split {split!r} can be "
            f"used, the first because of {problems.found[0]}",
            "folder",
        )
    rows = reader.rows.rows()
    _tell_of_split(layout, split, label_files, rows.scored)
    images = len(paths) + len(listed.missing) + len(orphans)
    return YoloFiles(reader.images, rows, images, reader.listed_boxes)


def _tell_lists(listed: SplitImages, problems: Problems) -> None:
    """Reports lines of lists that name a missing image or repeat an image."""
    if listed.repeated:
        path, line, name = listed.repeated[0]
        count = len(listed.repeated)
        lines, once = ("line", "it") if count == 1 else ("lines", "each")
        problems.add(
            "duplicate_image",
            f"{path}:{line}: lists {name!r} again ({count:,} {lines} too many); delete the {lines}"
            f", or set config.data.on_error='skip' to read {once} once.",
            count,
        )
    if listed.missing:
        path, line, name = listed.missing[0]
        count = len(listed.missing)
        total = count + len(listed.paths) + len(listed.repeated)
        files, lines, images = (
            ("file", "line", "image") if count == 1 else ("files", "lines", "images")
        )
        problems.add(
            "missing_image",
            f"{path}:{line}: {name!r} is missing ({count:,} of {total:,}); add the {files} or "
            f"delete the {lines}, or set config.data.on_error='skip' to leave the {images} out.",
            count,
        )


def _check_labels(
    paths: Sequence[str], label_files: Sequence[str | None], folders: LabelFolders, split: str
) -> None:
    """Refuses a split in which no image has a label file, since all images would be background."""
    if any(label_files):
        return
    folder = os.path.dirname(paths[0])
    looked = dict.fromkeys((folders.folder_of(folder), folder))
    raise DataError(
        f"{paths[0]}: has no label file, and neither has any of the {len(paths):,} images of the "
        f"split {split!r} (looked for {pathlib.Path(paths[0]).stem}.txt in "
        f"{' and '.join(looked)}); put the label files into a folder 'labels' beside a folder "
        "'images' of the images, or next to the images.",
        "missing_annotation",
    )


def _tell_of_split(
    layout: YoloLayout, split: str, label_files: Sequence[str | None], scored: int
) -> None:
    """Logs what is valid but may not be intended: no label files, and confidences in rows."""
    lacking = sum(label_file is None for label_file in label_files)
    if lacking:
        _log.info(
            "%s %s: %s of %s images without a label file, and therefore without objects.",
            layout.folder,
            split,
            f"{lacking:,}",
            f"{len(label_files):,}",
        )
    if scored:
        _log.warning(
            "%s %s: %s a confidence, as those of detections; it is not used, and the detections "
            "count as annotations.",
            layout.folder,
            split,
            "1 row has" if scored == 1 else f"{scored:,} rows have",
        )


class _Reader:
    """Reads images with their label files.

    Attributes:
      images: the usable images read so far.
      rows: the rows of these images.
      listed_boxes: number of rows read so far, including those of unusable images.
    """

    def __init__(self, keypoint_numbers: int, problems: Problems) -> None:
        self.images: list[YoloImage] = []
        self.rows = RowReader(keypoint_numbers)
        self.listed_boxes = 0
        self._problems = problems
        self._owners: dict[str, str] = {}

    def read(self, paths: Sequence[str], label_files: Sequence[str | None]) -> None:
        """Reads all images and label files, in threads, since access to remote files is slow."""
        with futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
            contents = threads.map(_read_image, paths, label_files)
            read = zip(paths, label_files, contents, strict=True)
            for number, (path, label_file, (size, text)) in enumerate(read, start=1):
                try:
                    self._add(number, path, label_file, size, text)
                except DataError as error:
                    self._problems.add_error(error)

    def _add(
        self,
        number: int,
        path: str,
        label_file: str | None,
        size: tuple[int, int] | DataError,
        text: str | DataError,
    ) -> None:
        if isinstance(text, DataError):
            raise text
        owner = path if label_file is None else self._owners.setdefault(label_file, path)
        if owner != path:
            raise DataError(
                f"{path}: has the label file of {os.path.basename(owner)}; keep one of the two "
                f"images, or give it a label file with its own name, {_SKIP_IMAGE}",
                "duplicate_image",
            )
        if isinstance(size, DataError):
            self.listed_boxes += _count_rows(text)
            raise size
        self.listed_boxes += self.rows.add(len(self.images), text)
        self.images.append(YoloImage(number, path, label_file, size))

    def tell_orphans(self, orphans: Sequence[str]) -> None:
        """Reports the label files without an image in one sentence."""
        if not orphans:
            return
        for path in orphans:
            try:
                self.listed_boxes += _count_rows(read_text(path, _WAY_OUT))
            except DataError:  # the file is reported below, as one without an image
                continue
        one = len(orphans) == 1
        self._problems.add(
            "missing_image",
            f"{orphans[0]}: has no image ({len(orphans):,} label "
            f"{'file has' if one else 'files have'} none); add what is missing or delete "
            f"{'the file' if one else 'the files'}, or set config.data.on_error='skip' to leave "
            f"the {'image' if one else 'images'} out.",
            len(orphans),
        )


def _count_rows(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _read_image(
    path: str, label_file: str | None
) -> tuple[tuple[int, int] | DataError, str | DataError]:
    """The size of an image and the text of its label file, or the error of either."""
    size: tuple[int, int] | DataError
    text: str | DataError
    try:
        size = read_size(path)
    except DataError as error:
        size = error
    try:
        text = "" if label_file is None else read_text(label_file, _WAY_OUT)
    except DataError as error:
        text = error
    return size, text
