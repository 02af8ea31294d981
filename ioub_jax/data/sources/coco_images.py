"""The images that COCO's JSON lists: their ids, files and sizes."""

import collections
import dataclasses
import functools
import os
import pathlib
import reprlib
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from ioub_jax.coco_values import are_texts, id_of, is_text, side_of
from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.coco_document import Document, Piece
from ioub_jax.data.sources.coco_file import Keys
from ioub_jax.data.sources.coco_ids import LEFT_OUT, Places, kinds_of
from ioub_jax.data.sources.file_names import Listing, find_fitting, find_other_suffixes
from ioub_jax.data.sources.image_sizes import read_size

_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out"
_LONGEST_SIDE = 2**31


@dataclasses.dataclass(frozen=True)
class Images:
    """The n usable images.

    Attributes:
      numbers: int64 `[n]`, the number of each image: its id, or, if the id of any image is a name,
        the image's place in the file, from 1.
      names: the file name of each image, as written.
      paths: the file of each image.
      sizes: int64 `[n, 2]`, height and width of each image.
      listed: how many images the file lists.
      places: the position of the image with an id; `LEFT_OUT` for a listed image that is not used.
      kinds: int8 `[n]`, the type as which the id of each image is written (`coco_ids.kinds_of`).
      written_ids: for images whose written id differs from their number, the written id, by that
        number.
      seen: what the images depend on besides the file, as in `coco_index.Contents.seen`.
    """

    numbers: np.ndarray
    names: list[str]
    paths: list[str]
    sizes: np.ndarray
    listed: int
    places: Places
    kinds: np.ndarray
    written_ids: dict[int, int | str]
    seen: dict[str, Any] | None

    def named(self, position: int) -> tuple[str, int, int] | None:
        """The name, height and width of an image; None if `position` is not that of an image."""
        if position < 0:
            return None
        return self.names[position], int(self.sizes[position, 0]), int(self.sizes[position, 1])


class _Image(msgspec.Struct, gc=False):
    """An image entry with the usual fields."""

    id: int
    height: int
    width: int
    file_name: str | None = None
    coco_url: str | None = None


_PLAIN = msgspec.json.Decoder(list[_Image])


def name_of(file_name: object, coco_url: object) -> Any:
    """The file name of an image; LVIS's images, which only have a URL, get e.g. `val2017/9.jpg`."""
    if file_name is None and isinstance(coco_url, str):
        return "/".join(coco_url.split("/")[-2:])
    return file_name


def read_images(
    document: Document, path: pathlib.Path, folder: pathlib.Path, keys: Keys, problems: Problems
) -> Images:
    """The usable images that the file lists, in its order.

    Raises:
      DataError: no image can be used, or, under 'raise', an image cannot be used.
    """
    listing = Listing(folder)
    images = _read_plain(document.pieces("images"), listing)
    if images is None:
        images = _read_with_care(document, path, listing, keys, problems)
    return images


def _read_plain(pieces: Iterable[Piece], listing: Listing) -> Images | None:
    """Reads all images at once; None if one of them has unusual fields."""
    numbers: list[int] = []
    names: list[Any] = []
    sizes: list[np.ndarray] = []
    for piece in pieces:
        images = piece.decode(_PLAIN)
        if images is None:
            return None
        numbers += [image.id for image in images]
        names += [name_of(image.file_name, image.coco_url) for image in images]
        sides = np.array([(image.height, image.width) for image in images])
        if sides.dtype != np.int64 or sides.min() <= 0 or sides.max() >= _LONGEST_SIDE:
            return None
        sizes.append(sides)
    ids = np.array(numbers)
    if None in names:
        return None
    if ids.dtype != np.int64 or len(np.unique(ids)) < len(ids) or len(set(names)) < len(names):
        return None
    paths = listing.plain_paths(names) if are_texts(names) else None
    if paths is None:
        return None
    kinds = np.zeros(len(ids), np.int8)
    places = Places.of_numbers(ids)
    return Images(ids, names, paths, np.concatenate(sizes), len(ids), places, kinds, {}, {})


def _read_with_care(
    document: Document, path: pathlib.Path, listing: Listing, keys: Keys, problems: Problems
) -> Images:
    """Reads one image after another, with all checks."""
    positions: dict[int | str, int] = {}
    written: list[object] = []
    numbers: list[int] = []
    names: list[str] = []
    paths: list[str] = []
    sizes: list[tuple[int, int]] = []
    reader = _Reader(document, path, listing, keys)
    entries = (entry for piece in document.pieces("images") for entry in piece.entries())
    number = 0
    for number, entry in enumerate(entries, start=1):
        fields = entry if isinstance(entry, dict) else {}
        which = f"{path}: image number {number}"
        try:
            key, name = reader.read_name(fields, which, positions)
            image_path = reader.find(name, fields["id"])
            reader.check_owner(image_path, fields, which)
            which += f" (id {reprlib.repr(key)}, {reprlib.repr(name)})"
            size = reader.read_size(fields, image_path, which)
        except DataError as error:
            problems.add_error(error)
            if (identity := id_of(fields.get("id"))) is not None:
                positions.setdefault(identity, LEFT_OUT)
            continue
        problems.note("renamed", image_path != os.path.join(listing.folder, name))
        positions[key] = len(names)
        reader.owners[os.path.normpath(image_path)] = fields["id"]
        written.append(fields["id"])
        numbers.append(number)
        names.append(name)
        paths.append(image_path)
        sizes.append(size)
    if not names:
        raise DataError(
            f"{path}: none of its {number} images can be used, the first because of "
            f"{problems.found[0]}",
            "folder",
        )
    keys_used = [key for key, position in positions.items() if position >= 0]
    if all(isinstance(key, int) for key in positions):
        numbers = [int(key) for key in keys_used]
    # A float such as 3.0 becomes the integer; only strings stay as written.
    pairs = zip(keys_used, written, strict=True)
    ids = [name if isinstance(name, str) else key for key, name in pairs]
    return Images(
        np.array(numbers, np.int64),
        names,
        paths,
        np.array(sizes, np.int64),
        number,
        Places(positions),
        kinds_of(written),
        {number: id_ for number, id_ in zip(numbers, ids, strict=True) if id_ != number},
        None if reader.looked_into_files else listing.seen(),
    )


