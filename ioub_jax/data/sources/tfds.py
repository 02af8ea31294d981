"""Data sets prepared by TensorFlow Datasets (TFDS), read without TensorFlow."""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Self

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.images import decode_image
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.coco_categories import COCO_IDS
from ioub_jax.data.sources.corners import find_repeated, judge_boxes
from ioub_jax.data.sources.example import Census, Example
from ioub_jax.data.sources.file_source import AnnotatedImages, scale_to_image
from ioub_jax.data.sources.regions import ignored_regions
from ioub_jax.data.sources.tfds_index import RecordIndex, describe_files, load_or_read
from ioub_jax.data.sources.tfds_records import OpenedSplit, Records, find_folder, open_split
from ioub_jax.data.sources.voc_pixels import CONVENTIONS

# float32 fractions of a side are exact to about this many decimals of a pixel; COCO writes two.
_DECIMALS = 3
_REPAIR = "repair the original and prepare it again"
_SKIP_IMAGE = f"{_REPAIR}, or set config.data.on_error='skip' to leave the image out."
_SKIP_BOX = f"{_REPAIR}, or set config.data.on_error='skip' to leave the box out."


class TfdsSource(AnnotatedImages):
    """One split of a data set that TFDS prepared as ArrayRecord files, read by random access.

    Any builder with the features `image` and `objects/bbox` can be used: coco/2014, coco/2017,
    voc/2007, voc/2012 or a custom one. `objects/label` gives the classes, `is_crowd` and
    `is_difficult` the flags, `area` the areas, and `image/id` the ids (by default the position,
    from 1). TFDS stores boxes as float32 fractions `[ymin, xmin, ymax, xmax]` of the image's sides;
    rounding them to 1/1000 pixel undoes the loss of precision. TFDS truncates COCO's areas to
    integers.

    If the classes are COCO's 80, they have COCO's category ids and are in the order of these ids,
    as in `CocoSource`. Other classes are numbered from 1 in the order of the builder.

    A box that sticks out of its image is clipped, exchanged corners are put in order, and objects
    of the same class with the same box in a record are read once; `census` counts all these. With
    `on_error='skip'` a bad object becomes a region to ignore, and a bad image is left out.

    The first use of a split reads all of its records once and stores their sizes and boxes beside
    the records or in `~/.cache/ioub_jax`.

    Args:
      name: the data set and its config as TFDS names them, such as 'coco/2017'. The newest prepared
        version is used unless the name contains a version ('coco/2017:1.1.0').
      split: a split of the builder ('validation', not 'val'), or a part of one: 'train[:1000]'.
      data_dir: the folder that holds `name`; None for TFDS's own, `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`.
      on_error: 'raise' or 'skip'.
      one_based: whether boxes are written as in the VOC devkit, 1-based and inclusive. None: True
        for the builder `voc` only.

    Raises:
      DataError: the data set does not exist, is not as described above, or has a bad record.
      ValueError: `on_error` is neither.
    """

    def __init__(
        self,
        name: str,
        split: str,
        data_dir: str | pathlib.Path | None = None,
        on_error: str = "raise",
        one_based: bool | None = None,
    ) -> None:
        problems = Problems(on_error)
        self._folder = find_folder(name, data_dir)
        self._title = f"{name} {split}"
        self._split = split
        opened = open_split(self._folder, split)
        self._records: Records | None = opened.records
        index = _index(opened, split, self._title)
        self._names = index.filenames
        self._positions = np.arange(len(index.sizes))
        names = _class_names(opened.objects)
        order = _class_order(names)
        classes = [names[label] for label in order]
        category_ids = list(range(1, len(names) + 1))
        if _are_cocos(names):
            category_ids = [COCO_IDS[name] for name in classes]
        if one_based is None:
            one_based = opened.name.split("/")[0] == "voc"
        kept = _judge_images(index, self.describe, problems)
        annotations = _judge_objects(index, names, one_based, kept, self.describe, problems)
        annotations = _relabel(annotations, np.argsort(order)).select(kept)
        census = Census(len(index.sizes), len(index.boxes), changes=problems.changes)
        super().__init__(annotations, classes, category_ids, problems.found, census)
        self._positions = kept
        if len(self) == 0:
            raise DataError(
                f"{self._folder}: split {split!r} has no images to load; "
                "choose another in config.data.tfds.",
                "folder",
            )

    def __getstate__(self) -> dict[str, Any]:
        """State without the open files, since another process opens its own."""
        return self.__dict__ | {"_records": None}

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """Implements `AnnotatedImages.load` by reading the record."""
        height, width = (int(side) for side in self.sizes[index])
        data = self._encoded(index)
        name = self.describe(index)
        image = decode_image(data, name, (height, width), at_least, reading=self.reading)
        return scale_to_image(self.annotations(index), image, (height, width))

    def _encoded(self, index: int) -> bytes:
        if self._records is None:  # several threads may open it at once, which is harmless
            self._records = open_split(self._folder, self._split).records
        data: bytes = self._records[int(self._positions[index])]["image"]
        return data

    def open_image(self, index: int) -> BinaryIO:
        """Implements `AnnotatedImages.open_image`."""
        return io.BytesIO(self._encoded(index))

    def describe(self, index: int) -> str:
        """The data set, the number of the record, and the file that it was made from."""
        position = int(self._positions[index])
        name = str(self._names[position])
        return f"{self._title} record {position}{f' ({name})' if name else ''}"

    def select(self, images: np.ndarray) -> Self:
        """The same data set with some of its images only, in the order of `images`."""
        chosen = super().select(images)
        chosen._positions = self._positions[images]
        return chosen


