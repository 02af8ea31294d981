"""Data sets, each a random-access sequence of `Example`."""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.cityscapes import CityscapesSource
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.example import Example, Source
from ioub_jax.data.sources.file_source import AnnotatedImages, FileSource, annotations_of
from ioub_jax.data.sources.image_survey import with_reading
from ioub_jax.data.sources.learned import Learned, Rules, count_learned, learned_objects, rules_of
from ioub_jax.data.sources.shapes import ShapesSource
from ioub_jax.data.sources.tfds import TfdsSource
from ioub_jax.data.sources.unlearned import nothing_learned
from ioub_jax.data.sources.voc import VocSource

__all__ = [
    "CityscapesSource",
    "CocoSource",
    "Example",
    "FileSource",
    "Learned",
    "ShapesSource",
    "Source",
    "TfdsSource",
    "VocSource",
    "annotations_of",
    "bit_depth_of",
    "create_source",
    "open_counted",
    "open_source",
    "with_bit_depth",
]

SPLITS = ("train", "val", "test")


Categories = Sequence[tuple[int | str, str]]


def create_source(
    config: Any,
    split: str,
    matcher: Any = None,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
) -> Source:
    """Opens the data set that a config names, with the images that a split is used with.

    Args:
        config: `config.data`: `source`, `on_error`, `keep_empty`, `exif`, `bit_depth` and the
            source's own options under its name.
        split: 'train', 'val' or 'test'.
        matcher: `config.matcher`, whose `crowd` and `difficult` say what is learned of those; None
            for its defaults.
        categories: The id and name of each label of a detector. The data set then has its labels,
            by the names of its own classes, some of which it may lack. None: the labels of the data
            set.
        bit_depth: What the 16-bit images of the training data have, where the configuration does
            not say; None: measured on this split.

    Returns:
        The data set; for training without the images that have no box to learn, unless they are
        kept.

    Raises:
        ValueError: If the split is unknown.
        DataError: If the source is unknown, something is wrong with its files, there is no box to
            learn, or there are objects of a class that `categories` lacks.
    """
    return open_counted(config, split, matcher, categories=categories, bit_depth=bit_depth)[0]


def open_counted(
    config: Any,
    split: str,
    matcher: Any = None,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
) -> tuple[Source, Learned]:
    """As `create_source`, with what of the data set is learned.

    Args:
        config: `config.data`.
        split: 'train', 'val' or 'test'.
        matcher: `config.matcher`; None for its defaults.
        categories: As for `create_source`.
        bit_depth: As for `create_source`.

    Returns:
        The data set and the counts; raises alike.
    """
    source = open_source(config, split, categories, bit_depth)
    rules = rules_of(config, matcher, split)
    learned = count_learned(source, rules)
    if split == "train" and learned.boxes is not None:
        if learned.boxes.learned == 0:
            raise DataError(
                f"config.data.{config.source}: {nothing_learned(learned, config)}",
                "nothing_learned",
            )
        if not rules.keep_empty:
            source = _with_learned(source, rules)
    return source, learned


def open_source(
    config: Any,
    split: str,
    categories: Categories | None = None,
    bit_depth: int | None = None,
) -> Source:
    """Opens the data set that a config names, with every image that can be read.

    Args:
        config: `config.data`.
        split: 'train', 'val' or 'test'.
        categories: As for `create_source`.
        bit_depth: As for `create_source`.

    Returns:
        The data set; raises as `create_source`, but for a lack of boxes.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; use one of {SPLITS}.")
    if config.source not in _OPEN:
        raise DataError(
            f"config.data.source is {config.source!r} and must be one of {tuple(_OPEN)}.", "folder"
        )
    source = _OPEN[config.source](config, split, categories)
    if categories is not None:
        chooser = "coco" if config.source == "coco" else None
        source = with_classes(source, categories, _title(config, split), chooser)
    if source.skipped:
        logging.getLogger(__name__).warning(
            "%s %s: %d left out, the first: %s",
            config.source,
            split,
            sum(problem.count for problem in source.skipped),
            source.skipped[0],
        )
    if isinstance(source, AnnotatedImages):
        return with_reading(source, config, split, bit_depth)
    return source


def bit_depth_of(source: Source) -> int | None:
    """With how many bits a data set's 16-bit images are read; None where it has no image files."""
    return source.reading.bit_depth if isinstance(source, AnnotatedImages) else None


def with_bit_depth(source: Source, bit_depth: int | None) -> Source:
    """A data set whose 16-bit images are read with so many bits; None, as they are read now."""
    if bit_depth is None or not isinstance(source, AnnotatedImages):
        return source
    return source.read_with(dataclasses.replace(source.reading, bit_depth=bit_depth))


def _title(config: Any, split: str) -> str:
    """What a sentence calls a split of a data set: its one file, if it has one."""
    if config.source == "coco":
        root = pathlib.Path(config.coco.root).expanduser()
        return str(root / config.coco[f"{split}_annotations"])
    return f"The {split} split of {config.source}"


def _with_learned(source: Any, rules: Rules) -> Source:
    """The images with a box to learn: others, such as those of crowds alone, teach nothing."""
    annotations = annotations_of(source)
    chosen = np.flatnonzero(annotations.images_with(learned_objects(annotations, rules)))
    return source if len(chosen) == len(source) else source.select(chosen)


def _shapes(config: Any, split: str, categories: Categories | None) -> Source:
    shapes = config.shapes
    return ShapesSource(
        num_images=shapes.num_train if split == "train" else shapes.num_val,
        image_size=tuple(shapes.image_size),
        seed=shapes.seed,
        split=split,
    )


def _coco(config: Any, split: str, categories: Categories | None) -> Source:
    root = pathlib.Path(config.coco.root).expanduser()
    return CocoSource(
        root / config.coco[f"{split}_annotations"],
        root / config.coco[f"{split}_images"],
        classes=config.coco.classes or None,
        may_lack=split != "train",
        on_error=config.on_error,
        split=split,
        exif=config.get("exif", "ignore"),
    )


def _voc(config: Any, split: str, categories: Categories | None) -> Source:
    voc = config.voc
    trained = None if categories is None else [name for _, name in categories]
    return VocSource(
        voc.root,
        voc[f"{split}_split"],
        folders=tuple(voc[f"{split}_folders"]),
        classes=voc.classes or trained,
        may_learn_more=trained is None,
        on_error=config.on_error,
        one_based=voc.one_based,
        unannotated=voc.get("unannotated", "problem"),
        exif=config.get("exif", "ignore"),
    )


def _cityscapes(config: Any, split: str, categories: Categories | None) -> Source:
    cityscapes = config.cityscapes
    return CityscapesSource(cityscapes.root, cityscapes[f"{split}_split"], on_error=config.on_error)


def _tfds(config: Any, split: str, categories: Categories | None) -> Source:
    tfds = config.tfds
    if config.get("exif", "ignore") == "apply":
        raise DataError(
            "config.data.exif='apply' is for data sets of files: TFDS keeps boxes as shares of "
            "the images as stored, so set it to 'ignore'.",
            "folder",
        )
    return TfdsSource(
        tfds.name,
        tfds[f"{split}_split"],
        data_dir=tfds.data_dir,
        on_error=config.on_error,
        one_based=tfds.one_based,
    )


_OPEN = {"coco": _coco, "voc": _voc, "cityscapes": _cityscapes, "tfds": _tfds, "shapes": _shapes}
