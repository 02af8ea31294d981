"""A folder in the layout of the PASCAL VOC devkit: JPEGImages, Annotations, ImageSets/Main."""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np

from ioub_jax.data.checks import DataError, check_on_error
from ioub_jax.data.images import read_image
from ioub_jax.data.sources.example import Example, create_example

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
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."
_SKIP_BOX = "or set config.data.on_error='skip' to leave the box out."


@dataclasses.dataclass(frozen=True)
class _Record:
    """What one XML says about its image; boxes are 0-based with exclusive right and bottom edge."""

    image_id: int
    image_path: pathlib.Path
    height: int
    width: int
    boxes: list[tuple[float, float, float, float]]
    names: list[str]
    difficult: list[bool]


class VocFolderSource:
    """Images and boxes of one split of a VOC-style folder.

    Every XML is parsed once, at construction; images are decoded on access. Coordinates are 1-based
    and inclusive in the files; boxes are `(xmin - 1, ymin - 1, xmax, ymax)`, so that widths equal
    the devkit's. An image may also be a PNG. `image_id` is the position in the split's list,
    from 1: it stays the same whatever is skipped.

    With `on_error='skip'` a bad object is left out of its image and a bad image out of the data
    set, each with its sentence in `skipped`. An image that turns out to be unreadable only when it
    is decoded raises `DataError` either way; whoever asked for it decides.

    Args:
        root: The folder.
        split: A file of `ImageSets/Main` without its suffix; None or 'all' for every XML, sorted.
        classes: Class names in the order of the labels; None for the 20 classes of VOC.
        on_error: 'raise' or 'skip'.
        keep_empty: Whether images without objects are kept, as background.

    Raises:
        DataError: With one sentence, if something is wrong with the folder or a file.
    """

    def __init__(
        self,
        root: str | pathlib.Path,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
        keep_empty: bool = True,
    ) -> None:
        self.skipped: list[str] = []
        self._raises = check_on_error(on_error) == "raise"
        self._root = pathlib.Path(root).expanduser()
        images = self._list_images()
        records = []
        for position, name in enumerate(self._list_names(split, images), start=1):
            record = self._read(name, position, images)
            if record is not None:
                records.append(record)
        self.classes = self._choose_classes(classes, records)
        self.category_ids = tuple(range(1, len(self.classes) + 1))
        self._examples: list[Example] = []
        self._paths: list[pathlib.Path] = []
        sizes = []
        for record in records:
            example = self._create_example(record)
            if len(example.labels) == 0 and not keep_empty:
                self.skipped.append(
                    f"{record.image_path}: has no objects; "
                    "set config.data.voc.keep_empty=True to train on it as background."
                )
                continue
            self._examples.append(example)
            self._paths.append(record.image_path)
            sizes.append((record.height, record.width))
        self.sizes = np.array(sizes, np.int64).reshape(-1, 2)
        self._report(split)

    def __len__(self) -> int:
        """The number of images."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Example:
        """Decodes image `index`; raises `DataError` if that fails or its size is not its XML's."""
        image = read_image(self._paths[index])
        height, width = (int(side) for side in self.sizes[index])
        if image.shape[:2] != (height, width):
            raise DataError(
                f"{self._paths[index]}: is {image.shape[1]}x{image.shape[0]} pixels but its XML "
                f"says {width}x{height}; make them agree, {_SKIP_IMAGE}"
            )
        return dataclasses.replace(self._examples[index], image=image)

    def annotations(self, index: int) -> Example:
        """The objects of image `index`, without its pixels."""
        return self._examples[index]

    def image_id(self, index: int) -> int:
        """The image's position in the split's list, from 1."""
        return self._examples[index].image_id

    def describe(self, index: int) -> str:
        """The path of the image file."""
        return str(self._paths[index])

    def _reject(self, sentence: str) -> None:
        if self._raises:
            raise DataError(sentence)
        self.skipped.append(sentence)

    def _list_images(self) -> dict[str, pathlib.Path]:
        for folder in (self._root, self._root / "Annotations", self._root / "JPEGImages"):
            if not folder.is_dir():
                raise DataError(
                    f"{folder}: there is no such folder; set config.data.voc.root to the folder "
                    "that holds Annotations and JPEGImages."
                )
        files = sorted((self._root / "JPEGImages").iterdir())
        return {path.stem: path for path in files if path.suffix.lower() in _IMAGE_SUFFIXES}

    def _list_names(self, split: str | None, images: dict[str, pathlib.Path]) -> list[str]:
        if split is None or split == "all":
            annotated = {path.stem for path in (self._root / "Annotations").glob("*.xml")}
            return sorted(annotated | images.keys())
        path = self._root / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            found = sorted(other.stem for other in path.parent.glob("*.txt"))
            raise DataError(
                f"{path}: there is no such split file (the folder has {found or 'none'}); choose "
                "another in config.data.voc, where 'all' stands for every annotated image."
            )
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        return [line for line in lines if line]

    def _read(self, name: str, position: int, images: dict[str, pathlib.Path]) -> _Record | None:
        """Parses one XML; None if the image has to be skipped."""
        path = self._root / "Annotations" / f"{name}.xml"
        if name not in images:
            expected = self._root / "JPEGImages" / f"{name}.jpg"
            why = f"{path.name} has no image" if path.is_file() else "the split lists it"
            self._reject(f"{expected}: is missing ({why}); add the file, {_SKIP_IMAGE}")
            return None
        if not path.is_file():
            self._reject(f"{path}: {images[name].name} has no XML; add the file, {_SKIP_IMAGE}")
            return None
        try:
            root = _parse(path)
            height, width = _read_size(root, path)
        except DataError as error:
            self._reject(str(error))
            return None
        record = _Record(position, images[name], height, width, [], [], [])
        for number, element in enumerate(root.findall("object"), start=1):
            try:
                box = _read_box(element, number, height, width, path)
            except DataError as error:
                self._reject(str(error))
                continue
            record.boxes.append(box)
            record.names.append((element.findtext("name") or "").strip())
            record.difficult.append((element.findtext("difficult") or "0").strip() == "1")
        return record

    def _choose_classes(
        self, classes: Sequence[str] | None, records: list[_Record]
    ) -> tuple[str, ...]:
        if classes is not None:
            return tuple(classes)
        found = sorted({name for record in records for name in record.names})
        if not set(found) <= set(VOC_CLASSES):
            raise DataError(
                f"{self._root / 'Annotations'}: the classes are not VOC's; "
                f"set config.data.voc.classes={tuple(found)!r}."
            )
        return VOC_CLASSES

    def _create_example(self, record: _Record) -> Example:
        xml = self._root / "Annotations" / f"{record.image_path.stem}.xml"
        keep = []
        for number, name in enumerate(record.names):
            if name in self.classes:
                keep.append(number)
                continue
            self._reject(
                f"{xml}: has an object of class {name!r}, which is not in the list; "
                f"add it to config.data.voc.classes, {_SKIP_BOX}"
            )
        labels = [self.classes.index(record.names[number]) for number in keep]
        boxes = np.array([record.boxes[number] for number in keep], np.float32)
        difficult = np.array([record.difficult[number] for number in keep], bool)
        return create_example(boxes, np.array(labels), record.image_id, difficult=difficult)

    def _report(self, split: str | None) -> None:
        summary = ""
        if self.skipped:
            summary = (
                f"; {len(self.skipped)} images or boxes left out, the first: {self.skipped[0]}"
            )
        if len(self) == 0:
            raise DataError(
                f"{self._root}: split {split!r} has no images to load, check config.data.voc"
                f"{summary or '.'}"
            )
        if summary:
            logging.getLogger(__name__).warning("%s: split %r%s", self._root, split, summary)


