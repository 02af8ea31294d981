"""Index of the image sizes and objects in a TFDS split's records.

A record is an encoded image with its objects, so sizes and boxes are known only after all records
have been read: 19 GB for COCO's training images. They are therefore read once and stored in one
small file.
"""

import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import tqdm

from ioub_jax.data.sources.index_files import write_index

_VERSION = 1  # of the file format; an index of another version is made anew


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """The n records of a split and their m objects, record after record, as written.

    Attributes:
      sizes: int64 `[n, 2]`, height and width of each image; 0 if its header is not readable.
      image_ids: int64 `[n]`, 'image/id', or the position from 1 if there is none.
      filenames: str `[n]`, 'image/filename', or '' if there is none.
      counts: int64 `[n]`, the number of objects in each record.
      boxes: float32 `[m, 4]`, ymin, xmin, ymax, xmax as fractions of height and width.
      labels: int64 `[m]`.
      crowd: bool `[m]`, 'is_crowd'.
      difficult: bool `[m]`, 'is_difficult'.
      areas: float32 `[m]`, 'area' in square pixels; NaN if there is none.
    """

    sizes: np.ndarray
    image_ids: np.ndarray
    filenames: np.ndarray
    counts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray

    def is_consistent(self) -> bool:
        """True if the lengths of the arrays match."""
        images = (self.sizes, self.image_ids, self.filenames, self.counts)
        objects = (self.boxes, self.labels, self.crowd, self.difficult, self.areas)
        total = int(self.counts.sum())
        return all(len(array) == len(self.sizes) for array in images) and all(
            len(array) == total for array in objects
        )

    @classmethod
    def read(cls, records: Iterable[Mapping[str, Any]], total: int, title: str) -> Self:
        """Reads every record, with a progress bar on a terminal.

        Args:
          records: the records as TFDS returns them, with the image as encoded bytes.
          total: how many records there are.
          title: label of the progress bar.

        Returns:
          the index.
        """
        progress = tqdm.tqdm(records, title, total, unit="image", disable=None)
        read = [_read_record(record, number) for number, record in enumerate(progress, start=1)]
        sizes, image_ids, filenames, objects = zip(*read, strict=True) if read else ((),) * 4
        columns = {name: [one[name] for one in objects] for name in _EMPTY}
        return cls(
            sizes=np.array(sizes, np.int64).reshape(-1, 2),
            image_ids=np.array(image_ids, np.int64),
            filenames=np.array(filenames, np.str_),
            counts=np.array([len(boxes) for boxes in columns["boxes"]], np.int64),
            **{name: np.concatenate([_EMPTY[name], *columns[name]]) for name in _EMPTY},
        )


_EMPTY = {
    "boxes": np.zeros((0, 4), np.float32),
    "labels": np.zeros(0, np.int64),
    "crowd": np.zeros(0, bool),
    "difficult": np.zeros(0, bool),
    "areas": np.zeros(0, np.float32),
}


def _read_record(
    record: Mapping[str, Any], position: int
) -> tuple[tuple[int, int], int, str, dict[str, np.ndarray]]:
    """The size, id, file name and objects of one record; missing keys get a default."""
    objects = record["objects"]
    boxes = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)
    zeros = np.zeros(len(boxes))
    name = record.get("image/filename", b"")
    image_id = record.get("image/id", position)
    return (
        _read_size(record["image"]),
        int(image_id) if isinstance(image_id, (int, np.integer)) else position,
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name),
        {
            "boxes": boxes,
            "labels": np.asarray(objects.get("label", zeros), np.int64),
            "crowd": np.asarray(objects.get("is_crowd", zeros), bool),
            "difficult": np.asarray(objects.get("is_difficult", zeros), bool),
            "areas": np.asarray(objects.get("area", zeros + np.nan), np.float32),
        },
    )


def _read_size(data: bytes) -> tuple[int, int]:
    """Height and width from an image file's header; zeros if it is not readable."""
    # OpenCV cannot read a header alone.
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except OSError:
        return 0, 0


def describe_files(files: Sequence[pathlib.Path], **facts: Any) -> str:
    """Description of the files with an index's records, which changes whenever the records do.

    Args:
      files: the files with the records.
      **facts: other properties that distinguish data sets: name, split, number of records.

    Returns:
      JSON.
    """
    stats = [(file.name, file.stat()) for file in files]
    listed = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return json.dumps({"version": _VERSION, "files": listed, **facts}, sort_keys=True)


def load_or_read(
    key: str, folder: pathlib.Path, title: str, read: Callable[[], RecordIndex]
) -> RecordIndex:
    """The stored index of the records that `key` describes, or a new one, which is then stored.

    The index is stored beside the records or, if that folder is not writable, in the user's cache
    folder. Several processes may do this at once, since the file is written atomically.

    Args:
      key: the description from `describe_files`.
      folder: the folder of the records.
      title: name of the records in a warning.
      read: makes the index.

    Returns:
      the index.
    """
    name = f"ioub_jax_index-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    places = [folder / name, _cache_folder() / name]
    for path in places:
        index = _load(path, key)
        if index is not None:
            return index
    index = read()
    failures = []
    for path in places:
        try:
            write_index(path, {"key": np.array(key), **vars(index)})
            return index
        except OSError as error:
            failures.append(f"{path.parent} ({error.strerror})")
    logging.getLogger(__name__).warning(
        "%s: the index cannot be kept in %s, so the records will be read again next time.",
        title,
        " or ".join(failures),
    )
    return index


def _cache_folder() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ioub_jax"


def _load(path: pathlib.Path, key: str) -> RecordIndex | None:
    """The index in a file; None if the file is missing, broken or describes other records."""
    names = [field.name for field in dataclasses.fields(RecordIndex)]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            index = RecordIndex(**{name: arrays[name] for name in names})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return index if index.is_consistent() else None
