"""Folders in the layout of the PASCAL VOC devkit: JPEGImages, Annotations, ImageSets/Main."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import Census, Example, create_example
from ioub_jax.data.sources.files import FileSource

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

# A box may leave its image by this many pixels, a common slip of 0-based exporters, and is clipped.
_TOLERANCE = 1.0
_MAX_SIDE = 2**31  # pixels; more is no image
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."
_SKIP_BOX = "or set config.data.on_error='skip' to leave the box out."
_FOLDER_KEYS = "config.data.voc.train_folders, val_folders or test_folders"


@dataclasses.dataclass(frozen=True)
class _Folder:
    """One folder that holds Annotations, JPEGImages and, unless all is read, ImageSets/Main."""

    path: pathlib.Path
    images: dict[str, pathlib.Path]
    annotated: frozenset[str]

    def xml(self, name: str) -> pathlib.Path:
        return self.path / "Annotations" / f"{name}.xml"


@dataclasses.dataclass(frozen=True)
class _Record:
    """What one XML says about its image; boxes are 0-based with exclusive right and bottom edge."""

    image_id: int
    image: pathlib.Path
    xml: pathlib.Path
    size: tuple[int, int]
    boxes: list[tuple[float, float, float, float]]
    names: list[str]
    difficult: list[bool]


class VocSource(FileSource):
    """Images and boxes of one split of one or more VOC-style folders.

    Every XML is parsed once, at construction; images are decoded on access. The devkit's
    coordinates are 1-based and inclusive; boxes are `(xmin - 1, ymin - 1, xmax, ymax)`, so that
    widths equal the devkit's `xmax - xmin + 1`. An image may also be a PNG. `image_id` is the
    position in the list of the split, from 1, through all folders: it stays the same whatever is
    skipped. Objects flagged `difficult` are kept with their flag, images without objects too.

    With `on_error='skip'` a bad object is left out of its image and a bad image out of the data
    set, each with a `Problem` in `skipped`. An image that turns out to be unreadable only when it
    is decoded raises `DataError` either way; whoever asked for it decides.

    Args:
        root: A folder with Annotations and JPEGImages, or the VOCdevkit that has such `folders`.
        split: A file of `ImageSets/Main` without its suffix; None or 'all' for every XML, sorted.
        folders: The folders below `root` whose images are joined, in that order:
            `('VOC2007', 'VOC2012')` with split 'trainval' is the usual 07+12.
        classes: Class names in the order of the labels; None for the 20 classes of VOC.
        on_error: 'raise' or 'skip'.
        one_based: Whether coordinates are the devkit's; False takes them as written, 0-based with
            exclusive right and bottom edge.

    Raises:
        ValueError: If `on_error` is neither, or `classes` has a name twice.
        DataError: With one sentence, if something is wrong with a folder or a file.
    """

    def __init__(
        self,
        root: str | pathlib.Path,
        split: str | None = None,
        folders: Sequence[str] = (".",),
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
        one_based: bool = True,
    ) -> None:
        problems = Problems(on_error)
        root = pathlib.Path(root).expanduser()
        listed = [
            (folder, name)
            for folder in [_open_folder(root, name) for name in folders]
            for name in _list_names(folder, split, problems)
        ]
        records = list(_read_records(listed, one_based, problems))
        chosen = _choose_classes(classes, records)
        examples = [_create_example(record, chosen, problems) for record in records]
        sizes = np.array([record.size for record in records], np.int64)
        super().__init__(
            collect_annotations(examples, sizes),
            [str(record.image) for record in records],
            chosen,
            range(1, len(chosen) + 1),
            problems.found,
            Census(
                len(listed), sum(len(record.boxes) for record in records), changes=problems.changes
            ),
        )
        if len(self) == 0:
            reason = f", the first left out is this: {self.skipped[0]}" if self.skipped else "."
            raise DataError(
                f"{root}: split {split!r} has no images to load, check config.data.voc{reason}",
                "folder",
            )


def _open_folder(root: pathlib.Path, name: str) -> _Folder:
    """Lists the images and XMLs of one folder."""
    path = root / name
    for needed in (path, path / "Annotations", path / "JPEGImages"):
        if not needed.is_dir():
            raise DataError(f"{needed}: there is no such folder; {_way_to_folders(root)}", "folder")
    images: dict[str, pathlib.Path] = {}
    for file in sorted((path / "JPEGImages").iterdir()):
        if file.suffix.lower() in _IMAGE_SUFFIXES:
            images.setdefault(file.stem, file)
    annotated = frozenset(file.stem for file in (path / "Annotations").glob("*.xml"))
    return _Folder(path, images, annotated)


def _way_to_folders(root: pathlib.Path) -> str:
    """Which key to set to what, seen from a root that lacks a folder."""
    if (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir():
        return f"{root} itself holds them, set {_FOLDER_KEYS} to ('.',)."
    years = tuple(sorted(path.parent.name for path in root.glob("*/Annotations")))
    if years:
        return f"set {_FOLDER_KEYS} to one or more of {years!r}."
    if (root / "VOCdevkit").is_dir():
        return f"set config.data.voc.root to {root / 'VOCdevkit'}."
    return "set config.data.voc.root to the folder that holds Annotations and JPEGImages."


def _list_names(folder: _Folder, split: str | None, problems: Problems) -> list[str]:
    """The names of a split's images, in the order of its file."""
    if split is None or split == "all":
        return sorted(folder.annotated | folder.images.keys())
    path = folder.path / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        found = sorted(other.stem for other in path.parent.glob("*.txt") if "_" not in other.stem)
        raise DataError(
            f"{path}: there is no such split file (the folder has {found or 'none'}); choose "
            "another in config.data.voc, where 'all' stands for every annotated image.",
            "folder",
        )
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    _check_list(path, names, folder)
    counts = collections.Counter(names)
    for name in counts:
        if counts[name] > 1:
            problems.add(
                "duplicate_image",
                f"{path}: lists {name} {counts[name]} times; delete the other lines, "
                "or set config.data.on_error='skip' to read it once.",
            )
    return list(counts)


