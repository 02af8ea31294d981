"""Batches from the images of a configuration."""

import dataclasses
from typing import Any

import ml_collections

from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.loading import Loading
from ioub_jax.data.pipeline import NO_AUGMENTATION
from ioub_jax.data.resizing import Resize, Size
from ioub_jax.data.tiling import Tiling
from ioub_jax.from_config.file_parts import ON_ERROR
from ioub_jax.key_names import below, naming, naming_fields


def tiling_of(data: ml_collections.ConfigDict) -> Tiling | None:
    """Tiling of images by `config.data.tiles`; None without tiles.

    Raises:
      ConfigError: `config.data.tiles` has values that `Tiling` refuses.
    """
    options = data.get("tiles", {})  # runs of earlier versions do not have it
    if options.get("size") is None:
        return None
    names = [field.name for field in dataclasses.fields(Tiling)]
    with naming(below("data.tiles", names)):
        return Tiling(**{name: options[name] for name in names if name in options})


def resize_of(data: ml_collections.ConfigDict) -> Resize:
    """Scaling of images by `config.data.resize`.

    Tiles are scaled by `config.data.tiles.zoom` only.

    Raises:
      ConfigError: `config.data.resize` has values that `Resize` refuses.
    """
    options, tiling = data.resize, tiling_of(data)
    if tiling is not None:
        return Resize("zoom", zoom=tiling.zoom)
    with naming(below("data.resize", ("mode", "short_side", "long_side"))):
        return Resize(options.mode, options.short_side, options.long_side)


def canvases_of(data: ml_collections.ConfigDict) -> tuple[Size, ...]:
    """Height and width of each of `config.data.canvases`, or of a tile if images are tiled."""
    tiling = tiling_of(data)
    if tiling is not None:
        return (tiling.canvas,)
    return tuple((int(height), int(width)) for height, width in data.canvases)


def augmentation_of(data: ml_collections.ConfigDict) -> Augmentation:
    """The transforms that `config.data.augmentation` sets.

    Raises:
      ConfigError: `config.data.augmentation` has values that `Augmentation` refuses.
    """
    options: dict[str, Any] = {
        # A configuration that was read from JSON has lists.
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data.augmentation.items()
    }
    with naming_fields("data.augmentation", Augmentation):
        return Augmentation(**options)


def loading_of(config: ml_collections.ConfigDict) -> Loading:
    """Loading of a configuration's images as batches.

    Args:
      config: the whole configuration, or the part of one that `torchvision_config` returns.

    Raises:
      ConfigError: the canvases, the resize, the scales or the augmentation are refused.
    """
    data = config.data
    keys = below("data", ("canvases", "resize")) | {"scales": "data.resize.scales"} | ON_ERROR
    resize = resize_of(data)
    augmentation = augmentation_of(data) if "augmentation" in data else NO_AUGMENTATION
    with naming(keys):
        return Loading(
            canvases=canvases_of(data),
            resize=resize,
            scales=tuple(data.resize.scales),
            augmentation=augmentation,
            max_boxes=data.get("max_boxes", 100),
            on_error=data.get("on_error", "raise"),
            workers=config.runtime.workers if "runtime" in config else 0,
            tiling=tiling_of(data),
        )
