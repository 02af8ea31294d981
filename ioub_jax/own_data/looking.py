"""Inspection of a folder of a user's data: its content, and the values that suit it."""

import contextlib
import dataclasses
import functools
import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import ml_collections

from ioub_jax.configs import small_data
from ioub_jax.data.checks import KINDS, DataError
from ioub_jax.data.sources import Source, annotations_of
from ioub_jax.from_config import data_parts
from ioub_jax.own_data.folders import HELD_OUT, Found, find
from ioub_jax.own_data.measures import Setting, measure

_SHOWN_CLASSES = 12
_USES = {"train": "training", "val": "validation", "test": "testing"}


@dataclasses.dataclass(frozen=True)
class OwnData:
    """The data set in a folder, and a configuration that suits it.

    Attributes:
      found: the data set.
      settings: the values that differ from the recipe, with their reasons.
      lines: a description of the data set in three lines.
      missing: what is missing or broken in any split, one sentence each.
      argument: the argument of the recipe: the detector, the backbone and the arm.
    """

    found: Found
    settings: tuple[Setting, ...]
    lines: tuple[str, ...]
    missing: tuple[str, ...]
    argument: str

    def config(self) -> ml_collections.ConfigDict:
        """The recipe with all found and measured values."""
        config = _recipe(self.argument, self.found)
        for setting in self.settings:
            _set(config, setting.key, setting.value)
        return config


@functools.cache
def look_at(
    path: str | os.PathLike[str], data_format: str | None = None, argument: str = ""
) -> OwnData:
    """Finds the data set in a folder, measures its training images and looks for faults.

    Args:
      path: as for `find`.
      data_format: as for `find`.
      argument: the argument of the recipe `small_data`, such as 'small' or 'atss,baseline'. If it
        names no backbone, this is Lite0 if its weights are installed.

    Raises:
      DataError: there is no data set, its training images cannot be opened, or they have no box.
      ValueError: `argument` has an unknown word.
    """
    found = find(path, data_format)
    argument = ",".join(small_data.words_of(argument, small_data.default_backbone()))
    config = _recipe(argument, found)
    lenient = config.copy_and_resolve_references()
    lenient.data.on_error = "skip"
    with _quietly():
        source, opened, unopened = _open_all(lenient.data, found)
    annotations = annotations_of(source)
    if not len(annotations.without_ignored().boxes):
        raise DataError(
            f"{found.place}: its training images have no box, so there is nothing to learn; add "
            "annotations, or give another folder as --data.",
            "nothing_learned",
        )
    missing = [*found.notes, *unopened]
    for split, images in opened.items():
        if found.splits[split] != HELD_OUT:  # held-out images are reported with the training images
            missing.extend(_problems_of(images, split))
    without_boxes = _without_boxes(config.data, found, source)
    missing.extend(setting.why for setting in without_boxes)
    settings = (*without_boxes, *measure(config, annotations))
    return OwnData(found, settings, tuple(_lines(found, opened)), tuple(missing), argument)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hides the log lines on opening a data set, which appear again when it is used."""
    logger = logging.getLogger("ioub_jax")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _open_all(
    data: ml_collections.ConfigDict, found: Found
) -> tuple[Source, dict[str, Source], list[str]]:
    """The training images, the images of every split, and a sentence per split with an error."""
    opened: dict[str, Source] = {"train": data_parts.open_source(data, "train")}
    unopened = []
    for split in ("val", "test"):
        if split in found.splits:
            try:
                opened[split] = data_parts.open_source(data, split)
            except DataError as error:
                unopened.append(f"The images for {_USES[split]} cannot be opened: {error}")
    return opened["train"], opened, unopened


def _recipe(argument: str, found: Found) -> ml_collections.ConfigDict:
    config = small_data.get_config(argument)
    for key, value in found.keys.items():
        _set(config, key, value)
    return config


def _set(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    with config.ignore_type():  # a value may be one file or several
        config[last] = value


def _without_boxes(
    data: ml_collections.ConfigDict, found: Found, source: Source
) -> tuple[Setting, ...]:
    """The setting that leaves out classes without a box in the training images, if needed."""
    names = source.classes
    if "classes" not in data[found.format] or list(names) == [str(k) for k in range(len(names))]:
        return ()  # classes without names are their numbers, which must all be kept
    labels = set(annotations_of(source).labels.tolist())
    empty = [name for label, name in enumerate(names) if label not in labels]
    if not empty:
        return ()
    key = f"data.{found.format}.classes"
    told = ", ".join(empty[:_SHOWN_CLASSES])
    if len(empty) > _SHOWN_CLASSES:
        told += f" and {len(empty) - _SHOWN_CLASSES} more"
    why = (
        f"The training images have no box of {len(empty)} of the {len(names)} classes ({told}); "
        f"the others are learned ({key})."
    )
    return (Setting(key, tuple(name for name in names if name not in empty), why),)


def _problems_of(source: Source, split: str) -> Iterator[str]:
    """Yields a sentence for each kind of fault that leaves out parts of a split, with the first."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for problem in source.skipped:
        counts[problem.kind] += problem.count
        first.setdefault(problem.kind, problem.sentence)
    for kind, count in counts.items():
        yield f"Images for {_USES[split]}: {KINDS[kind]}: {count:,}; the first: {first[kind]}"


def _lines(found: Found, opened: dict[str, Source]) -> Iterator[str]:
    """Yields a line each on the place, the images and the classes of the data."""
    also = f" (also there: {', '.join(found.others)})" if found.others else ""
    yield f"Found {found.title} in {found.place}{also}."
    parts = []
    for split, words in found.splits.items():
        parts.append(
            f"{len(opened[split]):,} for {_USES[split]} ({words})"
            if split in opened
            else f"some for {_USES[split]} ({words})"
        )
    yield f"Images: {', '.join(parts)}."
    names = opened["train"].classes
    more = f" and {len(names) - _SHOWN_CLASSES} more" if len(names) > _SHOWN_CLASSES else ""
    yield f"Classes: {', '.join(names[:_SHOWN_CLASSES])}{more}."
