"""Readers of the files, called as by users, and checks of their results."""

import dis
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import config_flags

from configs import shapes_retinanet
from experiments.fuzz import seeds
from experiments.fuzz.cases import Files
from experiments.fuzz.places import place_of
from ioub_jax.commands import command_line, overrides
from ioub_jax.configs import refusals
from ioub_jax.data import image_rows, images
from ioub_jax.data.checks import DataError
from ioub_jax.data.images import Reading
from ioub_jax.data.sources import annotations_of, coco_layout, voc_layout
from ioub_jax.data.sources.cityscapes import CityscapesSource
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.data.sources.voc import VocSource
from ioub_jax.data.sources.yolo import YoloSource
from ioub_jax.diagnostics.detection_files import read_json
from ioub_jax.errors import ConfigError, UserError
from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.own_data import folders
from ioub_jax.weights import weight_files
from ioub_jax.workdirs import configuration

_RAISE = dis.opmap["RAISE_VARARGS"]


class WrongResultError(Exception):
    """Files were read without an error, but the result cannot be what they say."""


class Reader(NamedTuple):
    """A format: its valid files, and a function that reads files and describes the result."""

    seeds: Callable[[], list[Files]]
    read: Callable[[pathlib.Path], str]


# ------------------------------------------------------------------ data sets


def _coco(folder: pathlib.Path) -> str:
    layout = coco_layout.find_layout(folder)
    if layout is not None and folder.name.endswith("7"):
        return ",".join(layout.splits)
    return _opened(
        lambda on_error: CocoSource(
            folder / "instances_train.json", folder / "images", on_error=on_error
        )
    )


def _yolo(folder: pathlib.Path) -> str:
    return _opened(lambda on_error: YoloSource(folder, "train", on_error=on_error))


def _voc(folder: pathlib.Path) -> str:
    layout = voc_layout.find_layout(folder)
    split = "train" if (folder / "ImageSets/Main/train.txt").is_file() else None
    found = _opened(lambda on_error: VocSource(folder, split, on_error=on_error))
    return f"{layout is None} {found}"


def _cityscapes(folder: pathlib.Path) -> str:
    return _opened(lambda on_error: CityscapesSource(folder, "train", on_error=on_error))


def _found(folder: pathlib.Path) -> str:
    return folders.find(folder).format


def _opened(open_source: Callable[[str], AnnotatedImages]) -> str:
    """Opens a data set with `raise` and with `skip`, and decodes its first images.

    If `raise` stops, `skip` must leave something out.
    """
    stopped = ""
    try:
        open_source("raise")
    except DataError as error:
        stopped = error.kind
    source = open_source("skip")
    _check(source)
    for index in range(min(len(source), 3)):
        try:
            example = source[index]
        except DataError:
            continue
        if example.image is None or example.image.shape[:2] != tuple(source.sizes[index]):
            raise WrongResultError(f"image {index} is not of the size that is told")
    kinds = sorted({problem.kind for problem in source.skipped})
    if stopped and not kinds:
        raise WrongResultError(f"'raise' stops at {stopped}, 'skip' leaves nothing out")
    return f"{stopped} {kinds} {sorted(source.census.changes)} {min(len(source.classes), 9)}"


def _check(source: AnnotatedImages) -> None:
    """Refuses boxes that are not valid within their image, and labels that are not classes."""
    held = annotations_of(source)
    limits = np.repeat(held.sizes[:, ::-1], held.counts, axis=0)
    boxes = held.boxes.astype(np.float64)
    faults = {
        "a number that is not finite": ~np.isfinite(boxes).all(axis=1),
        "a box without area": ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1),
        "a box outside its image": (boxes < 0).any(axis=1)
        | (boxes[:, 2:] > limits + 1e-3).any(axis=1),
        "a label without a class": ~((held.labels >= 0) & (held.labels < len(source.classes)))
        & ~held.ignored,
        "an area that is none": ~(np.isfinite(held.area) & (held.area >= 0)),
    }
    for words, is_wrong in faults.items():
        if is_wrong.any():
            raise WrongResultError(f"{words}: {held.boxes[is_wrong][0]}, {held.area[is_wrong][0]}")


# ------------------------------------------------------------------ the others


