"""The data sets of a configuration: the files of a split, and the objects to learn."""

import dataclasses
import pathlib

import ml_collections

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import (
    Categories,
    Learned,
    Rules,
    Source,
    bit_depth_of,
    unlearned,
    voc_pixels_of,
)
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.data.sources.learned import (
    count_learned,
    with_learned_images,
    without_lost,
)
from ioub_jax.data.sources.splits import Shares, Split
from ioub_jax.data.sources.splits import split as split_data_set
from ioub_jax.data.sources.tiles import TileCounts, TileSource, counted_tiles
from ioub_jax.errors import ConfigError
from ioub_jax.from_config.file_parts import (
    SPLITS,
    files_split,
    in_channels_of,
    open_files,
    origin_of,
    shares_of,
)
from ioub_jax.from_config.loading_parts import tiling_of
from ioub_jax.from_config.shared_image_parts import check_shared_images
from ioub_jax.key_names import below, naming


def create_source(
    data: ml_collections.ConfigDict,
    split: str,
    matcher: ml_collections.ConfigDict | None = None,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
    voc_pixels: str | None = None,
    channels: int = 3,
) -> Source:
    """The configured data set, with the images that a split uses.

    Args:
      data: `config.data`: `source`, `on_error`, `keep_empty`, `exif`, `bit_depth` and the source's
        own options under its name.
      split: 'train', 'val' or 'test'.
      matcher: `config.matcher`, whose `crowd` and `difficult` determine how such objects are
        learned; None for its defaults.
      categories: the id and name of each label of a detector. The classes of the data set are then
        matched by name and get the detector's labels; some classes may be missing. None: the labels
        of the data set.
      bit_depth: the bit depth of the training data's 16-bit images, unless the configuration sets
        one; None: measured on this split.
      voc_pixels: the pixel convention of the training data's VOC XMLs, unless the configuration
        sets one; None: inferred from the files of this split.
      channels: the number of channels of the images, `config.model.in_channels`.

    Returns:
      the data set. The training data has no images without a box to learn, unless they are kept.

    Raises:
      ValueError: the split is unknown.
      ConfigError: an option has a value that its source refuses.
      DataError: the source is unknown, its files are faulty, there is no box to learn, or there are
        objects of a class that `categories` lacks.
    """
    return open_counted(
        data,
        split,
        matcher,
        categories=categories,
        bit_depth=bit_depth,
        voc_pixels=voc_pixels,
        channels=channels,
    )[0]


def open_counted(
    data: ml_collections.ConfigDict,
    split: str,
    matcher: ml_collections.ConfigDict | None = None,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
    voc_pixels: str | None = None,
    channels: int = 3,
) -> tuple[Source, Learned]:
    """As `create_source`, with counts of the objects that are learned.

    Args:
      data: `config.data`.
      split: 'train', 'val' or 'test'.
      matcher: `config.matcher`; None for its defaults.
      categories: as in `create_source`.
      bit_depth: as in `create_source`.
      voc_pixels: as in `create_source`.
      channels: as in `create_source`.

    Returns:
      the data set and the counts. Errors are raised as in `create_source`.
    """
    source = open_source(data, split, categories, bit_depth, voc_pixels, channels)
    return _counted(data, split, source, matcher)


def _counted(
    data: ml_collections.ConfigDict,
    split: str,
    source: Source,
    matcher: ml_collections.ConfigDict | None,
) -> tuple[Source, Learned]:
    """Returns the images of a split that are used, and counts of the objects to learn."""
    rules = rules_of(data, matcher, split)
    of_images = rules_of_images(rules, data)
    learned = count_learned(source, of_images)
    if split == "train":
        unlearned.check_any(learned, origin_of(data, split))
        source = with_learned_images(source, of_images)
    source, counts = cut_into_tiles(source, data, split, rules)
    learned = in_tiles(learned, counts)
    if split == "train" and counts is not None:
        unlearned.check_any(learned, origin_of(data, split))
    return source, learned


def in_tiles(learned: Learned, counts: TileCounts | None) -> Learned:
    """Counts of learned objects after images are cut into tiles, if they are."""
    return learned if counts is None else without_lost(learned, counts.lost, counts.line())


def rules_of_images(rules: Rules, data: ml_collections.ConfigDict) -> Rules:
    """The rules for whole images; with tiles, the limit of boxes applies to a tile instead."""
    return rules if tiling_of(data) is None else dataclasses.replace(rules, max_boxes=None)


