"""Reading of the objects in COCO's JSON, thousands at once, since Objects365 has 25 million."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from ioub_jax.coco_values import id_of, upright_corners
from ioub_jax.data.checks import Problems
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.coco_document import Piece
from ioub_jax.data.sources.coco_faults import KINDS, explain
from ioub_jax.data.sources.coco_ids import LEFT_OUT, UNKNOWN, Ids, Places, kinds_of
from ioub_jax.data.sources.coco_images import Images
from ioub_jax.data.sources.coco_rows import FLAGS, Rows, read_rows
from ioub_jax.data.sources.regions import ignored_regions

# A box may leave its image by this many pixels through rounding; it is then not counted as clipped.
_TOLERANCE = 1.0
# Each object has a bit for each flag, each correction, and for being a region to ignore.
_CHANGES = ("outlined", "exchanged", "rotated", "clipped", "ignore", "converted")
_BITS = {name: 1 << bit for bit, name in enumerate((*FLAGS, *_CHANGES, "region"))}
_FLAG_BITS = sum(_BITS[name] for name in FLAGS)


@dataclasses.dataclass(frozen=True)
class _Boxes:
    """The boxes of n annotations, their corrections and their faults.

    Attributes:
      corners: float64 `[n, 4]`, xyxy in order; NaN where a bbox is not four numbers.
      boxes: float32 `[n, 4]`, xyxy, the part of each box inside its image.
      changes: masks of corrections, bool `[n]` each: 'outlined' (the box encloses polygons, a mask
        or keypoints), 'exchanged' (the corners are written in another order), 'rotated' (the box is
        the upright box around a rotated one) and 'clipped' (the box leaves its image by more than
        rounding).
      faults: masks of faults, bool `[n]` each, by the kind of problem.
    """

    corners: np.ndarray
    boxes: np.ndarray
    changes: dict[str, np.ndarray]
    faults: dict[str, np.ndarray]


@dataclasses.dataclass
class _Objects:
    """m objects, including regions to ignore, in the order of the file.

    Attributes:
      images: int32 `[m]`, the position of each object's image.
      boxes: float32 `[m, 4]`, xyxy.
      labels: int32 `[m]`.
      areas: float32 `[m]`.
      bits: uint16 `[m]`, combinations of `_BITS`.
      digests: uint64 `[m]`, of all values in which repeated objects are equal, before rounding to
        float32.
    """

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    bits: np.ndarray
    digests: np.ndarray

    def has(self, name: str) -> np.ndarray:
        """True where a bit is set, bool `[m]`."""
        return (self.bits & _BITS[name]) != 0


_NOTHING: dict[str, np.ndarray] = {
    "images": np.zeros(0, np.int32),
    "boxes": np.zeros((0, 4), np.float32),
    "labels": np.zeros(0, np.int32),
    "areas": np.zeros(0, np.float32),
    "bits": np.zeros(0, np.uint16),
    "digests": np.zeros(0, np.uint64),
}


class _Growing:
    """An array that grows at its end, since concatenating its parts would need twice the memory.

    Args:
      empty: `[0, ...]`, an array with the dtype and the other dimensions.
    """

    def __init__(self, empty: np.ndarray) -> None:
        self._array = empty.copy()
        self._count = 0

    def extend(self, part: np.ndarray) -> None:
        """Appends `[k, ...]`."""
        end = self._count + len(part)
        if end > len(self._array):
            # The system extends large arrays in place or moves them by remapping pages: no copy.
            self._array.resize((end + end // 8, *self._array.shape[1:]), refcheck=False)
        self._array[self._count : end] = part
        self._count = end

    def finish(self) -> np.ndarray:
        """Returns the array at its exact length."""
        self._array.resize((self._count, *self._array.shape[1:]), refcheck=False)
        return self._array


class _WrittenIds:
    """The ids of all objects, in the order of the file."""

    def __init__(self) -> None:
        self._numbers = _Growing(np.zeros(0, np.int64))
        self._meanings: list[int | str | None] | None = None  # set if some are not integers

    def extend(self, ids: Ids) -> None:
        """Appends the ids of a piece."""
        if self._meanings is None and ids.numbers is None:
            self._meanings = self._numbers.finish().tolist()
        if self._meanings is not None:
            self._meanings += ids.meanings()
        elif ids.numbers is not None:
            self._numbers.extend(ids.numbers)

    def count_repeated(self, among: np.ndarray) -> int:
        """Number of ids in the mask `among` that repeat an earlier one in it."""
        if self._meanings is not None:
            chosen = [
                value
                for value in itertools.compress(self._meanings, among.tolist())
                if value is not None
            ]
            return len(chosen) - len(set(chosen))
        numbers = self._numbers.finish()
        if np.all(numbers[1:] > numbers[:-1]):
            return 0
        numbers = np.sort(numbers[among])
        return int(np.sum(numbers[1:] == numbers[:-1]))


def read_objects(
    pieces: Iterable[Piece],
    images: Images,
    categories: Sequence[int | str],
    category_ids: Sequence[int | str],
    path: pathlib.Path,
    problems: Problems,
) -> tuple[Annotations, int, int]:
    """Reads the objects of all images.

    Args:
      pieces: the annotations of the file.
      images: the usable images.
      categories: the ids of all categories that the file lists, as written.
      category_ids: the ids of the chosen categories, in the order of their labels.
      path: the file.
      problems: handles the faults and counts the corrections.

    Returns:
      the annotations, how many annotations the file has, and how many of those are of categories
      that are not chosen.

    Raises:
      DataError: under 'raise', about the first annotation that cannot be used.
    """
    reader = _Reader(images, categories, category_ids, path, problems)
    columns = {name: _Growing(empty) for name, empty in _NOTHING.items()}
    ids = _WrittenIds()
    for piece in pieces:
        objects, of_objects = reader.read(piece)
        for name, column in columns.items():
            column.extend(getattr(objects, name))
        ids.extend(of_objects)
    objects = _Objects(**{name: column.finish() for name, column in columns.items()})
    is_region = objects.has("region")
    repeated = _find_repeated(objects)
    problems.note("repeated", repeated.sum())
    good = ~(is_region | repeated)
    for change in _CHANGES[:-1]:
        problems.note(change, (objects.has(change) & good).sum())
    problems.note("renumbered", ids.count_repeated(good))
    problems.note("converted", (objects.has("converted") & good).sum())
    del ids
    annotations = _arrange(objects, good | is_region, images)
    return annotations, reader.count, reader.other_classes


class _Reader:
    """Reads the annotations of a file piece by piece.

    Attributes:
      count: number of annotations read so far.
      other_classes: how many of them are of categories that are not chosen.
    """

    def __init__(
        self,
        images: Images,
        categories: Sequence[int | str],
        category_ids: Sequence[int | str],
        path: pathlib.Path,
        problems: Problems,
    ) -> None:
        labels_of = dict.fromkeys(map(id_of, categories), LEFT_OUT)
        labels_of |= {id_of(written): label for label, written in enumerate(category_ids)}
        self.count = self.other_classes = 0
        self._images = images
        self._labels = Places({key: label for key, label in labels_of.items() if key is not None})
        # The last row stands for annotations without an image.
        self._sizes = np.vstack([images.sizes, np.ones((1, 2), np.int64)])
        self._image_kinds = images.kinds
        self._category_kinds = kinds_of(category_ids)
        self._path = path
        self._problems = problems

    def read(self, piece: Piece) -> tuple[_Objects, Ids]:
        """The objects of a piece, including regions to ignore, and the id of each."""
        rows = read_rows(piece)
        positions = self._images.places.find(rows.image_ids)
        labels = self._labels.find(rows.category_ids)
        sizes = self._sizes[np.maximum(positions, -1)]
        read = _read_boxes(rows, sizes)
        faults = {
            "no_object": ~rows.is_object,
            "unknown_image": positions == UNKNOWN,
            "unknown_category": labels == UNKNOWN,
            **read.faults,
            "bad_value": _mask(list(rows.faults), len(labels)),
        }
        wanted = (positions != LEFT_OUT) & (labels != LEFT_OUT)
        bad = wanted & np.logical_or.reduce(list(faults.values()))
        for index in np.flatnonzero(bad).tolist():
            fault = next(fault for fault, is_faulty in faults.items() if is_faulty[index])
            entry, number = piece.entries()[index], self.count + index + 1
            image = self._images.named(int(positions[index]))
            sentence = explain(fault, entry, number, image, rows.faults.get(index, ""))
            self._problems.add(KINDS.get(fault, fault), f"{self._path}: {sentence}")
        self.count += len(labels)
        self.other_classes += int(np.sum(labels == LEFT_OUT))

        good = wanted & ~bad
        converted = rows.image_ids.kinds() != self._image_kinds[np.maximum(positions, 0)]
        converted |= rows.category_ids.kinds() != self._category_kinds[np.maximum(labels, 0)]
        regions = bad & (positions >= 0)
        boxes = read.boxes
        boxes[regions] = ignored_regions(read.corners[regions], sizes[regions])
        areas = np.where(np.isnan(rows.areas) | regions, _areas(boxes), rows.areas)
        is_noted = rows.flags | read.changes
        # Only counted if no other flag leaves the object out anyway.
        overlooked = rows.told_to_ignore & ~rows.flags["iscrowd"] & ~rows.flags["ignored"]
        is_noted |= {"ignore": overlooked, "converted": converted}
        bits = np.zeros(len(labels), np.uint16)
        for name, mask in is_noted.items():
            bits |= np.where(mask & good, _BITS[name], 0).astype(np.uint16)
        bits |= np.where(regions, _BITS["region"], 0).astype(np.uint16)
        numbers = [positions, labels, *read.corners.T, areas, bits & _FLAG_BITS]
        kept = slice(None) if good.all() else np.flatnonzero(good | regions)
        objects = _Objects(
            positions[kept].astype(np.int32),
            boxes[kept],
            labels[kept].astype(np.int32),
            areas[kept].astype(np.float32),
            bits[kept],
            _digests(numbers)[kept],
        )
        return objects, rows.ids.select(kept)


def _read_boxes(rows: Rows, sizes: np.ndarray) -> _Boxes:
    """The boxes of rows whose images have the heights and widths `sizes` `[n, 2]`."""
    boxes = rows.boxes
    corners = np.hstack([boxes[:, :2] + np.minimum(boxes[:, 2:], 0), boxes[:, :2]])
    corners[:, 2:] += np.maximum(boxes[:, 2:], 0)
    rotated = rows.degrees != 0
    corners[rotated] = upright_corners(corners[rotated], rows.degrees[rotated])
    limits = sizes[:, ::-1]
    inside = np.clip(corners, 0, np.tile(limits, 2)).astype(np.float32)
    outside = np.any((corners[:, 2:] <= 0) | (corners[:, :2] >= limits), axis=1)
    beyond = (corners[:, :2] < -_TOLERANCE) | (corners[:, 2:] > limits + _TOLERANCE)
    return _Boxes(
        corners,
        inside,
        {
            "outlined": rows.outlined,
            "exchanged": np.any(boxes[:, 2:] < 0, axis=1),
            "rotated": rotated,
            "clipped": np.any(beyond, axis=1),
        },
        {
            "bad_box": np.any(np.isnan(corners), axis=1),
            # A box may also be too thin for float32.
            "no_area": _is_empty(corners) | (_is_empty(inside) & ~outside),
            "outside": outside,
        },
    )


def _digests(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Digests of rows, uint64 `[m]`, from columns of integers or floats, `[m]` each.

    Equal rows have equal digests; different rows have equal digests once in 2^64. Each number is
    mixed into the digest of those before it by the mixing function of splitmix64.
    """
    digests = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        number = np.float64(0) if column.dtype.kind == "f" else np.int64(0)
        digests ^= (column + number).view(np.uint64)  # -0 becomes 0
        digests += np.uint64(0x9E3779B97F4A7C15)
        digests = (digests ^ (digests >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        digests = (digests ^ (digests >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        digests ^= digests >> np.uint64(31)
    return digests


def _find_repeated(objects: _Objects) -> np.ndarray:
    """True where an object equals an earlier one, bool `[m]`; regions to ignore never do."""
    among = ~objects.has("region")
    in_order = np.sort(objects.digests[among])
    again = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
    repeated = np.zeros(len(among), bool)
    if not len(again):
        return repeated
    seen = set()
    for index in np.flatnonzero(among & np.isin(objects.digests, again)):
        row = (
            int(objects.digests[index]),
            int(objects.images[index]),
            int(objects.labels[index]),
            float(objects.areas[index]),
            *objects.boxes[index].tolist(),
        )
        repeated[index] = row in seen
        seen.add(row)
    return repeated


def _arrange(objects: _Objects, kept: np.ndarray, images: Images) -> Annotations:
    """Annotations of the objects in the mask `kept`, image after image; empties `objects`."""
    counts = np.bincount(objects.images[kept], minlength=len(images.sizes))
    order = np.flatnonzero(kept)
    if np.any(objects.images[1:] < objects.images[:-1]):
        # A pair of an image and a position is one number: sorting those is many times faster than
        # a stable argsort.
        pairs = objects.images[order].astype(np.int64)
        pairs <<= 32
        pairs |= order
        pairs.sort()
        pairs &= 0xFFFFFFFF
        order = pairs
    of_objects = vars(objects)
    bits = of_objects.pop("bits")[order]
    crowd, difficult, ignored, is_region = (
        (bits & _BITS[name]) != 0 for name in (*FLAGS, "region")
    )
    del of_objects["digests"], of_objects["images"]
    return Annotations(
        images.numbers,
        images.sizes,
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        of_objects.pop("boxes")[order],
        of_objects.pop("labels")[order],
        crowd,
        difficult,
        ignored | is_region,
        of_objects.pop("areas")[order],
    )


def _mask(indices: list[int], length: int) -> np.ndarray:
    """A mask, bool `[length]`, of some indices."""
    mask = np.zeros(length, bool)
    mask[indices] = True
    return mask


def _areas(boxes: np.ndarray) -> np.ndarray:
    """The areas of xyxy boxes, `[n]`."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def _is_empty(boxes: np.ndarray) -> np.ndarray:
    """True where an xyxy box has no area, bool `[n]`."""
    return np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