def _check_list(path: pathlib.Path, names: Sequence[str], folder: _Folder) -> None:
    """Refuses a list that cannot be meant for detection."""
    columns = [name.split() for name in names]
    if names and all(
        len(parts) == 2 and parts[1] in ("-1", "0", "1") and name not in folder.images
        for parts, name in zip(columns, names, strict=True)
    ):
        # Its positives alone would leave out every image on which a detector can be wrong.
        raise DataError(
            f"{path}: is the devkit's list of one class ({names[0]!r}); choose a list of images, "
            "such as 'trainval', in config.data.voc, and its class in config.data.voc.classes.",
            "folder",
        )
    if names and folder.annotated.isdisjoint(names) and not folder.images.keys().isdisjoint(names):
        raise DataError(
            f"{folder.path / 'Annotations'}: none of the {len(names)} images of {path} has an XML "
            "here (those of VOC2012's test are not published); choose another split or folder in "
            "config.data.voc.",
            "missing_annotation",
        )


def _read_records(
    listed: Sequence[tuple[_Folder, str]], one_based: bool, problems: Problems
) -> Iterator[_Record]:
    """Parses the XMLs of the listed images, those left out apart."""
    for image_id, (folder, name) in enumerate(listed, start=1):
        try:
            image = _find_image(folder, name)
            xml = folder.xml(name)
            root = _parse(xml)
            record = _Record(image_id, image, xml, _read_size(root, xml), [], [], [])
        except DataError as error:
            problems.add_error(error)
            continue
        for number, element in enumerate(root.findall("object"), start=1):
            try:
                box = _read_box(element, number, record, one_based)
            except DataError as error:
                problems.add_error(error)
                continue
            record.boxes.append(box)
            record.names.append((element.findtext("name") or "").strip())
            record.difficult.append((element.findtext("difficult") or "0").strip() == "1")
        yield record


def _find_image(folder: _Folder, name: str) -> pathlib.Path:
    """The image file of a listed name, if its XML is there too."""
    xml = folder.xml(name)
    annotated = name in folder.annotated
    if name not in folder.images:
        expected = folder.path / "JPEGImages" / f"{name}.jpg"
        why = f"{xml.name} has no image" if annotated else "the split lists it"
        raise DataError(
            f"{expected}: is missing ({why}); add the file, {_SKIP_IMAGE}", "missing_image"
        )
    image = folder.images[name]
    if not annotated:
        raise DataError(
            f"{xml}: {image.name} has no XML; add the file, {_SKIP_IMAGE}", "missing_annotation"
        )
    return image


