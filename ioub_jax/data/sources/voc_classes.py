"""Class list of a VOC-style data set, and messages about names that are not in it."""

import collections
import difflib
import logging
from collections.abc import Mapping, Sequence

from ioub_jax.data.sources.unlearned import classes_flag

_log = logging.getLogger(__name__)
# At most this many names are listed in one sentence; nobody reads more.
_MOST_TOLD = 20


def choose_classes(classes: Sequence[str] | None, counts: Mapping[str, int]) -> tuple[str, ...]:
    """The class list: the given one, or all names, sorted.

    Args:
      classes: the chosen names, or None for all. With None, if names differ only in letter case,
        spaces, dashes or underscores, the most frequent one becomes a class, and the others are
        taken for misspellings.
      counts: how many objects have each name; '' for no name.

    Raises:
      ValueError: a name is chosen twice.
    """
    if classes is not None:
        if len(set(classes)) < len(classes):
            again = next(name for name in classes if classes.count(name) > 1)
            raise ValueError(f"classes has {again!r} twice; name each class once.")
        return tuple(classes)
    chosen: list[str] = []
    for name in sorted(filter(None, counts), key=lambda name: (-counts[name], name)):
        if resembling(name, chosen) is None:
            chosen.append(name)
    chosen.sort()
    _log.info("classes: %s", ", ".join(map(_quote, chosen)) or "none")
    return tuple(chosen)


def resembling(name: str, classes: Sequence[str]) -> str | None:
    """Another class whose name differs only in letter case, spaces, dashes and underscores.

    None for single letters, since letters may be the classes of a text-reading task.
    """
    plain = _plain(name)
    others = (other for other in classes if other != name and _plain(other) == plain)
    return next(others, None) if len(plain) > 1 else None


def _plain(name: str) -> str:
    return "".join(name.casefold().split()).replace("-", "").replace("_", "")


def _quote(name: str) -> str:
    """A name, in quotes if its end would not be visible without them."""
    return name if name.isprintable() and "," not in name else repr(name)


def describe_unknown(
    unknown: Mapping[str, int], classes: Sequence[str], may_learn_more: bool = True
) -> str:
    """A sentence on objects with names that are not classes, and the way out.

    Args:
      unknown: how many objects have each of these names; '' for no name.
      classes: the class list.
      may_learn_more: whether the sentence may suggest adding classes to the list.

    Returns:
      a sentence without its beginning, which names the files, and without its end.
    """
    total = sum(unknown.values())
    by_count = collections.Counter(unknown).most_common()
    told = [_describe(name, count, classes) for name, count in by_count[:_MOST_TOLD]]
    if len(by_count) > _MOST_TOLD:
        told.append(f"and {len(by_count) - _MOST_TOLD:,} more names")
    names = sorted(name for name in unknown if name)
    way_out = "name them"
    if names:
        way_out = "correct the names"
    if names and may_learn_more:
        flag = classes_flag("config.data.voc.classes", [*classes, *names])
        way_out += f", or learn these too with {flag}"
    objects = "has an object" if total == 1 else f"has the first of {total:,} objects"
    return f"{objects} of no class of the list: {', '.join(told)}; {way_out}"


def _describe(name: str, count: int, classes: Sequence[str]) -> str:
    if not name:
        return f"without a name ({count:,})"
    meant = resembling(name, classes)
    if meant is not None:
        return f"{name!r} ({count:,}; write it {meant!r} as in the list)"
    near = difflib.get_close_matches(name, classes, 1)
    return f"{name!r} ({count:,}; perhaps {near[0]!r})" if near else f"{name!r} ({count:,})"
