"""The files of a split, in any format that `config.data` can name."""

import dataclasses
import logging
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence

import ml_collections

from ioub_jax.data.checks import DataError
from ioub_jax.data.images import AS_STORED, Reading
from ioub_jax.data.sources import (
    Categories,
    CityscapesSource,
    CocoSource,
    FileSource,
    ShapesSource,
    Source,
    TfdsSource,
    VocSource,
    YoloSource,
    several_files,
    unlearned,
)
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.example import channels_of
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.data.sources.image_survey import with_reading
from ioub_jax.data.sources.splits import Shares
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import below, naming

SPLITS = ("train", "val", "test")
ON_ERROR = {"on_error": "config.data.on_error"}
_log = logging.getLogger(__name__)


def open_files(
    data: ml_collections.ConfigDict,
    split: str,
    categories: Categories | None,
    bit_depth: int | None,
    voc_pixels: str | None,
    channels: int,
) -> Source:
    """Every readable image of a split's files; arguments and errors as in `open_source`."""
    if data.source not in _OPEN:
        raise DataError(
            f"config.data.source is {data.source!r} and must be one of {tuple(_OPEN)}.", "folder"
        )
    options = f"config.data.{data.source}"
    with naming(ON_ERROR | below(options, ("classes", "image_size", "pixels", "unannotated"))):
        source = _OPEN[data.source](_with_voc_pixels(data, voc_pixels), split, categories)
    name = f"{data.source} {split}"
    if categories is not None:
        origin = origin_of(data, split)
        # Messages name COCO's JSON files, and the option by which COCO's and YOLO's classes can be
        # restricted.
        title, classes_key = f"The {split} split of {data.source}", None
        if origin.annotations:
            title, classes_key = ", ".join(map(str, origin.annotations)), origin.classes_key
        elif data.source == "yolo":
            title, classes_key = f"The {split} split of {data.yolo.root}", origin.classes_key
        source = with_classes(source, categories, title, classes_key)
    if source.skipped:
        count = sum(problem.count for problem in source.skipped)
        _log.warning("%s: %d left out, the first: %s", name, count, source.skipped[0])
    if isinstance(source, AnnotatedImages):
        bit_depth = chosen_bit_depth(data) or bit_depth
        return with_reading(source, name, exif=_exif(data), bit_depth=bit_depth, channels=channels)
    return with_channels(source, channels)


def files_split(data: ml_collections.ConfigDict, split: str) -> str:
    """The split whose files are read: 'train' for a share of the training data."""
    return "train" if split in shares_of(data).names else split


def shares_of(data: ml_collections.ConfigDict) -> Shares:
    """Shares of the training files that `config.data.split` holds out.

    Raises:
      ConfigError: no training data would be left.
    """
    options = data.get("split") or {}  # runs of earlier versions do not have it
    held = {name: options.get(name, 0.0) for name in SPLITS[1:]}
    with naming(below("data.split", held)):
        return Shares(held, options.get("seed", 0))


def origin_of(data: ml_collections.ConfigDict, split: str) -> unlearned.Origin:
    """The origin of a split of `config.data`, for messages."""
    annotations: tuple[pathlib.Path, ...] = ()
    if data.source == "coco":
        annotations = tuple(path for path, _ in _coco_files(data, files_split(data, split)))
    name = f"config.data.{data.source}"
    has_classes = "classes" in data.get(data.source, {})
    return unlearned.Origin(name, annotations, f"{name}.classes" if has_classes else None)


def chosen_bit_depth(data: ml_collections.ConfigDict) -> int | None:
    """The bit depth that `config.data` sets; None if it is measured."""
    depth: int | None = data.get("bit_depth")
    return depth


def reading_of(config: ml_collections.ConfigDict, bit_depth: int = AS_STORED.bit_depth) -> Reading:
    """Conversion of a configuration's images to pixels.

    Args:
      config: the whole configuration.
      bit_depth: the bit depth of 16-bit images, unless the configuration sets one.
    """
    depth = chosen_bit_depth(config.data) or bit_depth
    return Reading(_exif(config.data), depth, in_channels_of(config))


def with_channels(source: Source, channels: int) -> Source:
    """The data set with the given number of channels, which only image files can be read with.

    Raises:
      ConfigError: the images are not files and have another number of channels.
    """
    if isinstance(source, AnnotatedImages):
        return source.read_with(dataclasses.replace(source.reading, channels=channels))
    if channels != channels_of(source):
        raise ConfigError(
            f"config.model.in_channels is {channels}, but the images of a {type(source).__name__} "
            f"have {channels_of(source)} channels; set it to {channels_of(source)}, or use image "
            "files."
        )
    return source


def in_channels_of(config: ml_collections.ConfigDict) -> int:
    """Number of channels of a configuration's images; 3 in runs of earlier versions."""
    return int(config.model.get("in_channels", 3)) if "model" in config else 3


