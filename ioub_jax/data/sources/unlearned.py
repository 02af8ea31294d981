"""Checks and messages for a class or a whole training set without a box to learn."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco_document import read_document
from ioub_jax.data.sources.learned import ClassCount, Learned

_KEEP = "--config.data.allow_empty_classes=True"
_MEND_CROWDS = "set iscrowd to 0 in the file where it is a mask's, since CVAT writes 1 for masks"
_LARGER_TILES = "use larger tiles, config.data.tiles.size, or a lower config.data.tiles.visibility"
_KEEP_CROWDS = "train on crowds: --config.matcher.crowd=keep"
# A name that needs no quotes, neither in the shell nor in the flag.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# A flag with more class names than this is too long to suggest.
_MOST_NAMES = 100
# At most this many empty classes are named in one sentence.
_MOST_TOLD = 20


@dataclasses.dataclass(frozen=True)
class Origin:
    """Origin of a data set, for messages that say what to do.

    Attributes:
      name: name of the data set in messages, such as 'config.data.coco'.
      annotations: the JSONs in COCO's format that it was read from; empty for other formats.
      classes_key: the option that chooses among its classes, such as 'config.data.coco.classes';
        None if there is no such option.
    """

    name: str
    annotations: tuple[pathlib.Path, ...] = ()
    classes_key: str | None = None


def check_any(learned: Learned, origin: Origin) -> None:
    """Refuses training data without a box to learn.

    Args:
      learned: the counts of the training data.
      origin: the origin of the training data.

    Raises:
      DataError: there is no box to learn; the message names the reasons and the way out.
    """
    if learned.boxes is not None and learned.boxes.learned == 0:
        raise DataError(f"{origin.name}: {nothing_learned(learned, origin)}", "nothing_learned")


def nothing_learned(learned: Learned, origin: Origin) -> str:
    """Reason for a lack of boxes to learn, and the way out.

    Args:
      learned: the counts of a training split without a box to learn.
      origin: the origin of the training data.

    Returns:
      a sentence without its beginning, which names the data.
    """
    boxes = learned.boxes
    assert boxes is not None and boxes.learned == 0
    if boxes.listed == 0:
        return (
            "no image of the training split has an object to learn from, since its annotations "
            "list no box; choose another split or annotate some."
        )
    has_json = bool(origin.annotations)
    reasons, ways_out = [], []
    if crowds := boxes.left_out.get("crowd"):
        which = " (iscrowd 1)" if has_json else ""
        reasons.append(
            f"{_what(crowds, boxes.listed)} crowds{which}, which training ignores and evaluation "
            "does not count"
        )
        ways_out += [_MEND_CROWDS] if has_json else []
        ways_out.append(_KEEP_CROWDS)
    if difficult := boxes.left_out.get("difficult"):
        reasons.append(f"{_what(difficult, boxes.listed)} difficult")
        ways_out.append("train on difficult objects: --config.matcher.difficult=keep")
    if others := boxes.left_out.get("other_classes"):
        reasons.append(f"{_what(others, boxes.listed)} of other classes")
        if origin.classes_key is not None:
            ways_out.append(f"choose classes in {origin.classes_key}")
    if lost := boxes.left_out.get("in_no_tile"):
        reasons.append(f"{_what(lost, boxes.listed)} not shown well enough by any tile")
        ways_out.append(_LARGER_TILES)
    known = ("crowd", "difficult", "other_classes", "in_no_tile")
    if left_out := boxes.listed - sum(boxes.left_out.get(key, 0) for key in known):
        reasons.append(f"{_what(left_out, boxes.listed)} left out")
        ways_out.append("fix the problems that ioub check_data lists")
    sentence = f"no image of the training split has an object to learn from: {', '.join(reasons)}."
    return f"{sentence} {_join(ways_out)}." if ways_out else sentence


def _what(count: int, total: int) -> str:
    if count == total:
        return f"all {total:,} boxes are" if total > 1 else "its only box is"
    return f"{count:,} of {total:,} boxes {'are' if count > 1 else 'is'}"


def check_classes(learned: Learned, origin: Origin) -> None:
    """Refuses training data that has a class without a box to learn.

    Args:
      learned: the counts of the training data.
      origin: the origin of the training data.

    Raises:
      DataError: a class has no box to learn; the message names the classes, the reasons and the
        way out.
    """
    sentence = empty_classes(learned.classes, learned.fullest, origin)
    if sentence:
        raise DataError(sentence, "empty_class")


def empty_classes(
    classes: Sequence[ClassCount], fullest: int, origin: Origin, *, are_allowed: bool = False
) -> str:
    """Classes without a box to learn, the reason, and the way out; '' if there are none.

    Args:
      classes: one entry per class.
      fullest: number of objects in the fullest image.
      origin: the origin of the training data.
      are_allowed: whether training accepts such classes.

    Returns:
      one or more sentences.
    """
    empty = [entry for entry in classes if entry.usable == 0]
    if not empty:
        return ""
    parents = _supercategories(origin.annotations)
    used = {parents.get(entry.name) for entry in classes if entry.usable}
    told = [f"{entry.name}: {_why(entry, entry.name in used)}" for entry in empty[:_MOST_TOLD]]
    if len(empty) > _MOST_TOLD:
        told.append(f"and {len(empty) - _MOST_TOLD:,} more")
    usable = [entry.name for entry in classes if entry.usable]
    is_one = len(empty) == 1
    ways_out = []
    if any(entry.crowds for entry in empty):
        ways_out += [_MEND_CROWDS] if origin.annotations else []
        ways_out.append(_KEEP_CROWDS)
    if any(entry.beyond_max_boxes for entry in empty):
        ways_out.append(f"keep every box: --config.data.max_boxes={fullest}")
    if any(entry.in_no_tile for entry in empty):
        ways_out.append(_LARGER_TILES)
    if origin.classes_key is not None and usable and len(usable) <= _MOST_NAMES:
        them = "it" if is_one else "them"
        ways_out.append(f"leave {them} out: {classes_flag(origin.classes_key, usable)}")
    outputs = "an output that learns" if is_one else "outputs that learn"
    if not are_allowed:
        ways_out.append(f"train with {outputs} nothing: {_KEEP}")
    has = "has" if is_one else "have"
    sentence = (
        f"{len(empty):,} of {len(classes):,} classes of the training data {has} no box to learn "
        f"({'; '.join(told)})."
    )
    return f"{sentence} {_join(ways_out)}." if ways_out else sentence


def classes_flag(key: str, names: Sequence[str]) -> str:
    """The command-line flag that chooses these classes by an option, quoted for a shell."""
    if all(_PLAIN.fullmatch(name) and name not in ("None", "True", "False") for name in names):
        return f"--{key}={','.join(names)}"
    listed = ",".join(map(repr, names)) + ("," if len(names) == 1 else "")
    value = f"({listed})".replace("\\", "\\\\").replace('"', '\\"')
    value = value.replace("$", "\\$").replace("`", "\\`")
    return f'--{key}="{value}"'


def _why(entry: ClassCount, is_parent: bool) -> str:
    total = entry.boxes + entry.left_out
    if total == 0 and is_parent:
        return "the supercategory of the others, as Roboflow writes it, without boxes"
    if total == 0:
        return "no boxes"
    counts = {
        "crowds": entry.crowds,
        "difficult": entry.difficult,
        "beyond config.data.max_boxes": entry.beyond_max_boxes,
        "not shown well enough by any tile": entry.in_no_tile,
        "left out": entry.left_out,
    }
    parts = [f"{count:,} {words}" for words, count in counts.items() if count]
    if len(parts) > 1:
        return f"of {total:,} boxes {', '.join(parts)}"
    words = next(words for words, count in counts.items() if count)
    return f"all {total:,} boxes are {words}" if total > 1 else f"its only box is {words}"


def _join(ways_out: Sequence[str]) -> str:
    sentence = "; or ".join(ways_out)
    return sentence[:1].upper() + sentence[1:]


def _supercategories(paths: Sequence[pathlib.Path]) -> dict[str, str]:
    """The supercategory of each category in JSONs that were read before; {} for other formats."""
    found: dict[str, str] = {}
    for path in paths:
        # The result is only used for an explanation; faults of the file are reported elsewhere.
        with contextlib.suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
            for category in read_document(
                path, functools.partial(_json, path), lambda document: document.head
            )["categories"]:
                found[category["name"]] = category.get("supercategory")
    return found


def _json(path: pathlib.Path) -> Any:
    return json.loads(path.read_bytes())
