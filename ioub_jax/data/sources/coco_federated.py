"""Verified classes of each image, as files in LVIS's format record them."""

import dataclasses
import pathlib
import reprlib
from collections.abc import Mapping
from typing import Any

from ioub_jax.coco_values import id_of
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco_document import Document, read_document
from ioub_jax.data.sources.coco_file import Keys, load_json

NEGATIVE, PARTIAL = "neg_category_ids", "not_exhaustive_category_ids"


@dataclasses.dataclass(frozen=True)
class Federated:
    """Classes that were searched for in each image (LVIS, arXiv 1908.03195).

    Attributes:
      absent: image id -> names of the classes that were verified to be absent from the image.
      partial: image id -> names of the classes of which not every object is annotated.
      frequencies: class name -> 'r' (rare), 'c' (common) or 'f' (frequent), as written in the file.
    """

    absent: Mapping[int | str, tuple[str, ...]]
    partial: Mapping[int | str, tuple[str, ...]]
    frequencies: Mapping[str, str]


def is_federated(head: Mapping[str, Any]) -> bool:
    """True if a file records verified classes, judged by its head (`coco_document.Document`)."""
    first = head["images"][:1]
    return bool(first) and isinstance(first[0], dict) and NEGATIVE in first[0]


def read_federated(path: pathlib.Path, split: str = "*") -> Federated:
    """Reads the verified classes from an annotation file that was already read as a COCO file.

    Args:
      path: the file.
      split: 'train', 'val' or 'test': the split whose configuration keys error messages name.

    Raises:
      DataError: an image lacks the lists of classes, or names a class that the file does not have.
    """
    return read_document(path, lambda: load_json(path, Keys(split)), lambda file: _read(file, path))


def _read(document: Document, path: pathlib.Path) -> Federated:
    categories = document.head["categories"]
    names = {id_of(entry["id"]): entry["name"] for entry in categories}
    found: dict[str, dict[int | str, tuple[str, ...]]] = {NEGATIVE: {}, PARTIAL: {}}
    for piece in document.pieces("images"):
        for entry in piece.entries():
            identity = id_of(entry.get("id")) if isinstance(entry, dict) else None
            if identity is None:  # an image that is left out
                continue
            for key, of_images in found.items():
                of_images[identity] = _names(entry, key, names, path)
    frequencies = {
        entry["name"]: entry["frequency"]
        for entry in categories
        if isinstance(entry.get("frequency"), str)
    }
    return Federated(found[NEGATIVE], found[PARTIAL], frequencies)


def _names(
    entry: Mapping[str, Any],
    key: str,
    names: Mapping[int | str | None, str],
    path: pathlib.Path,
) -> tuple[str, ...]:
    """The names of the classes in one of an image's two lists."""
    written = entry.get(key, [] if key == PARTIAL else None)
    which = f"{path}: image {reprlib.repr(entry['id'])}"
    if not isinstance(written, list):
        raise DataError(
            f"{which} has the {key} {reprlib.repr(written)}, where other images have a list of ids "
            "of categories; give it one, which may be empty.",
            "broken_annotation",
        )
    unknown = [one for one in written if id_of(one) not in names]
    if unknown:
        raise DataError(
            f"{which} has {reprlib.repr(unknown[0])} among its {key}, which is not a category of "
            "the file; correct or remove it.",
            "unknown_category",
        )
    return tuple(names[id_of(one)] for one in written)
