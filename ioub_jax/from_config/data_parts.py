"""Data sets, batches and audits of a configuration: `config.data` is read here alone."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import ml_collections

from ioub_jax.data import audit, throughput
from ioub_jax.data.audit.tile_findings import find_in_tiles
from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.checks import DataError, check_on_error
from ioub_jax.data.images import AS_STORED, Reading
from ioub_jax.data.loading import Loading
from ioub_jax.data.pipeline import NO_AUGMENTATION
from ioub_jax.data.resizing import Resize, Size
from ioub_jax.data.sources import (
    Categories,
    CityscapesSource,
    CocoSource,
    Learned,
    Rules,
    ShapesSource,
    Source,
    TfdsSource,
    VocSource,
    YoloSource,
    annotations_of,
    bit_depth_of,
    unlearned,
    voc_pixels_of,
)
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.example import channels_of
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.data.sources.image_survey import with_reading
from ioub_jax.data.sources.learned import count_learned, with_learned_images, without_lost
from ioub_jax.data.sources.tiles import TileCounts, TileSource, counted_tiles
from ioub_jax.data.tiling import Tiling
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import below, naming, naming_fields

SPLITS = ("train", "val", "test")
_ON_ERROR = {"on_error": "config.data.on_error"}

_log = logging.getLogger(__name__)

# ------------------------------------------------------------------ the data sets


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
    """The data set that a configuration names, with the images that a split is used with.

    Args:
      data: `config.data`: `source`, `on_error`, `keep_empty`, `exif`, `bit_depth` and the source's
        own options under its name.
      split: 'train', 'val' or 'test'.
      matcher: `config.matcher`, whose `crowd` and `difficult` say what is learned of those; None
        for its defaults.
      categories: the id and name of each label of a detector. The data set then has its labels, by
        the names of its own classes, some of which it may lack. None: the labels of the data set.
      bit_depth: what the 16-bit images of the training data have, where the configuration does not
        say; None: measured on this split.
      voc_pixels: how the training data counts the pixels of VOC's XMLs, where the configuration
        does not say; None: decided by the files of this split.
      channels: of the images, `config.model.in_channels`.

    Returns:
      the data set; for training without the images that have no box to learn, unless they are
      kept.

    Raises:
      ValueError: the split is unknown.
      ConfigError: an option has a value that its source refuses.
      DataError: the source is unknown, something is wrong with its files, there is no box to learn,
        or there are objects of a class that `categories` lacks.
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
    """As `create_source`, with what of the data set is learned.

    Args:
      data: `config.data`.
      split: 'train', 'val' or 'test'.
      matcher: `config.matcher`; None for its defaults.
      categories: as for `create_source`.
      bit_depth: as for `create_source`.
      voc_pixels: as for `create_source`.
      channels: as for `create_source`.

    Returns:
      the data set and the counts; raises alike.
    """
    source = open_source(data, split, categories, bit_depth, voc_pixels, channels)
    rules = rules_of(data, matcher, split)
    of_images = _of_images(rules, data)
    learned = count_learned(source, of_images)
    if split == "train":
        unlearned.check_any(learned, origin_of(data, split))
        source = with_learned_images(source, of_images)
    source, counts = cut_into_tiles(source, data, split, rules)
    learned = _in_tiles(learned, counts)
    if split == "train" and counts is not None:
        unlearned.check_any(learned, origin_of(data, split))
    return source, learned


def _in_tiles(learned: Learned, counts: TileCounts | None) -> Learned:
    """What is learned once the images are cut, if they are."""
    return learned if counts is None else without_lost(learned, counts.lost, counts.line())


def _of_images(rules: Rules, data: ml_collections.ConfigDict) -> Rules:
    """The rules for whole images: slots are those of a tile, of which an image has any number."""
    return rules if tiling_of(data) is None else dataclasses.replace(rules, max_boxes=None)


