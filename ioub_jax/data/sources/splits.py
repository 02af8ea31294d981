"""Shares of a data set that are held out of training: for validation, and for tests.

The choice of images depends on the names of the image files, the classes of their objects and a
seed only. It depends neither on the order in which a file or a file system lists the images nor on
their folder. Classes are distributed starting with the rarest, as in the iterative stratification
of Sechidis, Tsoumakas and Vlahavas (On the Stratification of Multi-Label Data, ECML PKDD 2011),
since an image with a rare class is hard to replace. Within a class, a hash decides which images are
held out, so that adding or removing an image moves few others.
"""

import dataclasses
import hashlib
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.example import HeldOut
from ioub_jax.data.sources.file_source import AnnotatedImages, FileSource, annotations_of
from ioub_jax.data.sources.same_images import find_same

TRAIN, UNDECIDED = 0, -1
# Tolerance for rounding errors: .29 * 50 is a little below 14.5.
_TINY = 1e-9
# At most this many classes are named in one sentence.
_MOST_TOLD = 10


@dataclasses.dataclass(frozen=True)
class Shares:
    """Shares of a data set that are held out.

    Attributes:
      held: name of a part -> its share of the images, such as `{"val": 0.1}`. A share of 0 makes no
        part. The remaining images are the part 'train'.
      seed: different seeds hold out different images.

    Raises:
      ValueError: a share is below 0, or nothing would be left to train on.
    """

    held: Mapping[str, float]
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses values that are not shares."""
        for name, share in self.held.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} is {share}; it must be a share, at least 0 and below 1.")
        if sum(self.held.values()) >= 1 - _TINY:
            names = " and ".join(f"{name} is {share:g}" for name, share in self.held.items())
            raise ValueError(f"{names}, which leaves no images to train on; give smaller shares.")

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that are held out."""
        return tuple(name for name, share in self.held.items() if share > 0)


@dataclasses.dataclass(frozen=True)
class Split:
    """A data set divided into parts.

    Attributes:
      source: the whole data set.
      shares: the shares that were asked for.
      positions: name of a part, including 'train' -> int64 positions of its images, ascending.
    """

    source: AnnotatedImages
    shares: Shares
    positions: dict[str, np.ndarray]

    def part(self, name: str) -> AnnotatedImages:
        """One of the parts, with all classes of the whole and counts of what the others hold."""
        chosen = self.source.select(self.positions[name])
        chosen.held_out = HeldOut(
            len(self.source) - len(chosen),
            _boxes(self.source) - _boxes(chosen),
            _regions(self.source) - _regions(chosen),
            str(self),
        )
        return chosen

    def __str__(self) -> str:
        """A sentence with the number of images in each part and the classes that a part lacks."""
        counts = ", ".join(f"{len(chosen):,} {name}" for name, chosen in self.positions.items())
        shares = ", ".join(
            f"data.split.{name}={self.shares.held[name]:g}" for name in self.shares.names
        )
        whole = _images_of_classes(self.source)
        lacking = []
        for name in self.shares.names:
            counted = _images_of_classes(self.source.select(self.positions[name]))
            absent = np.flatnonzero((whole > 0) & (counted == 0))
            if len(absent):
                told = [f"{self.source.classes[c]} ({whole[c]:,})" for c in absent[:_MOST_TOLD]]
                if len(absent) > _MOST_TOLD:
                    told.append(f"and {len(absent) - _MOST_TOLD:,} more")
                words = "class is" if len(absent) == 1 else "classes are"
                lacking.append(
                    f"{len(absent):,} {words} not in {name}, which has too few images: "
                    f"{', '.join(told)}"
                )
        all_of_them = "both" if len(self.positions) == 2 else "each of them"
        classes = "; ".join(lacking) or f"every class is in {all_of_them}"
        return f"Split: {counts} ({shares}, seed {self.shares.seed}); {classes}."