def _index(opened: OpenedSplit, split: str, title: str) -> RecordIndex:
    """The values in the records, read once and then indexed."""
    try:
        key = describe_files(
            opened.files, name=opened.name, split=split, records=len(opened.records)
        )
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); copy the folder or prepare the "
            "data set again.",
            "folder",
        ) from error
    folder = opened.files[0].parent
    return load_or_read(
        key, folder, title, lambda: RecordIndex.read(opened.records, len(opened.records), title)
    )


def _class_names(objects: Mapping[str, Any]) -> list[str]:
    """The class names in the order of the builder's labels; generated if the builder has none."""
    if "label" not in objects:
        return ["object"]
    names = list(objects["label"].names)
    # TFDS returns such names if only the number of classes is known.
    if names == [str(number) for number in range(len(names))]:
        return [f"class {name}" for name in names]
    return names


def _are_cocos(names: Sequence[str]) -> bool:
    return set(names) == set(COCO_IDS)


def _class_order(names: Sequence[str]) -> list[int]:
    """The builder's labels in the order of this source's labels.

    They differ for COCO: its builder has the order of COCO's JSON, this source that of the ids.
    """
    labels = list(range(len(names)))
    if _are_cocos(names):
        labels.sort(key=lambda label: COCO_IDS[names[label]])
    return labels


def _relabel(annotations: Annotations, new_labels: np.ndarray) -> Annotations:
    known = annotations.labels >= 0
    labels = np.where(known, new_labels[annotations.labels], -1).astype(np.int32)
    return dataclasses.replace(annotations, labels=labels)


def _judge_images(
    index: RecordIndex, describe: Callable[[int], str], problems: Problems
) -> np.ndarray:
    """The positions of the records with a usable image, int64."""
    _, first = np.unique(index.image_ids, return_index=True)
    usable = np.zeros(len(index.sizes), bool)
    usable[first] = True
    for record in np.flatnonzero(~usable).tolist():
        problems.add(
            "duplicate_image",
            f"{describe(record)}: has the id {index.image_ids[record]} of another image; "
            f"{_SKIP_IMAGE}",
        )
    for record in np.flatnonzero(index.sizes.min(axis=1) == 0).tolist():
        usable[record] = False
        problems.add(
            "unreadable_image", f"{describe(record)}: is not a readable image; {_SKIP_IMAGE}"
        )
    return np.flatnonzero(usable)


def _judge_objects(
    index: RecordIndex,
    names: Sequence[str],
    one_based: bool,
    kept: np.ndarray,
    describe: Callable[[int], str],
    problems: Problems,
) -> Annotations:
    """The objects of every record, with the builder's labels; -1 if a label is not valid."""
    records = np.repeat(np.arange(len(index.sizes)), index.counts)
    corners = _to_pixels(index, records)
    sizes = index.sizes[records]
    judged = judge_boxes(corners, sizes, CONVENTIONS["devkit" if one_based else "zero_based"])
    unknown = (index.labels < 0) | (index.labels >= len(names))
    faults = {"unknown_category": unknown, **judged.faults}
    is_bad = judged.is_faulty | unknown
    is_listed = np.isin(records, kept)
    for position in np.flatnonzero(is_bad & is_listed):
        kind = next(kind for kind, found in faults.items() if found[position])
        number = position - np.searchsorted(records, records[position]) + 1
        written = ", ".join(f"{value:g}" for value in corners[position])
        problems.add(
            kind,
            f"{describe(int(records[position]))}: box {number} (label {index.labels[position]}; "
            f"{written} pixels) {_FAULTS[kind]}; {_SKIP_BOX}",
        )
    repeated = find_repeated(records, index.labels, judged.ordered) & ~is_bad
    is_kept = is_listed & ~is_bad & ~repeated
    problems.note("repeated", (repeated & is_listed).sum())
    problems.note("exchanged", (judged.exchanged & is_kept).sum())
    problems.note("clipped", (judged.clipped & is_kept).sum())
    regions = ignored_regions(corners - one_based, np.maximum(sizes, 1))
    return _collect(
        index,
        np.where(judged.is_faulty[:, None], regions, judged.boxes),
        np.where(unknown, -1, index.labels),
        records,
        is_bad,
        ~repeated,
    )


_FAULTS = {
    "bad_box": "is not four finite numbers",
    "unknown_category": "has no class",
    "no_area": "has no area",
    "outside": "is outside its image",
}


def _to_pixels(index: RecordIndex, records: np.ndarray) -> np.ndarray:
    """The corners xmin, ymin, xmax, ymax in pixels, otherwise as written: float64 `[m, 4]`."""
    shares = index.boxes[:, [1, 0, 3, 2]].astype(np.float64)
    with np.errstate(invalid="ignore"):  # an infinite fraction of an unknown side, 0
        return np.round(shares * np.tile(index.sizes[records, ::-1], 2), _DECIMALS)


def _collect(
    index: RecordIndex,
    boxes: np.ndarray,
    labels: np.ndarray,
    records: np.ndarray,
    is_ignored: np.ndarray,
    is_kept: np.ndarray,
) -> Annotations:
    sides = boxes[:, 2:] - boxes[:, :2]
    has_area = ~np.isnan(index.areas) & ~is_ignored
    areas = np.where(has_area, index.areas, sides[:, 0] * sides[:, 1])
    counts = np.bincount(records[is_kept], minlength=len(index.sizes))
    return Annotations(
        index.image_ids,
        index.sizes,
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        boxes=boxes[is_kept],
        labels=labels[is_kept].astype(np.int32),
        crowd=index.crowd[is_kept],
        difficult=index.difficult[is_kept],
        ignored=is_ignored[is_kept],
        area=areas[is_kept].astype(np.float32),
    )
