"""Data sets, each a random-access sequence of `Example`."""

from typing import Any

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.example import Example, Source
from ioub_jax.data.sources.shapes import ShapesSource
from ioub_jax.data.sources.voc import VocFolderSource

__all__ = ["Example", "ShapesSource", "Source", "VocFolderSource", "create_source"]


def create_source(config: Any, split: str) -> Source:
    """Opens the data set that a config names.

    Args:
        config: `config.data`: `source`, `on_error`, and the options of the source under its name.
        split: 'train', 'val' or 'test'.

    Returns:
        The data set.

    Raises:
        ValueError: If the split is unknown.
        DataError: If the source is unknown or something is wrong with its files.
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f"There is no split {split!r}; use 'train', 'val' or 'test'.")
    if config.source == "shapes":
        shapes = config.shapes
        return ShapesSource(
            num_images=shapes.num_train if split == "train" else shapes.num_val,
            image_size=tuple(shapes.image_size),
            seed=shapes.seed,
            split=split,
        )
    if config.source == "voc":
        voc = config.voc
        return VocFolderSource(
            root=voc.root,
            split=voc[f"{split}_split"],
            classes=voc.classes or None,
            on_error=config.on_error,
            keep_empty=voc.keep_empty,
        )
    raise DataError(f"config.data.source is {config.source!r} and must be 'shapes' or 'voc'.")
