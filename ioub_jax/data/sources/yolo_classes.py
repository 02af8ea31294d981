"""Classes of a YOLO data set to be learned, and messages on others."""

import collections
import difflib
import pathlib
from collections.abc import Mapping, Sequence

from ioub_jax.data.checks import DataError

# More ids than this in one sentence are read by nobody.
_MOST_TOLD = 10


def choose_classes(
    names: Mapping[int, str] | None,
    used: Sequence[int],
    classes: Sequence[str],
    where: pathlib.Path,
    *,
    may_lack: bool = False,
) -> tuple[dict[int, str], dict[int, str]]:
    """All classes of a data set, and the learned ones, in the order of their labels.

    Args:
      names: the name of each id; None where no file names them: then `classes` does, from id 0,
        or they are called by their ids.
      used: the ids that rows have.
      classes: names that are chosen, in this order; empty for all, by id.
      where: the file with the names, or else the folder of the data set.
      may_lack: whether some of `classes` may be no classes of the data set.

    Returns:
      names by ids, and names by ids.

    Raises:
      DataError: `classes` has a name twice, or one that the data set does not.
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
    """True if the ids of rows are those of all classes, each one too large.

    Args:
      used: all ids that rows have.
      names: the name of each id.
    """
    return 0 in names and min(used) == 1 and max(used) == len(names)


def describe_unknown(unknown: Sequence[int], names: Mapping[int, str], where: pathlib.Path) -> str:
    """A sentence on rows with other ids than those of the classes.

    Args:
      unknown: the ids of these rows.
      names: the name of each id.
      where: the file with the names.

    Returns:
      a sentence without its beginning, which names the first row, and its way out.
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
