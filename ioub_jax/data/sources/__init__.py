"""Data sets, each a random-access sequence of `Example`."""

import logging
import pathlib
from typing import Any

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.cityscapes import CityscapesSource
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.example import Example, Source
from ioub_jax.data.sources.files import FileSource
from ioub_jax.data.sources.shapes import ShapesSource
from ioub_jax.data.sources.tfds import TfdsSource
from ioub_jax.data.sources.voc import VocSource

__all__ = [
    "CityscapesSource",
    "CocoSource",
    "Example",
    "FileSource",
    "ShapesSource",
    "Source",
    "TfdsSource",
    "VocSource",
    "create_source",
]

SPLITS = ("train", "val", "test")


def create_source(config: Any, split: str) -> Source:
    """Opens the data set that a config names.

    Args:
        config: `config.data`: `source`, `on_error`, `keep_empty` and the source's own options under
            its name.
        split: 'train', 'val' or 'test'.

    Returns:
        The data set; for training without the images that have no objects, unless they are kept.

    Raises:
        ValueError: If the split is unknown.
        DataError: If the source is unknown or something is wrong with its files.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; use one of {SPLITS}.")
    if config.source not in _OPEN:
        raise DataError(
            f"config.data.source is {config.source!r} and must be one of {tuple(_OPEN)}.", "folder"
        )
    source = _OPEN[config.source](config, split)
    if source.skipped:
        logging.getLogger(__name__).warning(
            "%s %s: %d left out, the first: %s",
            config.source,
            split,
            len(source.skipped),
            source.skipped[0],
        )
    if split == "train" and not config.keep_empty:
        return _with_objects(source, config.source)
    return source


def _with_objects(source: Any, name: str) -> Source:
    """The images with at least one object that is no crowd: others have nothing to learn from."""
    if isinstance(source, ShapesSource):  # every image of which has some
        return source
    has_objects = np.flatnonzero(source.has_objects)
    if len(has_objects) == 0:
        raise DataError(
            f"config.data.{name}: no image of the training split has an object to learn from; "
            "choose another split or repair its annotations.",
            "folder",
        )
    return source if len(has_objects) == len(source) else source.select(has_objects)


def _shapes(config: Any, split: str) -> Source:
    shapes = config.shapes
    return ShapesSource(
        num_images=shapes.num_train if split == "train" else shapes.num_val,
        image_size=tuple(shapes.image_size),
        seed=shapes.seed,
        split=split,
    )


def _coco(config: Any, split: str) -> Source:
    root = pathlib.Path(config.coco.root).expanduser()
    return CocoSource(
        root / config.coco[f"{split}_annotations"],
        root / config.coco[f"{split}_images"],
        classes=config.coco.classes or None,
        on_error=config.on_error,
        split=split,
    )


def _voc(config: Any, split: str) -> Source:
    voc = config.voc
    return VocSource(
        voc.root,
        voc[f"{split}_split"],
        folders=tuple(voc[f"{split}_folders"]),
        classes=voc.classes or None,
        on_error=config.on_error,
        one_based=voc.one_based,
        unannotated=voc.get("unannotated", "problem"),
    )


def _cityscapes(config: Any, split: str) -> Source:
    cityscapes = config.cityscapes
    return CityscapesSource(cityscapes.root, cityscapes[f"{split}_split"], on_error=config.on_error)


def _tfds(config: Any, split: str) -> Source:
    tfds = config.tfds
    return TfdsSource(
        tfds.name,
        tfds[f"{split}_split"],
        data_dir=tfds.data_dir,
        on_error=config.on_error,
        one_based=tfds.one_based,
    )


_OPEN = {"coco": _coco, "voc": _voc, "cityscapes": _cityscapes, "tfds": _tfds, "shapes": _shapes}