def _parse(path: pathlib.Path) -> ElementTree.Element:
    data = path.read_bytes()
    # Annotations need no entities; a file that declares some may expand without end.
    if b"<!ENTITY" in data:
        raise DataError(f"{path}: declares XML entities; remove them, {_SKIP_IMAGE}")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: is broken XML ({error}); repair the file, {_SKIP_IMAGE}"
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
    if not (height >= 1 and width >= 1):
        raise DataError(
            f"{path}: has no usable <size> (width and height of the image); add it, {_SKIP_IMAGE}"
        )
    return int(height), int(width)


def _read_box(
    element: ElementTree.Element, number: int, height: int, width: int, path: pathlib.Path
) -> tuple[float, float, float, float]:
    """The 0-based, right-exclusive box of one object, clipped to the image."""
    corners = [_number(element, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    xmin, ymin, xmax, ymax = corners
    written = ", ".join(f"{value:g}" for value in corners)
    which = f"{path}: box {number} ({element.findtext('name')}; {written})"
    if any(math.isnan(value) for value in corners):
        raise DataError(f"{which} lacks a number among xmin, ymin, xmax, ymax; fix it, {_SKIP_BOX}")
    if xmax <= xmin or ymax <= ymin:
        raise DataError(
            f"{which} has no area, xmax <= xmin or ymax <= ymin; fix or delete it, {_SKIP_BOX}"
        )
    left, top = xmin - 1, ymin - 1
    if min(left, top) < -_TOLERANCE or xmax > width + _TOLERANCE or ymax > height + _TOLERANCE:
        raise DataError(
            f"{which} is outside its image of {width}x{height}; fix or delete it, {_SKIP_BOX}"
        )
    return max(left, 0.0), max(top, 0.0), min(xmax, float(width)), min(ymax, float(height))
