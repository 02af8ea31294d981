"""Folders in the layout of the PASCAL VOC devkit: JPEGImages, Annotations, ImageSets/Main."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Self

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.corners import find_repeated, judge_boxes
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.data.sources.image_sizes import upright_sizes
from ioub_jax.data.sources.regions import ignored_regions
from ioub_jax.data.sources.voc_classes import choose_classes, describe_unknown
from ioub_jax.data.sources.voc_files import VocFolder, list_entries
from ioub_jax.data.sources.voc_images import NO_OBJECTS, UNANNOTATED, VocImage, read_images
from ioub_jax.data.sources.voc_lists import EVERYTHING
from ioub_jax.data.sources.voc_pixels import (
    CONVENTIONS,
    Evidence,
    choose_pixels,
    gather_evidence,
)

#: The classes of PASCAL VOC, for use with parts of it that lack some of them.
VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_SKIP_BOX = "or set config.data.on_error='skip' to leave the box out."


class VocSource(FileSource):
    """Images and boxes of one split of one or more VOC-style folders.

    Every XML is parsed once, at construction; images are decoded on access. The devkit's
    coordinates are 1-based and inclusive; boxes are `(xmin - 1, ymin - 1, xmax, ymax)`, so that
    widths equal the devkit's `xmax - xmin + 1`. Other tools have other conventions. `pixels` sets
    the convention; otherwise it is inferred from the files (`voc_pixels`) and logged. An object
    without a box has the box around its polygon or its rotated box. A box that sticks out of its
    image is clipped, exchanged corners are put in order, and objects of the same class with the
    same box in an image are read once; `census` counts all these. `image_id` is the position in the
    lists of the split, from 1, counted through all folders; it does not depend on which images are
    skipped. Objects flagged `difficult` are kept with their flag, and images without objects are
    kept, too. If an XML gives no size, or 0, the size is read from the header of the image file.

    Images may be of any type that OpenCV decodes. The names and places of the folders may differ
    from the devkit's (`voc_files.VocFolder`; `voc_layout` finds them). A list may name images with
    their suffix or path. If neither the list's entry nor the name of the XML leads to an image, the
    XML's <filename> is used.

    With `on_error='skip'` a bad object becomes a region to ignore and a bad image is left out of
    the data set, each with a `Problem` in `skipped`. An image that turns out to be unreadable only
    when it is decoded raises `DataError` in any case, which the caller must handle.

    Args:
      root: a folder with Annotations and JPEGImages, or the VOCdevkit that contains `folders`.
      split: a file of `ImageSets/Main` without its suffix; None or 'all' for every XML, sorted.
      folders: the folders below `root` whose images are joined, in that order:
        `('VOC2007', 'VOC2012')` with split 'trainval' is the usual 07+12.
      classes: class names in the order of the labels; the files may lack some of them. None for
        all names in the split, sorted; for PASCAL VOC these are `VOC_CLASSES`.
      on_error: 'raise' or 'skip'.
      pixels: the pixel convention, a key of `voc_pixels.CONVENTIONS`: 'devkit', 'zero_based' (as
        written) or 'one_based_exclusive'. None to infer it from the files.
      unannotated: how to treat an image without XML: as a 'problem', or as 'empty', that is,
        without objects. None for 'empty' if the tool that wrote the XMLs writes none for images
        without objects, else 'problem'.
      exif: 'apply' if images are turned upright as they are read; sizes and boxes then refer to
        the upright images.
      may_learn_more: whether error messages may suggest adding classes to `classes`, which is not
        possible for the classes of a trained detector.

    Raises:
      ValueError: `on_error`, `unannotated` or `pixels` is unknown, or `classes` has a name twice.
      DataError: a folder or a file cannot be used.

    Attributes:
      pixels: the pixel convention with which the coordinates are read.
      evidence: the evidence in the files on the pixel convention.
    """

    def __init__(
        self,
        root: str | pathlib.Path,
        split: str | None = None,
        folders: Sequence[str] = (".",),
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
        pixels: str | None = None,
        unannotated: str | None = None,
        exif: str = "ignore",
        *,
        may_learn_more: bool = True,
    ) -> None:
        problems = Problems(on_error)
        if unannotated not in (None, *UNANNOTATED):
            raise ValueError(f"unannotated is {unannotated!r} and must be one of {UNANNOTATED}.")
        root = pathlib.Path(root).expanduser()
        may_lack = unannotated == "empty"
        listed = [
            (folder, entry)
            for folder in [VocFolder(root, name) for name in folders]
            for entry in list_entries(folder, split, may_lack, problems)
        ]
        images, census = read_images(listed, unannotated, problems)
        if not images:
            reason = f", the first left out is this: {problems.found[0]}" if problems.found else "."
            raise DataError(
                f"{root}: split {split!r} has no images to load, check config.data.voc{reason}",
                "folder",
            )
        if exif == "apply":
            images = _turned_upright(images)
        self.evidence = _evidence(images)
        place = root / folders[0] if len(folders) == 1 else root
        title = f"{place}, {split or EVERYTHING}"
        self.pixels = choose_pixels(pixels, self.evidence, title)
        chosen, annotations = _read_objects(images, classes, self.pixels, may_learn_more, problems)
        super().__init__(
            annotations,
            [str(image.path) for image in images],
            chosen,
            range(1, len(chosen) + 1),
            problems.found,
            census,
        )
        self._xmls = [image.xml for image in images]

    def annotation_file(self, index: int) -> pathlib.Path | None:
        """The XML of image `index`, or None if it has none."""
        return self._xmls[index]

    def select(self, images: np.ndarray) -> Self:
        """The same data set with some of its images only, in the order of `images`."""
        chosen = super().select(images)
        chosen._xmls = [self._xmls[index] for index in images]
        return chosen


def _turned_upright(images: Sequence[VocImage]) -> list[VocImage]:
    """The images with their sizes after they are turned upright."""
    paths = [str(image.path) for image in images]
    sizes = upright_sizes(paths, [image.size for image in images])
    return [
        dataclasses.replace(image, size=size) for image, size in zip(images, sizes, strict=True)
    ]


def _evidence(images: Sequence[VocImage]) -> Evidence:
    """Evidence from the objects of all images on the pixel convention."""
    annotated = [image for image in images if image.content.names]
    counts = [len(image.content.names) for image in annotated]
    corners = [NO_OBJECTS.corners, *(image.content.corners for image in annotated)]
    rotated = [flag for image in annotated for flag in image.content.rotated]
    return gather_evidence(
        np.where(np.array(rotated, bool)[:, None], np.nan, np.concatenate(corners)),
        np.repeat(np.array([image.size for image in annotated]).reshape(-1, 2), counts, axis=0),
        np.array([flag for image in annotated for flag in image.content.decimals], bool),
        [image.content.tool for image in annotated],
    )


def _read_objects(
    images: Sequence[VocImage],
    classes: Sequence[str] | None,
    pixels: str,
    may_learn_more: bool,
    problems: Problems,
) -> tuple[tuple[str, ...], Annotations]:
    """The class list, and the objects of all images with their labels."""
    counts = np.array([len(image.content.names) for image in images])
    owners = np.repeat(np.arange(len(counts)), counts)
    sizes = np.array([image.size for image in images], np.int64)
    corners = np.concatenate([image.content.corners for image in images])
    names = [name for image in images for name in image.content.names]
    difficult = [flag for image in images for flag in image.content.difficult]
    chosen = choose_classes(classes, collections.Counter(names))
    label_of = {name: label for label, name in enumerate(chosen)}
    labels = np.array([label_of.get(name, -1) for name in names], np.int64)
    subtracted = CONVENTIONS[pixels]
    judged = judge_boxes(corners, sizes[owners], subtracted)
    xmls = [image.xml for image in images for _ in image.content.names]
    _tell_unknown(xmls, names, labels, chosen, may_learn_more, problems)
    for kind, is_faulty in judged.faults.items():
        for index in np.flatnonzero(is_faulty & (labels >= 0)):
            image = images[owners[index]]
            number = int(index - np.searchsorted(owners, owners[index])) + 1
            problems.add(kind, _describe_fault(kind, image, number))
    is_ignored = judged.is_faulty | (labels < 0)
    repeated = find_repeated(owners, labels, judged.ordered) & ~is_ignored
    is_kept = ~is_ignored & ~repeated
    problems.note("repeated", repeated.sum())
    problems.note("exchanged", (judged.exchanged & is_kept).sum())
    problems.note("clipped", (judged.clipped & is_kept).sum())
    for change in ("outlined", "rotated"):
        flags = [flag for image in images for flag in getattr(image.content, change)]
        problems.note(change, (np.array(flags, bool) & is_kept).sum())
    regions = ignored_regions(corners - subtracted[0], sizes[owners])
    boxes = np.where(judged.is_faulty[:, None], regions, judged.boxes)
    kept = np.flatnonzero(~repeated)
    sides = boxes[kept, 2:] - boxes[kept, :2]
    return chosen, Annotations(
        np.array([image.image_id for image in images], np.int64),
        sizes,
        np.concatenate([[0], np.cumsum(np.bincount(owners[kept], minlength=len(counts)))]),
        boxes=boxes[kept],
        labels=labels[kept].astype(np.int32),
        crowd=np.zeros(len(kept), bool),
        difficult=np.array(difficult, bool)[kept],
        ignored=is_ignored[kept],
        area=sides.prod(axis=1),
    )


def _describe_fault(kind: str, image: VocImage, number: int) -> str:
    """A sentence on the fault of an object of an image; objects are numbered from 1."""
    written = ", ".join(f"{value:g}" for value in image.content.corners[number - 1])
    height, width = image.size
    return (
        f"{image.xml}: box {number} ({image.content.names[number - 1]}; {written}) "
        f"{_FAULTS[kind].format(width=width, height=height)}, {_SKIP_BOX}"
    )


_FAULTS = {
    "bad_box": "lacks a number among xmin, ymin, xmax, ymax; fix it",
    "no_area": "has no area, xmin is xmax or ymin is ymax; fix or delete it",
    "outside": "is outside its image of {width}x{height}; fix or delete it",
}


def _tell_unknown(
    xmls: Sequence[pathlib.Path | None],
    names: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    may_learn_more: bool,
    problems: Problems,
) -> None:
    """Reports all objects of unknown classes in one sentence."""
    unknown = np.flatnonzero(labels < 0).tolist()
    if unknown:
        counts = collections.Counter(names[index] for index in unknown)
        leave = "box" if len(unknown) == 1 else "boxes"
        problems.add(
            "unknown_category",
            f"{xmls[unknown[0]]}: {describe_unknown(counts, classes, may_learn_more)}, or set "
            f"config.data.on_error='skip' to leave the {leave} out.",
            len(unknown),
        )