def split(source: AnnotatedImages, shares: Shares) -> Split:
    """Holds out shares of the images of a data set, and about the same shares of each class.

    Image files with the same bytes, and a file that is listed under two names, stay together. Every
    class that the data set has keeps at least one image to train on.

    Args:
      source: a data set, including its images without objects.
      shares: the shares to hold out.

    Raises:
      DataError: a part would have no image.
    """
    units, names = _units(source), _names(source)
    count = int(units.max(initial=-1)) + 1
    # Files with the same content are represented by one of their names.
    keys: dict[int, str] = {}
    for unit, name in zip(units.tolist(), names, strict=True):
        keys[unit] = min(keys.get(unit, name), name)
    order = _order([keys[unit] for unit in range(count)], shares.seed)
    drawn = _Drawn(order, *_pairs(source, units), source.classes)
    part_of = drawn.parts(tuple(shares.held[name] for name in shares.names))[units]
    positions = {
        name: np.flatnonzero(part_of == number)
        for number, name in enumerate(("train", *shares.names))
    }
    for name, chosen in positions.items():
        if not len(chosen):
            raise DataError(_too_few(name, count, shares), "folder")
    return Split(source, shares, positions)


def _too_few(name: str, count: int, shares: Shares) -> str:
    if count < 2:
        return (
            "config.data.split holds out a part of the training data, but all of its images are "
            "the same: a single file, or files with the same bytes; add images."
        )
    if name == "train":
        return (
            f"config.data.split holds out all {count:,} images of the training data; lower its "
            "shares, or add images."
        )
    return (
        f"config.data.split.{name} is {shares.held[name]:g}, which selects none of the {count:,} "
        f"images of the training data; set --config.data.split.{name}={_enough(count)} or more, or "
        "add images."
    )


def _enough(count: int) -> float:
    """The smallest share, in hundredths, that amounts to an image; at most one half."""
    return min(math.ceil(100 / count) / 100, 0.5)


# ------------------------------------------------------------------ units that can be held out


def _units(source: AnnotatedImages) -> np.ndarray:
    """The unit of each image, int64 `[n]`: the same number for images whose files are the same."""
    units = np.arange(len(source))
    if isinstance(source, FileSource):
        for same in find_same([source.describe(index) for index in range(len(source))]):
            units[same] = same[0]
    return np.unique(units, return_inverse=True)[1].astype(np.int64)


def _names(source: AnnotatedImages) -> list[str]:
    """Names of the images for the hash: file names, with folders where names occur twice."""
    if not isinstance(source, FileSource):
        return [str(source.image_id(index)) for index in range(len(source))]
    paths = [
        unicodedata.normalize("NFC", os.path.normpath(source.describe(index))).split(os.sep)
        for index in range(len(source))
    ]
    names = [path[-1] for path in paths]
    open_ones, depth = list(range(len(paths))), 1
    while open_ones:
        counts = Counter(names[index] for index in open_ones)
        open_ones = [
            index for index in open_ones if counts[names[index]] > 1 and len(paths[index]) > depth
        ]
        depth += 1
        for index in open_ones:
            names[index] = "/".join(paths[index][-depth:])
    return names


def _order(keys: Sequence[str], seed: int) -> np.ndarray:
    """The units in the order of a hash of their names and the seed, int64 `[u]`."""
    hashes = [
        hashlib.blake2b(f"{seed}\n{key}".encode(errors="surrogateescape"), digest_size=16).digest()
        for key in keys
    ]
    return np.array(sorted(range(len(keys)), key=lambda unit: (hashes[unit], keys[unit])), np.int64)


