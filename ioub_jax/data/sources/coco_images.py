"""The images that COCO's JSON lists: their ids, files and sizes."""

import collections
import dataclasses
import functools
import os
import pathlib
import reprlib

from ioub_jax.coco_values import id_of, is_text, side_of
from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.coco_file import Keys
from ioub_jax.data.sources.file_names import Listing, find_fitting, find_other_suffixes
from ioub_jax.data.sources.image_sizes import read_size

#: What an annotation may refer to besides the position of an image or a label.
UNKNOWN, LEFT_OUT = -1, -2

_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out"


@dataclasses.dataclass(frozen=True)
class Images:
    """The images that can be used.

    Attributes:
        keys: What the id of each means, an integer or a name.
        written: The id of each as the file has it.
        numbers: The id of each as an integer of 64 bits: its own, or the image's place in the
            file, from 1, where the id of any image is a name.
        names: The name of the file of each.
        paths: The file of each.
        sizes: Height and width of each.
        positions: Where in these lists the image of an id is; `LEFT_OUT` for one that is not.
    """

    keys: list[int | str] = dataclasses.field(default_factory=list)
    written: list[object] = dataclasses.field(default_factory=list)
    numbers: list[int] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    paths: list[str] = dataclasses.field(default_factory=list)
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    positions: dict[int | str, int] = dataclasses.field(default_factory=dict)

    @property
    def written_ids(self) -> dict[int, str]:
        """The ids that are written as strings, by the integers that stand for them."""
        pairs = zip(self.numbers, self.written, strict=True)
        return {number: written for number, written in pairs if isinstance(written, str)}


def read_images(
    content: dict, path: pathlib.Path, folder: pathlib.Path, keys: Keys, problems: Problems
) -> Images:
    """The images of the file that are on disk, in its order.

    Raises:
        DataError: None can be used, or under 'raise' the first that cannot.
    """
    entries = content["images"]
    images = Images()
    reader = _Reader(content, path, Listing(folder), keys)
    for number, entry in enumerate(entries, start=1):
        fields = entry if isinstance(entry, dict) else {}
        which = f"{path}: image number {number}"
        try:
            key, name = reader.read_name(fields, which, images.positions)
            image_path = reader.find(name, fields["id"])
            reader.check_owner(image_path, fields, which)
            size = _read_size(fields, image_path, f"{which} (id {key}, {name!r})")
        except DataError as error:
            problems.add_error(error)
            if (identity := id_of(fields.get("id"))) is not None:
                images.positions.setdefault(identity, LEFT_OUT)
            continue
        problems.note("renamed", image_path != os.path.join(folder, name))
        images.positions[key] = len(images.keys)
        reader.owners[os.path.normpath(image_path)] = fields["id"]
        images.keys.append(key)
        images.written.append(fields["id"])
        images.numbers.append(number)
        images.names.append(name)
        images.paths.append(image_path)
        images.sizes.append(size)
    if not images.keys:
        raise DataError(
            f"{path}: none of its {len(entries)} images can be used, the first because of "
            f"{problems.found[0]}",
            "folder",
        )
    if all(isinstance(key, int) for key in images.positions):
        images.numbers[:] = [int(key) for key in images.keys]
    return images


class _Reader:
    """What reading an image needs to know of the whole file.

    Attributes:
        owners: The id of the image that each file belongs to.
    """

    def __init__(self, content: dict, path: pathlib.Path, listing: Listing, keys: Keys) -> None:
        self.owners: dict[str, object] = {}
        self._ids_of_names: dict[str, int | str] = {}
        self._content = content
        self._path = path
        self._listing = listing
        self._keys = keys

    def read_name(
        self, entry: dict, which: str, positions: dict[int | str, int]
    ) -> tuple[int | str, str]:
        """The id, which no image before it has, and the file name of an image."""
        written, name = entry.get("id"), entry.get("file_name")
        identity = id_of(written)
        which = f"{which} (id {reprlib.repr(written)}, {reprlib.repr(name)})"
        kind = "broken_annotation"
        if identity is None:
            fault = "has an id that is no integer of 64 bits and no name; give it one"
        elif not is_text(name):
            fault = "has a file_name that is no name; correct it"
        elif self._ids_of_names.get(name) == identity:
            kind, fault = "duplicate_image", "is listed twice; list it once"
        elif identity in positions:
            kind, fault = "duplicate_image", "has the id of another image; give each its own"
        else:
            self._ids_of_names[name] = identity
            return identity, name
        raise DataError(f"{which} {fault}, {_SKIP_IMAGE}.", kind)

    def find(self, name: str, written: object) -> str:
        """The path of an image's file; a name that several files fit is as good as none."""
        fitting = find_fitting(name, self._listing)
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = " and ".join(repr(os.path.basename(path)) for path in fitting[:3])
            raise DataError(
                f"{os.path.join(self._listing.folder, name)}: is missing (image {written} of "
                f"{self._path.name}), {len(fitting)} files may be meant, {names}; correct the "
                f"file_name, {_SKIP_IMAGE}.",
                "missing_image",
            )
        folder = self._keys.check_folder
        if other := self._find_folder(name):
            folder = f"set {self._keys.images} to {other!r}, where there is one of that name"
        suffixes = [os.path.basename(other) for other in find_other_suffixes(name, self._listing)]
        hint = f", there is {suffixes[0]!r}" if suffixes else ""
        advice = "correct the file_name" if suffixes else "add the file"
        raise DataError(
            f"{os.path.join(self._listing.folder, name)}: is missing (image {written} of "
            f"{self._path.name}){hint}; {advice} or {folder}, {_SKIP_IMAGE}.",
            "missing_image",
        )

    def _find_folder(self, name: str) -> str | None:
        """The one folder near the image folder and the JSON that a name is relative to."""
        here = pathlib.Path(os.path.abspath(self._listing.folder))
        near = {here.parent, here.parent.parent, pathlib.Path(os.path.abspath(self._path)).parent}
        near |= {here / below for below in self._listing.folders(self._listing.folder)}
        within, last = os.path.split(name.replace("\\", "/"))
        fitting = [
            str(other)
            for other in near - {here}
            if last in self._listing.files(os.path.join(other, within))
        ]
        return fitting[0] if len(fitting) == 1 else None

    def check_owner(self, image_path: str, entry: dict, which: str) -> None:
        """Refuses an image whose file another one has."""
        owner = self.owners.get(os.path.normpath(image_path))
        if owner is None:
            return
        boxes = self._boxes_of_images[id_of(entry["id"])]
        which += f" (id {reprlib.repr(entry['id'])}, {reprlib.repr(entry['file_name'])})"
        fault = f"{which} has the file of image {owner}"
        if boxes:
            fault += f", and {boxes} boxes that go with it; list it once with the boxes of both"
        else:
            fault += "; list it once"
        raise DataError(f"{fault}, {_SKIP_IMAGE}.", "duplicate_image")

    @functools.cached_property
    def _boxes_of_images(self) -> collections.Counter:
        """How many annotations the image of each id has."""
        return collections.Counter(
            id_of(annotation.get("image_id"))
            for annotation in self._content["annotations"]
            if isinstance(annotation, dict)
        )


def _read_size(entry: dict, image_path: str, which: str) -> tuple[int, int]:
    """The annotated height and width of an image, or those of its file where one is missing."""
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
        return read_size(image_path)
    return sides[0], sides[1]
