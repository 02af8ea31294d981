"""COCO's JSON as a whole: reading it, recognizing other formats, and its categories."""

import json
import os
import pathlib
import re
import reprlib
from collections.abc import Sequence
from typing import Any

from ioub_jax.coco_values import id_of, is_text
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco_document import without_segmentation
from ioub_jax.data.sources.other_formats import PANOPTIC, known_by_keys, known_by_text

# This many bytes suffice to recognize the format of a file that is not JSON.
_BEGIN = 4096


class Keys:
    """Names of configuration keys for error messages.

    Args:
      split: 'train', 'val' or 'test', or '*' if it is not known.
    """

    def __init__(self, split: str) -> None:
        self.images = f"config.data.coco.{split}_images"
        self.check_file = f"set config.data.coco.{split}_annotations to an instances JSON."
        self.check_root = "check config.data.coco.root, or"
        self.check_folder = f"set {self.images} to the folder of the images"


def load_json(path: pathlib.Path, keys: Keys) -> Any:
    """The content of a JSON file, of whatever type.

    Raises:
      DataError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes(), object_hook=without_segmentation)
    except OSError as error:
        several = re.search(r"[,*?]", path.name)
        advice = "name several files one by one," if several else keys.check_root
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); {advice} {keys.check_file}",
            "missing_annotation",
        ) from error
    except (ValueError, RecursionError) as error:
        other = known_by_text(path.suffix, _begin(path))
        fault = (
            f"is empty, truncated or not JSON ({error}); copy or download it again, or "
            f"{keys.check_file}"
            if other is None
            else f"is not a COCO instances file{other.hint(keys.check_file)}"
        )
        raise DataError(f"{path}: {fault}", "broken_annotation") from error


def _begin(path: pathlib.Path) -> bytes:
    """The first bytes of a file, unless it is a pipe, which cannot be read twice."""
    if not os.path.isfile(path):
        return b""
    with path.open("rb") as file:
        return file.read(_BEGIN)


def check_format(content: object, path: pathlib.Path, keys: Keys) -> None:
    """Raises `DataError` unless the content has the lists of an instances file, and images.

    Args:
      content: the parsed content of the file; the first entry of each list is enough.
      path: the file.
      keys: names of configuration keys for error messages.
    """
    known = known_by_keys(content)
    fault = None
    if not isinstance(content, dict):
        fault = f"it contains a {type(content).__name__} instead of an object"
    elif lacking := [key for key in ("images", "categories") if key not in content]:
        listed = ", ".join(reprlib.repr(key) for key in list(content)[:9]) or "none"
        fault = f"it lacks {' and '.join(map(repr, lacking))} (its keys: {listed})"
    elif wrong := [
        key
        for key in ("images", "categories", "annotations")
        if not isinstance(content.get(key, []), list)
    ]:
        fault = f"its {wrong[0]!r} is not a list"
    elif known is PANOPTIC:
        fault = "its annotations have no boxes"
    if fault is not None:
        hint = f"; {keys.check_file}" if known is None else known.hint(keys.check_file)
        raise DataError(
            f"{path}: is not a COCO instances file, {fault}{hint}",
            "broken_annotation",
        )
    assert isinstance(content, dict)
    if not content["images"]:
        raise DataError(f"{path}: lists no images; {keys.check_file}", "folder")


def read_categories(entries: list, path: pathlib.Path, keys: Keys) -> dict[str, int | str]:
    """The ids of the categories by name, as written, sorted by their meaning.

    A float such as 1.0 becomes the integer; a string stays a string.

    Raises:
      DataError: a category has no name or no id, or has the name or id of another category.
    """
    ids: dict[str, int | str] = {}
    owners: dict[int | str, str] = {}
    for number, entry in enumerate(_without_roots(entries), start=1):
        fields = entry if isinstance(entry, dict) else {}
        name, written = fields.get("name"), fields.get("id")
        identity = id_of(written)
        if is_text(name) and identity is not None:
            if name not in ids and identity not in owners:
                ids[name] = written if isinstance(written, str) else identity
                owners[identity] = name
                continue
            fault = "has the id or name of another one; give each its own"
        else:
            fault = (
                "needs an 'id' (an integer) and a 'name' (of letters that can be shown); add them"
            )
        raise DataError(
            f"{path}: category number {number} ({reprlib.repr(entry)}) {fault}, or "
            f"{keys.check_file}",
            "broken_annotation",
        )
    if not ids:
        raise DataError(f"{path}: lists no categories; {keys.check_file}", "broken_annotation")
    sorted_ids = sorted(owners, key=lambda identity: (isinstance(identity, str), identity))
    return {owners[identity]: ids[owners[identity]] for identity in sorted_ids}


def _without_roots(entries: list) -> list:
    """The categories without those that only stand for all others, as Roboflow writes them.

    Such a one has the name of the project; if a class has the same name, the class has the other as
    its supercategory.
    """
    own = {
        entry["name"]
        for entry in entries
        if isinstance(entry, dict)
        and is_text(entry.get("name"))
        and entry.get("supercategory") == entry["name"]
    }

    def is_root(entry: Any) -> bool:
        if not isinstance(entry, dict) or entry.get("supercategory") != "none":
            return False
        return is_text(entry.get("name")) and entry["name"] in own

    return [entry for entry in entries if not is_root(entry)]


def choose_categories(
    categories: dict[str, int | str], classes: Sequence[str] | None, path: pathlib.Path
) -> dict[str, int | str]:
    """The categories in `classes`, in that order; all categories if it is empty.

    Raises:
      DataError: `classes` names a category twice, or one that the file does not have.
    """
    chosen: dict[str, int | str] = {}
    for name in classes or categories:
        if name not in categories or name in chosen:
            fault = "twice" if name in chosen else "which is not a category of the file"
            raise DataError(
                f"{path}: config.data.coco.classes names {name!r}, {fault}; choose each once from "
                f"{', '.join(categories)}.",
                "unknown_category",
            )
        chosen[name] = categories[name]
    return chosen