def open_source(
    data: ml_collections.ConfigDict,
    split: str,
    categories: Categories | None = None,
    bit_depth: int | None = None,
    voc_pixels: str | None = None,
    channels: int = 3,
) -> Source:
    """The configured data set, with every readable image.

    Args:
      data: `config.data`.
      split: 'train', 'val' or 'test'.
      categories: as in `create_source`.
      bit_depth: as in `create_source`.
      voc_pixels: as in `create_source`.
      channels: as in `create_source`.

    Returns:
      the data set. Errors are raised as in `create_source`, except for missing boxes.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; use one of {SPLITS}.")
    whole = open_files(data, files_split(data, split), categories, bit_depth, voc_pixels, channels)
    return _part(data, split, whole)


def _part(data: ml_collections.ConfigDict, split: str, whole: Source) -> Source:
    """Returns the images that belong to a split, of all images in its files."""
    shares = shares_of(data)
    if not shares.names or split not in ("train", *shares.names):
        return whole
    return _split(data, whole, shares).part(split)


def _split(data: ml_collections.ConfigDict, whole: Source, shares: Shares) -> Split:
    if not isinstance(whole, AnnotatedImages):
        name = shares.names[0]
        raise DataError(
            f"config.data.split.{name} is {shares.held[name]:g}, but the images of "
            f"config.data.source={data.source!r} are drawn, and so are its splits; set "
            f"--config.data.split.{name}=0.",
            "folder",
        )
    return split_data_set(whole, shares)


def rules_of(
    data: ml_collections.ConfigDict, matcher: ml_collections.ConfigDict | None, split: str
) -> Rules:
    """Rules for the objects to learn; evaluation uses all images, and all objects except crowds.

    Args:
      data: `config.data`.
      matcher: `config.matcher`; None for its defaults.
      split: 'train', 'val' or 'test'.

    Returns:
      the rules.
    """
    if split != "train":
        return Rules()
    crowd, difficult = Rules.crowd, Rules.difficult
    if matcher is not None:
        crowd, difficult = matcher.crowd, matcher.difficult
    return Rules(crowd, difficult, data.keep_empty, data.max_boxes, verb="used for training")


def cut_into_tiles(
    source: Source, data: ml_collections.ConfigDict, split: str, rules: Rules
) -> tuple[Source, TileCounts | None]:
    """The tiles of the images that a split uses, if `config.data.tiles` sets a size.

    Args:
      source: whole images.
      data: `config.data`.
      split: 'train', 'val' or 'test'. In 'train', tiles without a box to learn may be left out.
      rules: the rules for the boxes to learn.

    Returns:
      the tiles and their counts; or the images themselves and None.

    Raises:
      ConfigError: the images are not files, or as in `tiling_of`.
    """
    tiling = tiling_of(data)
    if tiling is None:
        return source, None
    if not isinstance(source, AnnotatedImages):
        raise ConfigError(
            f"config.data.tiles.size is {tiling.size}, but tiles are cut from image files, and "
            f"{type(source).__name__} has none; leave it unset."
        )
    if source.reading.channels != 3:
        raise ConfigError(
            f"model.in_channels is {source.reading.channels} and config.data.tiles.size "
            f"{tiling.size}, but tiles are cut from RGB images; leave one of them unset."
        )
    cache = data.tiles.get("cache")
    folder = None if cache is None else pathlib.Path(cache).expanduser()
    kept = float(data.tiles.get("keep_empty", 0.1)) if split == "train" else 1.0
    with naming(below("data.tiles", ("size", "overlap"))):
        return counted_tiles(TileSource(source, tiling, folder), rules, kept)


def check_classes(learned: Learned, data: ml_collections.ConfigDict) -> None:
    """Refuses training data in which a class has no box to learn, unless that is allowed.

    Args:
      learned: the counts of the training data.
      data: `config.data`.

    Raises:
      DataError: a class has no box to learn; the message names the classes and the reasons.
    """
    if not allows_empty_classes(data):
        unlearned.check_classes(learned, origin_of(data, "train"))


def allows_empty_classes(data: ml_collections.ConfigDict) -> bool:
    """True if classes may have no boxes; runs of earlier versions do not have the key."""
    return bool(data.get("allow_empty_classes", False))


def name_of(config: ml_collections.ConfigDict) -> str:
    """Name of a configuration's kind of data, such as 'coco'."""
    return str(config.data.source)


def open_split(
    config: ml_collections.ConfigDict,
    split: str,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
    voc_pixels: str | None = None,
) -> Source:
    """`create_source` for a whole configuration."""
    return create_source(
        config.data,
        split,
        config.matcher,
        categories=categories,
        bit_depth=bit_depth,
        voc_pixels=voc_pixels,
        channels=in_channels_of(config),
    )


def open_data(
    config: ml_collections.ConfigDict,
    categories: Categories | None = None,
    voc_pixels: str | None = None,
) -> tuple[Source, Source, Learned]:
    """The training and the validation data of a configuration, and counts of the learned objects.

    Args:
      config: the whole configuration.
      categories: the id and name of each label of a run that has begun; None: those of the
        training data.
      voc_pixels: the pixel convention of VOC's XMLs in a run that has begun; None: inferred from
        the training data.

    Raises:
      ConfigError: an option has a value that is refused.
      DataError: the data set is broken, or has a class without a box to learn.
    """
    data, shares, channels = config.data, shares_of(config.data), in_channels_of(config)
    whole = open_files(data, "train", categories, None, voc_pixels, channels)
    parts = _split(data, whole, shares) if shares.names else None
    of_training = whole if parts is None else parts.part("train")
    source, learned = _counted(data, "train", of_training, config.matcher)
    check_classes(learned, data)
    if parts is not None and "val" in shares.names:
        return source, _counted(data, "val", parts.part("val"), None)[0], learned
    validation = create_source(
        data,
        "val",
        categories=list(zip(source.category_ids, source.classes, strict=True)),
        bit_depth=bit_depth_of(source),
        voc_pixels=voc_pixels_of(source),
        channels=channels,
    )
    check_shared_images(config, source, validation)
    return source, validation, learned


def given_data(
    config: ml_collections.ConfigDict, source: Source, validation: Source
) -> tuple[Source, Source, Learned]:
    """As `open_data`, for given data, of which all images are used, in tiles if configured."""
    data, matcher = config.data, config.get("matcher")
    rules = rules_of(data, matcher, "train")
    learned = count_learned(source, rules_of_images(rules, data))
    source, counts = cut_into_tiles(source, data, "train", rules)
    validation, _ = cut_into_tiles(validation, data, "val", rules_of(data, matcher, "val"))
    return source, validation, in_tiles(learned, counts)
