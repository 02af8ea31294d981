"""Data sets, batches and audits of a configuration: `config.data` is read here alone."""

import dataclasses
import logging
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence

import ml_collections
import numpy as np

from ioub_jax.data import audit, repeat_factors, throughput
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
    FileSource,
    Learned,
    Rules,
    ShapesSource,
    Source,
    TfdsSource,
    VocSource,
    annotations_of,
    bit_depth_of,
    several_files,
    unlearned,
)
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.data.sources.image_survey import with_reading
from ioub_jax.data.sources.learned import (
    count_classes,
    count_learned,
    learned_objects,
    with_learned_images,
)
from ioub_jax.data.sources.same_images import find_shared
from ioub_jax.data.sources.splits import Shares, Split
from ioub_jax.data.sources.splits import split as split_data_set
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import below, naming

SPLITS = ("train", "val", "test")
# Classes that a line names.
_MOST_CLASSES = 8
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

    Returns:
      the data set; for training without the images that have no box to learn, unless they are
      kept.

    Raises:
      ValueError: the split is unknown.
      ConfigError: an option has a value that its source refuses.
      DataError: the source is unknown, something is wrong with its files, there is no box to learn,
        or there are objects of a class that `categories` lacks.
    """
    return open_counted(data, split, matcher, categories=categories, bit_depth=bit_depth)[0]


def open_counted(
    data: ml_collections.ConfigDict,
    split: str,
    matcher: ml_collections.ConfigDict | None = None,
    *,
    categories: Categories | None = None,
    bit_depth: int | None = None,
) -> tuple[Source, Learned]:
    """As `create_source`, with what of the data set is learned.

    Args:
      data: `config.data`.
      split: 'train', 'val' or 'test'.
      matcher: `config.matcher`; None for its defaults.
      categories: as for `create_source`.
      bit_depth: as for `create_source`.

    Returns:
      the data set and the counts; raises alike.
    """
    return _counted(data, split, open_source(data, split, categories, bit_depth), matcher)


def _counted(
    data: ml_collections.ConfigDict,
    split: str,
    source: Source,
    matcher: ml_collections.ConfigDict | None,
) -> tuple[Source, Learned]:
    """The images that a split is used with, of all that it has, and what is learned."""
    rules = rules_of(data, matcher, split)
    learned = count_learned(source, rules)
    if split == "train":
        unlearned.check_any(learned, origin_of(data, split))
        source = with_learned_images(source, rules)
    return source, learned


def open_source(
    data: ml_collections.ConfigDict,
    split: str,
    categories: Categories | None = None,
    bit_depth: int | None = None,
) -> Source:
    """The data set that a configuration names, with every image that can be read.

    Args:
      data: `config.data`.
      split: 'train', 'val' or 'test'.
      categories: as for `create_source`.
      bit_depth: as for `create_source`.

    Returns:
      the data set; raises as `create_source`, but for a lack of boxes.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; use one of {SPLITS}.")
    whole = _open_files(data, files_split(data, split), categories, bit_depth)
    return _part(data, split, whole)


def shares_of(data: ml_collections.ConfigDict) -> Shares:
    """What of the training files `config.data.split` holds out.

    Raises:
      ConfigError: nothing would be left to train on.
    """
    options = data.get("split") or {}  # which runs of earlier versions do not have
    held = {name: options.get(name, 0.0) for name in SPLITS[1:]}
    with naming(below("data.split", held)):
        return Shares(held, options.get("seed", 0))


def files_split(data: ml_collections.ConfigDict, split: str) -> str:
    """Whose files a split is read from: 'train' where it is a share of the training's."""
    return "train" if split in shares_of(data).names else split


def _part(data: ml_collections.ConfigDict, split: str, whole: Source) -> Source:
    """What of the files of a split belongs to it."""
    shares = shares_of(data)
    if not shares.names or split not in ("train", *shares.names):
        return whole
    return _split(data, whole, shares).part(split)


def _split(data: ml_collections.ConfigDict, whole: Source, shares: Shares) -> Split:
    if not isinstance(whole, AnnotatedImages):
        name = shares.names[0]
        raise DataError(
            f"config.data.split.{name} is {shares.held[name]:g}, but the images of "
            f"config.data.source={data.source!r} are drawn and its splits with them; set "
            f"--config.data.split.{name}=0.",
            "folder",
        )
    return split_data_set(whole, shares)


