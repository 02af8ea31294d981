"""Several annotation files joined to one data set."""

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.annotations import joined
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.file_source import FileSource, annotations_of


def join(
    sources: Sequence[FileSource],
    names: Sequence[str],
    classes: Sequence[str] | None = None,
    on_error: str = "raise",
) -> FileSource:
    """Joins the images of several data sets, in their order.

    Classes with the same name are the same class, whatever their ids. They have the order and the
    ids of the first data set; classes that only a later one has come after these. An image keeps
    its id if no other file uses it; otherwise its id becomes the text 'FILE:ID' with the name of
    the file, in results, too.

    Args:
      sources: the data sets.
      names: the annotation file of each data set.
      classes: class names in the order of the labels, each of which one of the data sets must have;
        None or empty for all classes, in the order described above.
      on_error: 'raise', or 'skip' to leave out images that an earlier file already lists.

    Raises:
      DataError: two files list the same image, or no data set has one of `classes`.
    """
    categories = _categories(sources, classes)
    problems = Problems(on_error)
    kept = _without_repeated(sources, names, problems)
    same = [
        with_classes(source, categories, name) for source, name in zip(kept, names, strict=True)
    ]
    numbers, written = _ids(kept, names)
    annotations = joined([annotations_of(source) for source in same])
    return FileSource(
        dataclasses.replace(annotations, image_ids=numbers),
        [source.describe(index) for source in same for index in range(len(source))],
        [name for _, name in categories],
        [id_ for id_, _ in categories],
        [problem for source in sources for problem in source.skipped] + problems.found,
        _census(sources),
        written,
    )


def _categories(
    sources: Sequence[FileSource], classes: Sequence[str] | None
) -> list[tuple[int | str, str]]:
    """The id and name of each label; a later class whose id is taken gets a new one."""
    found: dict[str, int | str] = {}
    for source in sources:
        for id_, name in zip(source.category_ids, source.classes, strict=True):
            if name in found:
                continue
            if str(id_) in map(str, found.values()):
                numbers = [int(str(other)) for other in found.values() if str(other).isdecimal()]
                id_ = max(numbers, default=0) + 1
            found[name] = id_
    for name in classes or ():
        if name not in found:
            raise DataError(
                f"config.data.coco.classes names {name!r}, which is not a category of any of the "
                f"files; choose from {', '.join(found)}.",
                "unknown_category",
            )
    order = classes or found
    return [(found[name], name) for name in order]


def _without_repeated(
    sources: Sequence[FileSource], names: Sequence[str], problems: Problems
) -> list[FileSource]:
    """The data sets without the images that an earlier one has, too."""
    owners: dict[str, str] = {}
    kept = []
    for source, name in zip(sources, names, strict=True):
        paths = [os.path.realpath(source.describe(index)) for index in range(len(source))]
        for index, path in enumerate(paths):
            if path in owners:
                problems.add(
                    "duplicate_image",
                    f"{name}: lists {source.describe(index)} (image {_id_of(source, index)}), "
                    f"which {owners[path]} lists, too; list it in one of them, or set "
                    "config.data.on_error='skip' to leave the image out of the later one.",
                )
        is_new = np.array([path not in owners for path in paths], bool)
        owners |= {path: name for path in paths if path not in owners}
        kept.append(source if is_new.all() else source.select(np.flatnonzero(is_new)))
    return kept


def _id_of(source: FileSource, index: int) -> int | str:
    """The id of an image as written in its annotation file."""
    number = source.image_id(index)
    return source.written_ids.get(number, number)


def _ids(
    sources: Sequence[FileSource], names: Sequence[str]
) -> tuple[np.ndarray, Mapping[int, int | str]]:
    """A number for each image, and, by these numbers, the ids that are written as texts."""
    ids = [
        (name, _id_of(source, index))
        for source, name in zip(sources, _short(names), strict=True)
        for index in range(len(source))
    ]
    counts = Counter(str(id_) for _, id_ in ids)
    own = {id_ for _, id_ in ids if isinstance(id_, int) and counts[str(id_)] == 1}
    free = (number for number in itertools.count(1) if number not in own)
    numbers: list[int] = []
    written: dict[int, int | str] = {}
    for name, id_ in ids:
        if isinstance(id_, int) and id_ in own:
            numbers.append(id_)
            continue
        numbers.append(next(free))
        written[numbers[-1]] = f"{name}:{id_}" if counts[str(id_)] > 1 else str(id_)
    return np.array(numbers, np.int64), written


def _short(names: Sequence[str]) -> list[str]:
    """The names of the files: without their folders, or without only the common beginning."""
    bases = [os.path.basename(name) for name in names]
    if len(set(bases)) == len(bases):
        return bases
    common = os.path.commonpath(names)
    return [os.path.relpath(name, common).replace(os.sep, "/") for name in names]


def _census(sources: Sequence[FileSource]) -> Census:
    changes: Counter[str] = Counter()
    for source in sources:
        changes.update(source.census.changes)
    return Census(
        sum(source.census.images for source in sources),
        sum(source.census.boxes for source in sources),
        sum(source.census.other_classes for source in sources),
        dict(changes),
    )
