"""Lists, XMLs and images of a VOC-style folder, whichever tool wrote it."""

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import cv2

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.file_names import Listing, resolve
from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES
from ioub_jax.data.sources.voc_folders import (
    has_files,
    is_image,
    is_xml,
    iter_files,
    parts_of,
)
from ioub_jax.data.sources.voc_layout import is_one_tree, no_folder
from ioub_jax.data.sources.voc_lists import (
    EVERYTHING,
    find_list,
    find_lists,
    is_of_one_class,
    read_lines,
)

SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."


class Files:
    """The files of a folder by their keys: paths relative to it, without suffix.

    Args:
      folder: the folder.
      below: whether files in subfolders are included.
      wanted: decides by the suffix, in lower case, whether a file is included.
    """

    def __init__(self, folder: pathlib.Path, below: bool, wanted: Callable[[str], bool]) -> None:
        self.folder = folder
        self._paths: dict[str, list[pathlib.Path]] = {}
        self._keys: dict[str, list[str]] = {}
        for path in iter_files(folder, wanted, below=below):
            self._add(path)

    def _add(self, path: pathlib.Path) -> None:
        key = self.key(path)
        if key not in self._paths:
            self._keys.setdefault(path.stem, []).append(key)
        self._paths.setdefault(key, []).append(path)

    def key(self, path: str | pathlib.Path) -> str:
        """The key of a file in the folder."""
        return pathlib.Path(path).relative_to(self.folder).with_suffix("").as_posix()

    def __iter__(self) -> Iterator[str]:
        """The keys, folder by folder."""
        return iter(self._paths)

    def __getitem__(self, key: str) -> list[pathlib.Path]:
        """The files with this key, which differ in their suffixes; empty for an unknown key."""
        return self._paths.get(key, [])

    def find(self, name: str) -> str | None:
        """The key that a name means: an equal key, or the only one with the same end.

        Args:
          name: a name with or without suffix, which may have more or fewer folders than the key.
        """
        path = name.replace("\\", "/").removeprefix("./")
        stem, suffix = os.path.splitext(path)
        readings = [name, path]
        if suffix.lower() in IMAGE_SUFFIXES or suffix.lower() == ".xml":
            readings.append(stem)
        for reading in readings:
            if reading in self._paths:
                return reading
        fitting = {
            key
            for reading in readings
            for key in self.called(reading)
            if f"/{reading}".endswith(f"/{key}") or key.endswith(f"/{reading}")
        }
        return fitting.pop() if len(fitting) == 1 else None

    def called(self, name: str) -> list[str]:
        """The keys whose last part equals the last part of a name, which has no suffix."""
        return self._keys.get(name.rpartition("/")[2], [])


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image that a split lists, with its files that exist.

    Attributes:
      name: the name of the image in the list.
      xml: the XML of the image, None if there is none.
      images: the files that may be the image; `VocFolder.choose_image` chooses one of them.
    """

    name: str
    xml: pathlib.Path | None
    images: tuple[pathlib.Path, ...]


class VocFolder:
    """One folder with XMLs, images and, unless the whole folder is read, lists of them.

    The devkit has them in Annotations, JPEGImages and ImageSets/Main. These folders may have other
    names (`voc_folders`) and may contain subfolders; the XMLs may lie beside the images, and lists
    may lie in other places (`voc_lists`). If there are no such folders, XMLs and images may lie
    anywhere below the folder.

    Args:
      root: the parent of all folders, for error messages.
      name: the name of this folder below `root`.

    Raises:
      DataError: there is not exactly one folder of XMLs and one of images.
    """

    def __init__(self, root: pathlib.Path, name: str) -> None:
        self.path = root / name
        if not os.path.isdir(self.path):
            raise no_folder(self.path, root)
        parts = parts_of(self.path)
        anywhere = (self.path,)
        xmls = parts.xmls or (anywhere if is_one_tree(self.path) else ())
        images = parts.images
        if not images and xmls and has_files(self.path, is_image, below=True):
            images = anywhere
        for part, found in (("Annotations", xmls), ("JPEGImages", images)):
            if not found:
                raise no_folder(self.path / part, root)
            if len(found) > 1:
                names = " and ".join(str(folder.relative_to(self.path)) for folder in found)
                raise DataError(
                    f"{self.path}: the files of {part} may be those in {names}; keep one of them, "
                    f"or name it {part}.",
                    "folder",
                )
        self.xmls = Files(xmls[0], not parts.xmls or xmls[0] != self.path, is_xml)
        below = not parts.images or images[0] != self.path
        self.images = Files(images[0], below, lambda suffix: not is_xml(suffix))
        self._listing = Listing(images[0])

    def list_all(self, within: str = "") -> list[Entry]:
        """Every XML with its image, and every image without an XML, sorted.

        Args:
          within: prefix of the keys of the entries, such as 'train/' for a subfolder 'train'.
        """
        keys = [key for key in self.xmls if key.startswith(within)]
        entries = {key: self._entry(key, key, self._image_of(key)) for key in keys}
        known = {path for entry in entries.values() for path in entry.images}
        for key in self.images:
            if not key.startswith(within):
                continue
            paths = [path for path in self.images[key] if is_image(path.suffix.lower())]
            if paths and known.isdisjoint(paths):
                entries.setdefault(key, self._entry(key, None, key))
        return [entries[key] for key in sorted(entries)]

    def _image_of(self, xml: str) -> str | None:
        """The key of an XML's images, which have the same name in any folder; None if unclear."""
        image = self.images.find(xml)
        if image is None and self.xmls.folder == self.images.folder:
            # XMLs and images lie in folders side by side, which may have any names.
            called = self.images.called(xml), self.xmls.called(xml)
            image = called[0][0] if all(len(keys) == 1 for keys in called) else None
        return image

    def find(self, line: str, problems: Problems) -> Entry:
        """The entry for a line of a list: a name, or several columns, the first with a name."""
        entry = self._find(line, problems)
        columns = line.replace(",", " ").split()
        if entry.xml is None and not entry.images and len(columns) > 1:
            first = self._find(columns[0], problems)
            if (first.xml is not None or first.images) and not is_of_one_class(columns):
                return first
        return entry

    def _find(self, name: str, problems: Problems) -> Entry:
        image = self._find_image(name, problems)
        xml = self.xmls.find(name if image is None else image)
        if xml is None and image is not None:
            xml = self.xmls.find(name)
        if image is None and xml is not None:
            image = self._image_of(xml)
        # If two folders have an image with the name of the XML, it is not clear whose XML it is.
        if xml is not None and image not in (None, xml, self.images.find(xml)):
            xml = None
        return self._entry(name, xml, image)

    def choose_image(self, entry: Entry, filename: str, problems: Problems) -> pathlib.Path:
        """Chooses the image file of an entry.

        Args:
          entry: an entry of this folder.
          filename: the <filename> in its XML, which is used if the name in the list is not enough.
          problems: counts names that are read as the name of another file.

        Raises:
          DataError: there is not exactly one image file that can be read.
        """
        paths = list(entry.images)
        if not paths and filename and (key := self._find_image(filename, problems)):
            paths = self.images[key]
        for name in (entry.name, filename):
            last = name.replace("\\", "/").rpartition("/")[2]
            paths = [path for path in paths if path.name == last] or paths
        readable = [path for path in paths if is_image(path.suffix.lower())]
        readable = readable or [path for path in paths if cv2.haveImageReader(str(path))]
        if len(readable) == 1:
            return readable[0]
        raise self._no_image(entry, readable, paths)

    def _entry(self, name: str, xml: str | None, image: str | None) -> Entry:
        return Entry(
            name,
            self.xmls[xml][0] if xml is not None else None,
            tuple(self.images[image]) if image is not None else (),
        )

    def _find_image(self, name: str, problems: Problems) -> str | None:
        """The key of the images that a name means; the name may come from another system."""
        key = self.images.find(name)
        if key is None and (path := resolve(name, self._listing)):
            with contextlib.suppress(ValueError):  # the file lies outside the folder
                key = self.images.key(os.path.normpath(path))
            problems.note("renamed", key is not None)
        elif key is not None:
            problems.note("renamed", "\\" in name)
        return key

    def _no_image(
        self, entry: Entry, readable: Sequence[pathlib.Path], others: Sequence[pathlib.Path]
    ) -> DataError:
        xml = "its XML" if entry.xml is None else entry.xml.name
        alike = self.images.called(entry.name)
        if readable:
            names = " or ".join(path.name for path in readable)
            fault = f"is {names}; name one of them in <filename> of {xml}"
        elif not others and len(alike) > 1:
            names = " or ".join(alike)
            fault = f"may be {names}; put {xml} into a folder that corresponds to that of its image"
        elif others:
            fault = f"there is {others[0].name}, which OpenCV cannot read; convert it"
        else:
            why = "the split lists it" if entry.xml is None else f"{xml} has no image"
            fault = f"is missing ({why}); add the file"
        suffix = "" if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES else ".jpg"
        return DataError(
            f"{self.images.folder / (entry.name + suffix)}: {fault}, {SKIP_IMAGE}", "missing_image"
        )