def _detections(folder: pathlib.Path) -> str:
    ground_truth = read_json(folder / "ground_truth.json", dict)
    found = read_json(folder / "detections.json", list)
    try:
        checked = check_input(ground_truth, found)
    except ValueError as error:
        # The functions of the evaluation raise a ValueError with one sentence on purpose.
        if not _is_raised_on_purpose(error):
            raise
        raise DataError(f"{error}.", "broken_annotation") from None
    measured = coco_metrics.metrics_of(
        checked, coco_metrics.run_evaluator(checked, "faster_coco_eval")
    )
    wrong = {
        name: value
        for name, value in vars(measured).items()
        if isinstance(value, float) and not (np.isnan(value) or value == -1 or 0 <= value <= 1)
    }
    if wrong:
        raise WrongResultError(f"metrics outside of 0..1: {wrong}")
    return f"{len(checked.annotations)} {len(checked.detections)}"


def _is_raised_on_purpose(error: BaseException) -> bool:
    """True if the last executed instruction is a `raise` of this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    code = trace.tb_frame.f_code
    return "ioub_jax" in code.co_filename and code.co_code[trace.tb_lasti] == _RAISE


def _config(folder: pathlib.Path) -> str:
    config: Any = configuration.read_workdir(folder)
    refusals.check(config)
    path = folder / "flags.txt"
    lines = path.read_bytes().decode(errors="surrogateescape").split("\n") if path.exists() else []
    arguments = ["fuzz", *(f"--config.{line}" for line in lines if line and "\0" not in line)]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict(
            "config", shapes_retinanet.get_config(), flag_values=values, sys_argv=arguments
        )
        values(arguments)
        overrides.check(values)
    except Exception as error:
        sentence = command_line.sentence_of_parsing(error)
        if sentence is None:
            raise
        raise ConfigError(sentence) from None
    refusals.check(values["config"].value)
    return f"{len(arguments)}"


def _image(folder: pathlib.Path) -> str:
    """Reads an image in three ways, as a whole and by rows; both must see the same pixels."""
    path = max(path for path in folder.rglob("*") if path.is_file())
    told = []
    for reading in (Reading(), Reading(exif="apply", channels=1), Reading(channels=4)):
        try:
            whole = images.read_image(path, reading=reading)
        except UserError as error:
            told.append(place_of(error))
            continue
        channels = (reading.channels,) if whole.ndim == 3 else ()
        if whole.dtype != np.uint8 or whole.shape[2:] != channels:
            raise WrongResultError(f"{whole.dtype} {whole.shape} for {reading}")
        if reading == Reading():
            told.append(_by_rows(path, whole))
    return f"{path.suffix} {told}"


def _by_rows(path: pathlib.Path, whole: np.ndarray) -> str:
    try:
        rows = image_rows.open_rows(path.open("rb"), str(path))
    except DataError as error:
        return f"as a whole alone: {place_of(error)}"
    try:
        read = rows.read(0, rows.size[0])
    except DataError as error:
        return f"as a whole alone: {place_of(error)}"
    finally:
        rows.close()
    if not np.array_equal(read, whole):
        raise WrongResultError("the rows of the image are other pixels than the whole image")
    return "both"


def _weights(folder: pathlib.Path) -> str:
    """Reads the tensors; their values must be in memory that exists."""
    path = max(path for path in folder.rglob("*") if path.is_file())
    tensors = weight_files.read_state_dict(path)
    for name, array in tensors.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise WrongResultError(f"{type(name)} and {type(array)} are no name and tensor")
        np.array(array)  # reads every value
    return (
        f"{path.suffix} {len(tensors)} {sorted({array.dtype.name for array in tensors.values()})}"
    )


READERS = {
    "coco": Reader(seeds.coco, _coco),
    "yolo": Reader(seeds.yolo, _yolo),
    "voc": Reader(seeds.voc, _voc),
    "cityscapes": Reader(seeds.cityscapes, _cityscapes),
    "folder": Reader(lambda: [*seeds.coco(), *seeds.yolo(), *seeds.voc()], _found),
    "detections": Reader(seeds.detections, _detections),
    "config": Reader(seeds.config, _config),
    "image": Reader(seeds.image, _image),
    "weights": Reader(seeds.weights, _weights),
}