def _exif(data: ml_collections.ConfigDict) -> str:
    return str(data.get("exif", "ignore"))


def _with_voc_pixels(
    data: ml_collections.ConfigDict, pixels: str | None
) -> ml_collections.ConfigDict:
    """Returns `config.data` with the training data's pixel convention, unless it sets one."""
    if data.source != "voc" or pixels is None or data.voc.get("pixels") is not None:
        return data
    values = data.to_dict()
    return ml_collections.ConfigDict(values | {"voc": values["voc"] | {"pixels": pixels}})


def _shapes(
    data: ml_collections.ConfigDict, split: str, categories: Categories | None
) -> ShapesSource:
    shapes = data.shapes
    return ShapesSource(
        num_images=shapes.num_train if split == "train" else shapes.num_val,
        image_size=tuple(shapes.image_size),
        seed=shapes.seed,
        split=split,
    )


def _coco(data: ml_collections.ConfigDict, split: str, categories: Categories | None) -> FileSource:
    files = _coco_files(data, split)
    sources = [
        CocoSource(
            annotations,
            images,
            classes=data.coco.classes or None,
            may_lack=split != "train" or len(files) > 1,
            on_error=data.on_error,
            split=split,
            exif=_exif(data),
        )
        for annotations, images in files
    ]
    if len(sources) == 1:
        return sources[0]
    names = [str(annotations) for annotations, _ in files]
    chosen = data.coco.classes if split == "train" else None
    return several_files.join(sources, names, chosen, data.on_error)


def _coco_files(
    data: ml_collections.ConfigDict, split: str
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """The JSON files of a split, each with the folder of its images.

    Raises:
      ConfigError: the numbers of folders and files differ, or a file is named twice.
    """
    root = pathlib.Path(data.coco.root).expanduser()
    keys = [f"{split}_{kind}" for kind in ("annotations", "images")]
    files, folders = ([root / name for name in _texts(data.coco[key])] for key in keys)
    names = [f"config.data.coco.{key}" for key in keys]
    if len(folders) not in (1, len(files)):
        raise ConfigError(
            f"{names[1]} names {len(folders)} folders for the {len(files)} files of {names[0]}; "
            "name one for all of them, or one for each in their order."
        )
    for path, count in Counter(map(os.path.realpath, files)).items():
        if count > 1:
            raise ConfigError(f"{names[0]} names {path} {count} times; name each file once.")
    return list(zip(files, folders * (len(files) if len(folders) == 1 else 1), strict=True))


def _texts(value: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the values of a key that accepts one or several."""
    return (value,) if isinstance(value, str) else tuple(value)


def _voc(data: ml_collections.ConfigDict, split: str, categories: Categories | None) -> VocSource:
    voc = data.voc
    trained = None if categories is None else [name for _, name in categories]
    return VocSource(
        voc.root,
        voc[f"{split}_split"],
        folders=tuple(voc[f"{split}_folders"]),
        classes=voc.classes or trained,
        may_learn_more=trained is None,
        on_error=data.on_error,
        pixels=voc.get("pixels"),
        unannotated=voc.get("unannotated", "problem"),
        exif=_exif(data),
    )


def _yolo(data: ml_collections.ConfigDict, split: str, categories: Categories | None) -> YoloSource:
    return YoloSource(
        data.yolo.root,
        data.yolo[f"{split}_split"],
        classes=data.yolo.classes or None,
        may_lack=split != "train",
        on_error=data.on_error,
        exif=_exif(data),
    )


def _cityscapes(
    data: ml_collections.ConfigDict, split: str, categories: Categories | None
) -> CityscapesSource:
    cityscapes = data.cityscapes
    return CityscapesSource(cityscapes.root, cityscapes[f"{split}_split"], on_error=data.on_error)


def _tfds(data: ml_collections.ConfigDict, split: str, categories: Categories | None) -> TfdsSource:
    tfds = data.tfds
    if _exif(data) == "apply":
        raise DataError(
            "config.data.exif='apply' is for data sets of image files: TFDS stores boxes as shares "
            "of the images as stored; set it to 'ignore'.",
            "folder",
        )
    return TfdsSource(
        tfds.name,
        tfds[f"{split}_split"],
        data_dir=tfds.data_dir,
        on_error=data.on_error,
        one_based=tfds.one_based,
    )


#: `config.data.source` -> function that opens a split, from `config.data`, the split, and the
#: categories of a detector, for files without a list of classes. Its options have the same name.
_OPEN: dict[str, Callable[[ml_collections.ConfigDict, str, Categories | None], Source]] = {
    "coco": _coco,
    "voc": _voc,
    "yolo": _yolo,
    "cityscapes": _cityscapes,
    "tfds": _tfds,
    "shapes": _shapes,
}