def _open_files(
    data: ml_collections.ConfigDict,
    split: str,
    categories: Categories | None,
    bit_depth: int | None,
) -> Source:
    """Every image that can be read of the files of a split; as `open_source`."""
    if data.source not in _OPEN:
        raise DataError(
            f"config.data.source is {data.source!r} and must be one of {tuple(_OPEN)}.", "folder"
        )
    options = f"config.data.{data.source}"
    with naming(_ON_ERROR | below(options, ("classes", "image_size", "unannotated"))):
        source = _OPEN[data.source](data, split, categories)
    name = f"{data.source} {split}"
    if categories is not None:
        origin = origin_of(data, split)
        # A JSON is one file to name, and its classes may be left out where it is opened.
        title, classes_key = f"The {split} split of {data.source}", None
        if origin.annotations:
            title, classes_key = ", ".join(map(str, origin.annotations)), origin.classes_key
        source = with_classes(source, categories, title, classes_key)
    if source.skipped:
        count = sum(problem.count for problem in source.skipped)
        _log.warning("%s: %d left out, the first: %s", name, count, source.skipped[0])
    if isinstance(source, AnnotatedImages):
        bit_depth = chosen_bit_depth(data) or bit_depth
        return with_reading(source, name, exif=_exif(data), bit_depth=bit_depth)
    return source


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
    annotations: tuple[pathlib.Path, ...] = ()
    if data.source == "coco":
        annotations = tuple(path for path, _ in _coco_files(data, files_split(data, split)))
    name = f"config.data.{data.source}"
    has_classes = "classes" in data.get(data.source, {})
    return unlearned.Origin(name, annotations, f"{name}.classes" if has_classes else None)


# Keys that runs of earlier versions do not have.


def _allows_empty_classes(data: ml_collections.ConfigDict) -> bool:
    return bool(data.get("allow_empty_classes", False))


def _allows_same_images(data: ml_collections.ConfigDict) -> bool:
    return bool(data.get("allow_same_images", False))


