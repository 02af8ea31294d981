"""Choice of the classes of a YOLO data set to be learned, and messages on others."""

import collections
import difflib
import pathlib
from collections.abc import Mapping, Sequence

from ioub_jax.data.checks import DataError

# At most this many ids are listed in one sentence; nobody reads more.
_MOST_TOLD = 10


def choose_classes(
    names: Mapping[int, str] | None,
    used: Sequence[int],
    classes: Sequence[str],
    where: pathlib.Path,
    *,
    may_lack: bool = False,
) -> tuple[dict[int, str], dict[int, str]]:
    """All classes of a data set, and the classes to learn in the order of their labels.

    Args:
      names: the name of each class id; None if no file names the classes. Then `classes` gives the
        names of the ids 0, 1, ..., or without these the ids themselves are the names.
      used: the class ids that occur in rows.
      classes: the names of the classes to learn, in this order; empty for all, ordered by id.
      where: the file with the names, or else the folder of the data set.
      may_lack: whether the data set may lack some of `classes`.

    Returns:
      the name of each class id, for all classes and for the classes to learn.

    Raises:
      DataError: `classes` has a name twice, or a name that the data set does not have.
    """
    if names is None and classes and not all(name.isdecimal() for name in classes):
        names = dict(enumerate(classes))
    elif names is None:
        names = {number: str(number) for number in sorted(used)}
    ids = {name: number for number, name in names.items()}
    if may_lack:
        classes = [name for name in classes if name in ids] or classes
    chosen: dict[int, str] = {}
    for name in classes or names.values():
        if name not in ids or ids[name] in chosen:
            raise _not_one(name, list(ids), where)
        chosen[ids[name]] = name
    return dict(names), chosen


def _not_one(name: str, names: Sequence[str], where: pathlib.Path) -> DataError:
    fault = "twice" if name in names else "which is not a class of the data set"
    near = difflib.get_close_matches(name, names, 1)
    if name not in names and near:
        fault += f", perhaps meant as {near[0]!r}"
    return DataError(
        f"{where}: config.data.yolo.classes names {name!r}, {fault}; choose each once from "
        f"{', '.join(names) or 'none'}.",
        "unknown_category",
    )


def are_counted_from_1(used: Sequence[int], names: Mapping[int, str]) -> bool:
    """True if the class ids in rows seem to be counted from 1 instead of 0.

    Args:
      used: all class ids that occur in rows.
      names: the name of each id.
    """
    return 0 in names and min(used) == 1 and max(used) == len(names)


def describe_unknown(unknown: Sequence[int], names: Mapping[int, str], where: pathlib.Path) -> str:
    """A sentence on rows with ids that are not those of any class.

    Args:
      unknown: the class ids in these rows.
      names: the name of each class id.
      where: the file with the names.

    Returns:
      a sentence without its beginning, which names the first row, and without the way out.
    """
    by_count = collections.Counter(unknown).most_common()
    told = ", ".join(f"{number} ({count:,})" for number, count in by_count[:_MOST_TOLD])
    if len(by_count) > _MOST_TOLD:
        told += f", and {len(by_count) - _MOST_TOLD:,} more"
    total = len(unknown)
    rows = "row has an id" if total == 1 else "rows have ids"
    ids = f"{min(names)} to {max(names)}" if len(names) > 1 else str(min(names))
    return (
        f"has class {unknown[0]}, but the ids in {where} are {ids} ({total:,} {rows} that "
        f"it lacks: {told})"
    )