def list_entries(
    folder: VocFolder, split: str | None, without_xml: bool, problems: Problems
) -> list[Entry]:
    """The images of a split, in the order of its list.

    Args:
      folder: the folder.
      split: a list (`voc_lists.find_list`), or the name of a subfolder of the folders of XMLs and
        images; None or 'all' for every image, sorted.
      without_xml: whether images may have no XML.
      problems: handles names that are listed twice.

    Raises:
      DataError: there is no such list, or it is not a list for detection.
    """
    if split is None or split == EVERYTHING:
        return folder.list_all()
    path = find_list(folder.path, split)
    if path is None:
        if entries := folder.list_all(f"{split}/"):
            return entries
        path = folder.path / "ImageSets" / "Main" / f"{split}.txt"
        found = sorted(find_lists(folder.path))
        raise DataError(
            f"{path}: there is no such split file (the folder has {found or 'none'}); choose "
            "another in config.data.voc; 'all' stands for every annotated image.",
            "folder",
        )
    names = read_lines(path)
    counts = collections.Counter(names)
    entries = [folder.find(name, problems) for name in counts]
    _check_list(path, entries, folder, without_xml)
    for name in counts:
        if counts[name] > 1:
            problems.add(
                "duplicate_image",
                f"{path}: lists {name} {counts[name]} times; delete the other lines, "
                "or set config.data.on_error='skip' to read it once.",
            )
    return entries


def _check_list(
    path: pathlib.Path, entries: Sequence[Entry], folder: VocFolder, without_xml: bool
) -> None:
    """Raises `DataError` for a list that cannot be for detection."""
    columns = [entry.name.split() for entry in entries]
    if entries and all(
        is_of_one_class(parts) and not entry.images
        for parts, entry in zip(columns, entries, strict=True)
    ):
        # Reading only the list's positives would leave out all images without the class, in which
        # a detector's false positives show.
        raise DataError(
            f"{path}: is the devkit's list of one class ({entries[0].name!r}); choose a list of "
            "images, such as 'trainval', in config.data.voc, and its class in "
            "config.data.voc.classes.",
            "folder",
        )
    has_images = any(entry.images for entry in entries)
    if has_images and not without_xml and not any(entry.xml for entry in entries):
        raise DataError(
            f"{folder.xmls.folder}: none of the {len(entries)} images of {path} has an XML "
            "here (those of VOC2012's test are not published); choose another split or folder in "
            "config.data.voc.",
            "missing_annotation",
        )