def _exif(data: ml_collections.ConfigDict) -> str:
    return str(data.get("exif", "ignore"))


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
    return Reading(_exif(config.data), chosen_bit_depth(config.data) or bit_depth)


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
    """The JSONs of a split, each with the folder of its images.

    Raises:
      ConfigError: there are not as many folders as files, or a file is named twice.
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
    """What a key names that may name one or several."""
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
        one_based=voc.one_based,
        unannotated=voc.get("unannotated", "problem"),
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
    "cityscapes": _cityscapes,
    "tfds": _tfds,
    "shapes": _shapes,
}

# ------------------------------------------------------------------ batches


def resize_of(data: ml_collections.ConfigDict) -> Resize:
    """How `config.data.resize` scales images.

    Raises:
      ConfigError: it has values that `Resize` refuses.
    """
    options = data.resize
    with naming(below("data.resize", ("mode", "short_side", "long_side"))):
        return Resize(options.mode, options.short_side, options.long_side)


def canvases_of(data: ml_collections.ConfigDict) -> tuple[Size, ...]:
    """Height and width of each of `config.data.canvases`."""
    return tuple((int(height), int(width)) for height, width in data.canvases)


def augmentation_of(data: ml_collections.ConfigDict) -> Augmentation:
    """The transforms that `config.data.augmentation` asks for.

    Raises:
      ConfigError: it has values that `Augmentation` refuses.
    """
    options = data.augmentation
    names = [field.name for field in dataclasses.fields(Augmentation)]
    with naming(below("data.augmentation", names)):
        return Augmentation(**{**options, "scale_jitter": tuple(options.scale_jitter)})


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
) -> Source:
    """`create_source` of a whole configuration."""
    return create_source(
        config.data, split, config.matcher, categories=categories, bit_depth=bit_depth
    )


def open_data(
    config: ml_collections.ConfigDict, categories: Categories | None = None
) -> tuple[Source, Source, Learned]:
    """The training and the validation data of a configuration, and what of the former is learned.

    Args:
      config: the whole configuration.
      categories: the id and name of each label, of a run that has begun; None: those of the
        training data.

    Raises:
      ConfigError: an option has a value that is refused.
      DataError: the data set is broken, or has a class without a box to learn.
    """
    data, shares = config.data, shares_of(config.data)
    whole = _open_files(data, "train", categories, None)
    parts = _split(data, whole, shares) if shares.names else None
    of_training = whole if parts is None else parts.part("train")
    source, learned = _counted(data, "train", of_training, config.matcher)
    check_classes(learned, data)
    if parts is not None and "val" in shares.names:
        return source, parts.part("val"), learned
    validation = create_source(
        data,
        "val",
        categories=list(zip(source.category_ids, source.classes, strict=True)),
        bit_depth=bit_depth_of(source),
    )
    check_shared_images(config, source, validation)
    return source, validation, learned


def check_shared_images(
    config: ml_collections.ConfigDict, source: Source, validation: Source
) -> None:
    """Refuses validation images that are trained on, too, unless that is allowed.

    Args:
      config: the whole configuration.
      source: the training data.
      validation: the validation data.

    Raises:
      DataError: some files are the same, or have the same bytes.
    """
    if _allows_same_images(config.data):
        return
    shared = find_shared(source, validation)
    if shared:
        raise DataError(
            f"{_told_of_shared(shared, validation)}; validate on images of their own, such as a "
            "share of the training images by --config.data.split.val=0.1, or set "
            "--config.data.allow_same_images=True.",
            "duplicate_image",
        )


def shared_image_warnings(
    config: ml_collections.ConfigDict, source: Source, validation: Source
) -> list[str]:
    """A sentence if validation images are trained on, where that is allowed."""
    if not _allows_same_images(config.data):
        return []
    shared = find_shared(source, validation, by_content=False)
    return [f"{_told_of_shared(shared, validation)}."] if shared else []


def _told_of_shared(shared: Sequence[tuple[str, str]], validation: Source) -> str:
    name, trained_on = shared[0]
    first = name
    if os.path.normpath(name) != trained_on:
        first = f"{name}, which has the bytes of {trained_on}"
    are = "is" if len(shared) == 1 else "are"
    return (
        f"{len(shared):,} of the {len(validation):,} validation images {are} trained on, too (the "
        f"first: {first}), so that their AP says little of other images, and the best checkpoint "
        "is chosen by it"
    )


def repeats_of(
    config: ml_collections.ConfigDict, source: Source
) -> tuple[np.ndarray | None, list[str]]:
    """How often each training image comes in an epoch, and a line that tells it.

    Args:
      config: the whole configuration.
      source: the training data.

    Returns:
      float64 `[n]`, or None and no line where each comes once.
    """
    threshold = config.data.get("repeat_threshold")  # which runs of earlier versions do not have
    if threshold is None:
        return None, []
    annotations, classes = annotations_of(source), source.classes
    learned = learned_objects(annotations, rules_of(config.data, config.get("matcher"), "train"))
    images, labels = repeat_factors.images_of_classes(annotations, learned, len(classes))
    repeats = repeat_factors.repeat_factors(images, labels, len(source), len(classes), threshold)
    plan = loading_of(config).training_plan(source.sizes, 1, config.seed, repeats)
    before = np.bincount(labels, minlength=len(classes))
    now = np.bincount(labels, repeats[images], minlength=len(classes))
    # Those that gain most.
    gained = [c for c in np.argsort(-now / np.maximum(before, 1), kind="stable") if before[c]]
    told = [f"{classes[c]} in {now[c]:,.0f} for {before[c]:,}" for c in gained[:_MOST_CLASSES]]
    if len(gained) > _MOST_CLASSES:
        told.append(f"and {len(gained) - _MOST_CLASSES:,} more classes")
    return repeats, [
        f"Sampling: {plan.images_per_epoch:,} images an epoch for {len(source):,} "
        f"(data.repeat_threshold={threshold:g}): {', '.join(told)}."
    ]


def boxes_of_classes(config: ml_collections.ConfigDict, source: Source) -> list[int]:
    """How many boxes of each class of the training data are learned."""
    rules = rules_of(config.data, config.get("matcher"), "train")
    entries = count_classes(annotations_of(source), source.classes, source.category_ids, rules)
    return [entry.usable for entry in entries]


def images_per_epoch(config: ml_collections.ConfigDict) -> int:
    """How many images an epoch of a configuration has; raises as `open_split`."""
    source = open_split(config, "train")
    repeats, _ = repeats_of(config, source)
    plan = loading_of(config).training_plan(source.sizes, config.batch_size, config.seed, repeats)
    return plan.images_per_epoch


def learned_of(config: ml_collections.ConfigDict, source: Source) -> Learned:
    """What is learned of training data that is not the configured one."""
    return count_learned(source, rules_of(config.data, config.get("matcher"), "train"))


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
    repeats, _ = repeats_of(config, source)
    plan = loading.training_plan(source.sizes, config.batch_size, config.seed, repeats)
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
    return open_source(lenient, split)


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
    use = audit.Use(
        split,
        origin_of(data, split),
        rules_of(data, config.matcher, split),
        on_error=data.on_error,
        max_boxes=data.max_boxes,
        max_detections=config.evaluation.max_detections,
        is_for_coco="coco" in config.evaluation.metrics,
        allow_empty_classes=_allows_empty_classes(data),
    )
    return audit.audit_data_set(source, use, decode=decode)