def open_source(
    data: ml_collections.ConfigDict,
    split: str,
    categories: Categories | None = None,
    bit_depth: int | None = None,
    voc_pixels: str | None = None,
    channels: int = 3,
) -> Source:
    """The data set that a configuration names, with every image that can be read.

    Args:
      data: `config.data`.
      split: 'train', 'val' or 'test'.
      categories: as for `create_source`.
      bit_depth: as for `create_source`.
      voc_pixels: as for `create_source`.
      channels: as for `create_source`.

    Returns:
      the data set; raises as `create_source`, but for a lack of boxes.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; use one of {SPLITS}.")
    if data.source not in _OPEN:
        raise DataError(
            f"config.data.source is {data.source!r} and must be one of {tuple(_OPEN)}.", "folder"
        )
    options = f"config.data.{data.source}"
    with naming(_ON_ERROR | below(options, ("classes", "image_size", "pixels", "unannotated"))):
        source = _OPEN[data.source](_with_voc_pixels(data, voc_pixels), split, categories)
    name = f"{data.source} {split}"
    if categories is not None:
        origin = origin_of(data, split)
        # A JSON is one file to name; its classes, and YOLO's, may be left out where it is opened.
        title, classes_key = f"The {split} split of {data.source}", None
        if origin.annotations is not None:
            title, classes_key = str(origin.annotations), origin.classes_key
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


def rules_of(
    data: ml_collections.ConfigDict, matcher: ml_collections.ConfigDict | None, split: str
) -> Rules:
    """What of a split is learned; evaluation has all images, and every object but crowds.

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
    return Rules(crowd, difficult, data.keep_empty, data.max_boxes, verb="trained on")


def cut_into_tiles(
    source: Source, data: ml_collections.ConfigDict, split: str, rules: Rules
) -> tuple[Source, TileCounts | None]:
    """The tiles of images that a split is used with, where `config.data.tiles` asks for them.

    Args:
      source: whole images.
      data: `config.data`.
      split: 'train', of which tiles without a box to learn may be left out, 'val' or 'test'.
      rules: which boxes are learned.

    Returns:
      the tiles and what becomes of all there are; or the images themselves and None.

    Raises:
      ConfigError: the images are no files, or as `tiling_of`.
    """
    tiling = tiling_of(data)
    if tiling is None:
        return source, None
    if not isinstance(source, AnnotatedImages):
        raise ConfigError(
            f"config.data.tiles.size is {tiling.size}, but tiles are cut from image files, which "
            f"{type(source).__name__} has none of; leave it unset."
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
    """Refuses training data that has a class without a box to learn, unless that is allowed.

    Args:
      learned: the counts of the training data.
      data: `config.data`.

    Raises:
      DataError: names the classes, the reasons and the way out.
    """
    if not _allows_empty_classes(data):
        unlearned.check_classes(learned, origin_of(data, "train"))


def origin_of(data: ml_collections.ConfigDict, split: str) -> unlearned.Origin:
    """Where a split of `config.data` comes from."""
    annotations = None
    if data.source == "coco":
        annotations = pathlib.Path(data.coco.root).expanduser() / data.coco[f"{split}_annotations"]
    name = f"config.data.{data.source}"
    has_classes = "classes" in data.get(data.source, {})
    return unlearned.Origin(name, annotations, f"{name}.classes" if has_classes else None)


# Keys that runs of earlier versions do not have.


def _allows_empty_classes(data: ml_collections.ConfigDict) -> bool:
    return bool(data.get("allow_empty_classes", False))


def _exif(data: ml_collections.ConfigDict) -> str:
    return str(data.get("exif", "ignore"))


def _with_voc_pixels(
    data: ml_collections.ConfigDict, pixels: str | None
) -> ml_collections.ConfigDict:
    """`config.data` with the pixels of the training data, where it does not choose any itself."""
    if data.source != "voc" or pixels is None or data.voc.get("pixels") is not None:
        return data
    values = data.to_dict()
    return ml_collections.ConfigDict(values | {"voc": values["voc"] | {"pixels": pixels}})


def chosen_bit_depth(data: ml_collections.ConfigDict) -> int | None:
    """The bit depth that `config.data` chooses; None where it is to be measured."""
    depth: int | None = data.get("bit_depth")
    return depth


def reading_of(config: ml_collections.ConfigDict, bit_depth: int = AS_STORED.bit_depth) -> Reading:
    """How the images of a configuration become pixels.

    Args:
      config: the whole configuration.
      bit_depth: that of 16-bit images where the configuration does not choose one.
    """
    depth = chosen_bit_depth(config.data) or bit_depth
    return Reading(_exif(config.data), depth, in_channels_of(config))


def with_channels(source: Source, channels: int) -> Source:
    """A data set whose images have so many channels; of one without files they are what they are.

    Raises:
      ConfigError: they are others.
    """
    if isinstance(source, AnnotatedImages):
        return source.read_with(dataclasses.replace(source.reading, channels=channels))
    if channels != channels_of(source):
        raise ConfigError(
            f"config.model.in_channels is {channels}, but the images of a "
            f"{type(source).__name__} have {channels_of(source)} channels; set it to "
            f"{channels_of(source)}, or take image files."
        )
    return source


def in_channels_of(config: ml_collections.ConfigDict) -> int:
    """How many channels the images of a configuration have; 3 in runs of earlier versions."""
    return int(config.model.get("in_channels", 3)) if "model" in config else 3


# ------------------------------------------------------------------ each kind of data set


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


def _coco(data: ml_collections.ConfigDict, split: str, categories: Categories | None) -> CocoSource:
    root = pathlib.Path(data.coco.root).expanduser()
    return CocoSource(
        root / data.coco[f"{split}_annotations"],
        root / data.coco[f"{split}_images"],
        classes=data.coco.classes or None,
        may_lack=split != "train",
        on_error=data.on_error,
        split=split,
        exif=_exif(data),
    )


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
            "config.data.exif='apply' is for data sets of files: TFDS keeps boxes as shares of "
            "the images as stored, so set it to 'ignore'.",
            "folder",
        )
    return TfdsSource(
        tfds.name,
        tfds[f"{split}_split"],
        data_dir=tfds.data_dir,
        on_error=data.on_error,
        one_based=tfds.one_based,
    )