def _parse(path: pathlib.Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file, {_SKIP_IMAGE}",
            "broken_annotation",
        ) from error
    # Annotations need no entities; a file that declares some may expand without end.
    if b"<!ENTITY" in data:
        raise DataError(
            f"{path}: declares XML entities; remove them, {_SKIP_IMAGE}", "broken_annotation"
        )
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: is broken XML ({error}); repair the file, {_SKIP_IMAGE}",
            "broken_annotation",
        ) from error


def _number(element: ElementTree.Element, name: str) -> float:
    """The finite number in a child element; NaN stands for a missing or unreadable one."""
    try:
        value = float(element.findtext(name, default=""))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _read_size(root: ElementTree.Element, path: pathlib.Path) -> tuple[int, int]:
    height, width = _number(root, "size/height"), _number(root, "size/width")
    if not (1 <= height < _MAX_SIDE and 1 <= width < _MAX_SIDE):
        raise DataError(
            f"{path}: has no usable <size> (width and height of the image); add it, {_SKIP_IMAGE}",
            "broken_annotation",
        )
    return int(height), int(width)


def _read_box(
    element: ElementTree.Element, number: int, record: _Record, one_based: bool
) -> tuple[float, float, float, float]:
    """The 0-based, right-exclusive box of one object, clipped to the image.

    The parts of an object, such as a person's head, have boxes of their own one level deeper.
    """
    height, width = record.size
    corners = [_number(element, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    xmin, ymin, xmax, ymax = corners
    written = ", ".join(f"{value:g}" for value in corners)
    which = f"{record.xml}: box {number} ({element.findtext('name')}; {written})"
    if any(math.isnan(value) for value in corners):
        raise DataError(
            f"{which} lacks a number among xmin, ymin, xmax, ymax; fix it, {_SKIP_BOX}", "bad_box"
        )
    if xmax <= xmin or ymax <= ymin:
        raise DataError(
            f"{which} has no area, xmax <= xmin or ymax <= ymin; fix or delete it, {_SKIP_BOX}",
            "no_area",
        )
    left, top = xmin - one_based, ymin - one_based
    box = max(left, 0.0), max(top, 0.0), min(xmax, float(width)), min(ymax, float(height))
    leaves = max(-left, -top, xmax - width, ymax - height)
    if leaves > _TOLERANCE or box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(
            f"{which} is outside its image of {width}x{height}; fix or delete it, {_SKIP_BOX}",
            "outside",
        )
    return box


def _choose_classes(classes: Sequence[str] | None, records: Sequence[_Record]) -> tuple[str, ...]:
    """The class list: the one given, or VOC's where the files are of VOC's classes."""
    if classes is not None:
        if len(set(classes)) < len(classes):
            raise ValueError(f"config.data.voc.classes has a name twice: {tuple(classes)!r}.")
        return tuple(classes)
    for record in records:
        for name in record.names:
            if name not in VOC_CLASSES and _resembling(name, VOC_CLASSES) is None:
                found = sorted({name for record in records for name in record.names})
                raise DataError(
                    f"{record.xml.parent}: the classes are not VOC's; "
                    f"set config.data.voc.classes={tuple(found)!r}.",
                    "unknown_category",
                )
    return VOC_CLASSES


def _resembling(name: str, classes: Sequence[str]) -> str | None:
    """The class whose name differs in letter case, spaces, dashes and underscores alone."""
    plain = _plain(name)
    return next((other for other in classes if _plain(other) == plain), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _create_example(record: _Record, classes: Sequence[str], problems: Problems) -> Example:
    """Gives the objects of one image their labels; those of other classes are a problem."""
    keep = []
    for number, name in enumerate(record.names):
        if name in classes:
            keep.append(number)
            continue
        meant = _resembling(name, classes)
        way_out = "add it to config.data.voc.classes"
        if meant is not None:
            way_out = f"write it {meant!r} as in the list"
        problems.add(
            "unknown_category",
            f"{record.xml}: has an object of class {name!r}, which is not in the list; "
            f"{way_out}, {_SKIP_BOX}",
        )
    return create_example(
        np.array([record.boxes[number] for number in keep], np.float32),
        np.array([classes.index(record.names[number]) for number in keep]),
        record.image_id,
        difficult=np.array([record.difficult[number] for number in keep], bool),
    )