def _pairs(source: AnnotatedImages, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The units and classes of all pairs of a unit and a class that occurs in it, each once.

    Crowds and regions to ignore do not count.
    """
    annotations = annotations_of(source)
    counted = ~annotations.ignored & ~annotations.crowd & (annotations.labels >= 0)
    of_objects = np.repeat(units, annotations.counts)[counted]
    classes = max(len(source.classes), 1)
    pairs = np.unique(of_objects * classes + annotations.labels[counted])
    return pairs // classes, pairs % classes


def _images_of_classes(source: AnnotatedImages) -> np.ndarray:
    """Number of images with an object of each class: int64 `[C]`."""
    _, labels = _pairs(source, np.arange(len(source)))
    return np.bincount(labels, minlength=len(source.classes))


def _boxes(source: AnnotatedImages) -> int:
    return int((~annotations_of(source).ignored).sum())


def _regions(source: AnnotatedImages) -> int:
    return int(annotations_of(source).ignored.sum())


# ------------------------------------------------------------------ distribution of the units


class _Drawn:
    """Distribution of units over the parts, in the order of their hashes.

    Args:
      order: int64 `[u]`, the units in the order of their hashes.
      units: int64 `[p]`, the unit of each pair of a unit and a class, ascending.
      labels: int64 `[p]`, the class of each pair.
      classes: the names of the classes.
    """

    def __init__(
        self, order: np.ndarray, units: np.ndarray, labels: np.ndarray, classes: Sequence[str]
    ) -> None:
        self._order = order
        self._units, self._labels = units, labels
        self._classes = classes
        self._begins = np.searchsorted(units, np.arange(len(order) + 1))
        self._counts = np.bincount(labels, minlength=len(classes))
        # Number of units of each class that are not held out; it never becomes 0.
        self._left = self._counts.copy()
        self._part_of = np.full(len(order), UNDECIDED)

    def parts(self, shares: Sequence[float]) -> np.ndarray:
        """The part of every unit, int64 `[u]`: `TRAIN`, or the number of the share, from 1."""
        rank = np.empty_like(self._order)
        rank[self._order] = np.arange(len(self._order))
        by_class = np.lexsort((rank[self._units], self._labels))
        members = np.split(self._units[by_class], np.cumsum(self._counts)[:-1])
        rarest = sorted(
            np.flatnonzero(self._counts).tolist(),
            key=lambda label: (self._counts[label], self._classes[label]),
        )
        for label in rarest:
            self._share_out(members[label], shares)
        without_objects = np.diff(self._begins)[self._order] == 0
        self._share_out(self._order[without_objects], shares)
        for number, share in enumerate(shares, start=1):
            self._adjust(number, share)
        return self._part_of

    def _classes_of(self, unit: int) -> np.ndarray:
        return self._labels[self._begins[unit] : self._begins[unit + 1]]

    def _move(self, unit: int, part: int) -> None:
        self._left[self._classes_of(unit)] += int(part == TRAIN) - int(
            self._part_of[unit] in (TRAIN, UNDECIDED)
        )
        self._part_of[unit] = part

    def _share_out(self, members: np.ndarray, shares: Sequence[float]) -> None:
        """Gives each part its share of a class, from the class's units that are still undecided."""
        for number, share in enumerate(shares, start=1):
            parts = self._part_of[members]
            due = _rounded(share * len(members)) - int((parts == number).sum())
            for unit in members[parts == UNDECIDED].tolist():
                if due <= 0:
                    break
                if np.all(self._left[self._classes_of(unit)] > 1):
                    self._move(unit, number)
                    due -= 1
        self._part_of[members[self._part_of[members] == UNDECIDED]] = TRAIN

    def _adjust(self, number: int, share: float) -> None:
        """Adjusts a part to its exact size, by the moves that change the class shares least."""
        wanted = _rounded(share * len(self._order))
        held = self._part_of == number
        of_class = np.bincount(self._labels[held[self._units]], minlength=len(self._counts))
        due = share * self._counts
        while (missing := wanted - int(held.sum())) != 0:
            step = int(np.sign(missing))
            costs = np.abs(of_class + step - due) - np.abs(of_class - due)
            may_move = held if step < 0 else self._may_leave()
            if not may_move.any():
                return
            cost = np.bincount(self._units, costs[self._labels], minlength=len(self._order))
            cost = np.where(may_move, np.round(cost, 6), np.inf)[self._order]
            unit = int(self._order[np.argmin(cost)])
            self._move(unit, number if step > 0 else TRAIN)
            held[unit] = step > 0
            of_class[self._classes_of(unit)] += step

    def _may_leave(self) -> np.ndarray:
        """True where a unit is in `TRAIN` and is not the last one of a class, bool `[u]`."""
        last = np.bincount(self._units, self._left[self._labels] < 2, minlength=len(self._order))
        free = (self._part_of == TRAIN) & (last == 0)
        # The last unit must stay, even if no unit has an object.
        return free if (self._part_of == TRAIN).sum() > 1 else np.zeros_like(free)


def _rounded(number: float) -> int:
    return math.floor(number + 0.5 + _TINY)