#: `config.data.source` -> what opens a split of it, given `config.data` and the categories of a
#: detector, for files that do not list their classes. Its options stand under the same name.
_OPEN: dict[str, Callable[[ml_collections.ConfigDict, str, Categories | None], Source]] = {
    "coco": _coco,
    "voc": _voc,
    "yolo": _yolo,
    "cityscapes": _cityscapes,
    "tfds": _tfds,
    "shapes": _shapes,
}

# ------------------------------------------------------------------ batches


def tiling_of(data: ml_collections.ConfigDict) -> Tiling | None:
    """How `config.data.tiles` cuts images; None where it does not.

    Raises:
      ConfigError: it has values that `Tiling` refuses.
    """
    options = data.get("tiles", {})  # not in the runs of earlier versions
    if options.get("size") is None:
        return None
    names = [field.name for field in dataclasses.fields(Tiling)]
    with naming(below("data.tiles", names)):
        return Tiling(**{name: options[name] for name in names if name in options})


def resize_of(data: ml_collections.ConfigDict) -> Resize:
    """How `config.data.resize` scales images.

    Tiles keep the size of their pixels, or have it changed by their own key.

    Raises:
      ConfigError: it has values that `Resize` refuses.
    """
    options, tiling = data.resize, tiling_of(data)
    if tiling is not None:
        return Resize("zoom", zoom=tiling.zoom)
    with naming(below("data.resize", ("mode", "short_side", "long_side"))):
        return Resize(options.mode, options.short_side, options.long_side)


def canvases_of(data: ml_collections.ConfigDict) -> tuple[Size, ...]:
    """Height and width of each of `config.data.canvases`; of tiles, that of a tile."""
    tiling = tiling_of(data)
    if tiling is not None:
        return (tiling.canvas,)
    return tuple((int(height), int(width)) for height, width in data.canvases)


def augmentation_of(data: ml_collections.ConfigDict) -> Augmentation:
    """The transforms that `config.data.augmentation` asks for.

    Raises:
      ConfigError: it has values that `Augmentation` refuses.
    """
    options: dict[str, Any] = {
        # Of a configuration that was read from JSON.
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data.augmentation.items()
    }
    with naming_fields("data.augmentation", Augmentation):
        return Augmentation(**options)


def loading_of(config: ml_collections.ConfigDict) -> Loading:
    """How the images of a configuration become batches.

    Args:
      config: the whole configuration, or what of one torchvision's detectors have.

    Raises:
      ConfigError: canvases, resize, scales or augmentation are refused.
    """
    data = config.data
    keys = below("data", ("canvases", "resize")) | {"scales": "data.resize.scales"} | _ON_ERROR
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


def name_of(config: ml_collections.ConfigDict) -> str:
    """What the data of a configuration is called: its kind, such as 'coco'."""
    return str(config.data.source)


def open_split(
    config: ml_collections.ConfigDict,
    split: str,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
    voc_pixels: str | None = None,
) -> Source:
    """`create_source` of a whole configuration."""
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
    """The training and the validation data of a configuration, and what of the former is learned.

    Args:
      config: the whole configuration.
      categories: the id and name of each label, of a run that has begun; None: those of the
        training data.
      voc_pixels: how VOC's pixels are counted, of a run that has begun; None: as the training data
        gives away.

    Raises:
      ConfigError: an option has a value that is refused.
      DataError: the data set is broken, or has a class without a box to learn.
    """
    channels = in_channels_of(config)
    source, learned = open_counted(
        config.data,
        "train",
        config.matcher,
        categories=categories,
        voc_pixels=voc_pixels,
        channels=channels,
    )
    check_classes(learned, config.data)
    validation = create_source(
        config.data,
        "val",
        categories=list(zip(source.category_ids, source.classes, strict=True)),
        bit_depth=bit_depth_of(source),
        voc_pixels=voc_pixels_of(source),
        channels=channels,
    )
    return source, validation, learned