class _Reader:
    """Reads the entries of images, with the information on the whole file that this needs.

    Attributes:
      owners: for each image file, the id of the image that it belongs to.
      looked_into_files: whether an image file itself was opened.
    """

    def __init__(
        self, document: Document, path: pathlib.Path, listing: Listing, keys: Keys
    ) -> None:
        self.owners: dict[str, object] = {}
        self.looked_into_files = False
        self._ids_of_names: dict[str, int | str] = {}
        self._document = document
        self._path = path
        self._listing = listing
        self._keys = keys

    def read_name(
        self, entry: dict, which: str, positions: dict[int | str, int]
    ) -> tuple[int | str, str]:
        """The id and the file name of an image; raises `DataError` if one is invalid or taken."""
        written, name = entry.get("id"), name_of(entry.get("file_name"), entry.get("coco_url"))
        identity = id_of(written)
        which = f"{which} (id {reprlib.repr(written)}, {reprlib.repr(name)})"
        kind = "broken_annotation"
        if identity is None:
            fault = "has an id that is neither a 64-bit integer nor a name; give it one"
        elif not is_text(name):
            fault = "has a file_name that is not a name; correct it"
        elif self._ids_of_names.get(name) == identity:
            kind, fault = "duplicate_image", "is listed twice; list it once"
        elif identity in positions:
            kind, fault = "duplicate_image", "has the id of another image; give each its own"
        else:
            self._ids_of_names[name] = identity
            return identity, name
        raise DataError(f"{which} {fault}, {_SKIP_IMAGE}.", kind)

    def find(self, name: str, written: object) -> str:
        """The path of an image's file; raises `DataError` unless exactly one file fits its name."""
        fitting = find_fitting(name, self._listing)
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = " and ".join(repr(os.path.basename(path)) for path in fitting[:3])
            raise DataError(
                f"{os.path.join(self._listing.folder, name)}: is missing (image "
                f"{reprlib.repr(written)} of {self._path.name}), {len(fitting)} files may be "
                f"meant, {names}; correct the file_name, {_SKIP_IMAGE}.",
                "missing_image",
            )
        folder = self._keys.check_folder
        if other := self._find_folder(name):
            folder = f"set {self._keys.images} to {other!r}, which has a file of that name"
        suffixes = [os.path.basename(other) for other in find_other_suffixes(name, self._listing)]
        hint = f", there is {suffixes[0]!r}" if suffixes else ""
        advice = "correct the file_name" if suffixes else "add the file"
        raise DataError(
            f"{os.path.join(self._listing.folder, name)}: is missing (image "
            f"{reprlib.repr(written)} of {self._path.name}){hint}; {advice} or {folder}, "
            f"{_SKIP_IMAGE}.",
            "missing_image",
        )

    def _find_folder(self, name: str) -> str | None:
        """The only folder near the image folder or the JSON with a file of this name, or None."""
        here = pathlib.Path(os.path.abspath(self._listing.folder))
        near = {here.parent, here.parent.parent, pathlib.Path(os.path.abspath(self._path)).parent}
        near |= {here / below for below in self._listing.folders(self._listing.folder)}
        within, last = os.path.split(name.replace("\\", "/"))
        fitting = [
            str(other)
            for other in near - {here}
            if self._listing.has_elsewhere(os.path.join(other, within), last)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def check_owner(self, image_path: str, entry: dict, which: str) -> None:
        """Raises `DataError` if the file of an image belongs to another image."""
        owner = self.owners.get(os.path.normpath(image_path))
        if owner is None:
            return
        boxes = self._boxes_of_images[id_of(entry["id"])]
        name = name_of(entry.get("file_name"), entry.get("coco_url"))
        which += f" (id {reprlib.repr(entry['id'])}, {reprlib.repr(name)})"
        fault = f"{which} has the file of image {reprlib.repr(owner)}"
        if boxes:
            fault += f", and {boxes} boxes that go with it; list it once with the boxes of both"
        else:
            fault += "; list it once"
        raise DataError(f"{fault}, {_SKIP_IMAGE}.", "duplicate_image")

    def read_size(self, entry: dict, image_path: str, which: str) -> tuple[int, int]:
        """The annotated height and width of an image, or those of its file if one is missing."""
        height, width = entry.get("height"), entry.get("width")
        try:
            sides = side_of(height), side_of(width)
        except ValueError as error:
            raise DataError(
                f"{which} has the height {reprlib.repr(height)} and width {reprlib.repr(width)}; "
                f"correct them or remove them, {_SKIP_IMAGE}.",
                "broken_annotation",
            ) from error
        if sides[0] is None or sides[1] is None:
            self.looked_into_files = True
            return read_size(image_path)
        return sides[0], sides[1]

    @functools.cached_property
    def _boxes_of_images(self) -> collections.Counter:
        """Number of annotations for each image id."""
        counts: collections.Counter = collections.Counter()
        for piece in self._document.pieces("annotations"):
            counts.update(
                id_of(annotation.get("image_id"))
                for annotation in piece.entries()
                if isinstance(annotation, dict)
            )
        return counts
