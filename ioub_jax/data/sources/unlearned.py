"""What to say, and to do, where a class or a whole training set has no box to learn."""

import contextlib
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
_KEEP_CROWDS = "train on crowds: --config.matcher.crowd=keep"
# A name that needs no quotes, neither for the shell nor for the flag.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# More class names than this are no flag to paste.
_MOST_NAMES = 100
# Empty classes that a sentence names.
_MOST_TOLD = 20


def nothing_learned(learned: Learned, data: Any) -> str:
    """Why there is no box to learn, and the way out.

    Args:
        learned: The counts of a training split without a box to learn.
        data: `config.data`.

    Returns:
        A sentence without its beginning, which names the data.
    """
    boxes = learned.boxes
    assert boxes is not None and boxes.learned == 0
    if boxes.listed == 0:
        return (
            "no image of the training split has an object to learn from, its annotations list no "
            "box; choose another split or annotate some."
        )
    has_json = data.source == "coco"
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
        ways_out.append(f"choose classes in config.data.{data.source}.classes")
    known = ("crowd", "difficult", "other_classes")
    if left_out := boxes.listed - sum(boxes.left_out.get(key, 0) for key in known):
        reasons.append(f"{_what(left_out, boxes.listed)} left out")
        ways_out.append("mend what ioub check_data names")
    return (
        f"no image of the training split has an object to learn from: {', '.join(reasons)}. "
        f"{_join(ways_out)}."
    )


def _what(count: int, total: int) -> str:
    if count == total:
        return f"all {total:,} boxes are" if total > 1 else "its only box is"
    return f"{count:,} of {total:,} boxes {'are' if count > 1 else 'is'}"


def check_classes(learned: Learned, data: Any, split: str = "train") -> None:
    """Refuses training data that has a class without a box to learn, unless that is allowed.

    Args:
        learned: The counts of the training data.
        data: `config.data`.
        split: Of which they are the counts.

    Raises:
        DataError: Names the classes, the reasons and the way out.
    """
    if data.get("allow_empty_classes", False):
        return
    sentence = empty_classes(learned.classes, learned.fullest, data, split)
    if sentence:
        raise DataError(sentence, "empty_class")


def empty_classes(classes: Sequence[ClassCount], fullest: int, data: Any, split: str) -> str:
    """Which classes have no box to learn, why, and the way out; '' if all have some.

    Args:
        classes: One entry a class.
        fullest: Objects of the fullest image.
        data: `config.data`.
        split: Of which they are the counts.

    Returns:
        A sentence or more.
    """
    empty = [entry for entry in classes if entry.usable == 0]
    if not empty:
        return ""
    parents = _supercategories(data, split)
    used = {parents.get(entry.name) for entry in classes if entry.usable}
    told = [f"{entry.name}: {_why(entry, entry.name in used)}" for entry in empty[:_MOST_TOLD]]
    if len(empty) > _MOST_TOLD:
        told.append(f"and {len(empty) - _MOST_TOLD:,} more")
    usable = [entry.name for entry in classes if entry.usable]
    is_one = len(empty) == 1
    ways_out = []
    if any(entry.crowds for entry in empty):
        ways_out += [_MEND_CROWDS] if data.source == "coco" else []
        ways_out.append(_KEEP_CROWDS)
    if any(entry.beyond_max_boxes for entry in empty):
        ways_out.append(f"keep every box: --config.data.max_boxes={fullest}")
    if "classes" in data.get(data.source, {}) and usable and len(usable) <= _MOST_NAMES:
        them = "it" if is_one else "them"
        ways_out.append(f"leave {them} out: {classes_flag(data.source, usable)}")
    outputs = "an output that learns" if is_one else "outputs that learn"
    if not data.get("allow_empty_classes", False):
        ways_out.append(f"train with {outputs} nothing: {_KEEP}")
    has = "has" if is_one else "have"
    sentence = (
        f"{len(empty):,} of {len(classes):,} classes of the training data {has} no box to learn "
        f"({'; '.join(told)})."
    )
    return f"{sentence} {_join(ways_out)}." if ways_out else sentence


def classes_flag(source: str, names: Sequence[str]) -> str:
    """The flag that chooses these classes, as a shell takes it."""
    if all(_PLAIN.fullmatch(name) and name not in ("None", "True", "False") for name in names):
        return f"--config.data.{source}.classes={','.join(names)}"
    listed = ",".join(map(repr, names)) + ("," if len(names) == 1 else "")
    value = f"({listed})".replace("\\", "\\\\").replace('"', '\\"')
    value = value.replace("$", "\\$").replace("`", "\\`")
    return f'--config.data.{source}.classes="{value}"'


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


def _supercategories(data: Any, split: str) -> dict[str, str]:
    """The supercategory of each category of a JSON that has been opened; {} of another format."""
    found: dict[str, str] = {}
    if data.source == "coco":
        path = pathlib.Path(data.coco.root).expanduser() / str(data.coco[f"{split}_annotations"])
        # It is only an explanation: what is odd here is told, or read, elsewhere.
        with contextlib.suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
            for category in read_document(
                path, lambda: json.loads(path.read_bytes()), lambda document: document.head
            )["categories"]:
                found[category["name"]] = category.get("supercategory")
    return found