def given_data(
    config: ml_collections.ConfigDict, source: Source, validation: Source
) -> tuple[Source, Source, Learned]:
    """As `open_data`, of data that is given: all of its images are used, in tiles if configured."""
    data, matcher = config.data, config.get("matcher")
    rules = rules_of(data, matcher, "train")
    learned = count_learned(source, _of_images(rules, data))
    source, counts = cut_into_tiles(source, data, "train", rules)
    validation, _ = cut_into_tiles(validation, data, "val", rules_of(data, matcher, "val"))
    return source, validation, _in_tiles(learned, counts)


def input_benchmark(
    config: ml_collections.ConfigDict, source: Source, num_batches: int
) -> throughput.InputBenchmark:
    """What is measured of the input pipeline on the training images of a configuration.

    Args:
      config: the whole configuration.
      source: its training images.
      num_batches: how many batches are looked at.

    Raises:
      ConfigError: the images are not files, or as `training_plan` and `augmentation_of`.
    """
    loading = loading_of(config)
    plan = loading.training_plan(source.sizes, config.batch_size, config.seed)
    with naming({"source": f"config.data.source={config.data.source!r}"}):
        return throughput.InputBenchmark(
            source,
            plan,
            num_batches,
            seed=config.seed,
            max_boxes=config.data.max_boxes,
            augmentation=loading.augmentation,
            on_error=config.data.on_error,
        )


# ------------------------------------------------------------------ audits


def open_leniently(config: ml_collections.ConfigDict, split: str) -> Source:
    """As `open_source`, although things are wrong with the data set: they are left out.

    Args:
      config: the whole configuration.
      split: 'train', 'val' or 'test'.

    Returns:
      the data set; raises as `open_source`, of what cannot be left out.
    """
    data = config.data
    with naming(_ON_ERROR):
        check_on_error(data.on_error)
    lenient = data.copy_and_resolve_references()
    lenient.on_error = "skip"
    return open_source(lenient, split, channels=in_channels_of(config))


def audit_data_set(
    config: ml_collections.ConfigDict, split: str, *, decode: bool = False
) -> audit.Audit:
    """Opens a split and looks for what training with this very configuration would stop at.

    Args:
      config: the whole configuration.
      split: 'train', 'val' or 'test'.
      decode: whether to decode every image.

    Returns:
      the audit.

    Raises:
      ValueError: the split is unknown.
      ConfigError: an option has a value that is refused.
    """
    data = config.data
    _log.info("Opening the %r split of data.source=%r.", split, data.source)
    try:
        source = open_leniently(config, split)
    except DataError as error:
        return audit.unopened(error)
    rules, are_cut = rules_of(data, config.matcher, split), tiling_of(data) is not None
    use = audit.Use(
        split,
        origin_of(data, split),
        _of_images(rules, data),
        on_error=data.on_error,
        max_boxes=None if are_cut else data.max_boxes,
        max_detections=config.evaluation.max_detections,
        is_for_coco="coco" in config.evaluation.metrics,
        allow_empty_classes=_allows_empty_classes(data),
        coco_detections=config.evaluation.get("coco_detections", 100),
    )
    found = audit.audit_data_set(source, use, decode=decode)
    if not are_cut or found.data is None:
        return found
    tiles, counts = cut_into_tiles(found.data.source, data, split, rules)
    assert counts is not None, "they are cut"
    learned = _in_tiles(found.data.learned, counts)
    opened = dataclasses.replace(found.data, learned=learned, tiles=annotations_of(tiles))
    findings = [*found.findings, *find_in_tiles(counts, data.max_boxes)]
    lacking = [entry for entry in learned.classes if entry.in_no_tile and not entry.usable]
    if lacking and split == "train":
        allowed = use.allow_empty_classes
        advice = unlearned.empty_classes(
            learned.classes, learned.fullest, use.origin, are_allowed=allowed
        )
        findings.insert(0, audit.Finding("empty_class", not allowed, len(lacking), advice))
    return audit.Audit(tuple(findings), opened)
