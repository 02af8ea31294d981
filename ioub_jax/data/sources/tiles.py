"""A data set of tiles, which are cut from the images of another data set."""

import dataclasses
import pathlib
import threading
from typing import Any, BinaryIO, Self

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_rows import ImageRows, open_rows
from ioub_jax.data.images import WAY_OUT, Reading
from ioub_jax.data.sources.decoded_images import DecodedImages
from ioub_jax.data.sources.example import Census, Example, Source
from ioub_jax.data.sources.file_source import AnnotatedImages, annotations_of
from ioub_jax.data.sources.learned import Rules, learned_objects
from ioub_jax.data.tiling import Tiling, cut


class TileSource(AnnotatedImages):
    """A data set of image files, cut into tiles.

    The tiles are ordered by image, and row by row within an image. Reading them in that order keeps
    one row of tiles in memory if `image_rows` can read the image format in parts, and otherwise one
    decoded image. A copy of the source in another process keeps its own.

    Args:
      whole: the whole images.
      tiling: how the images are cut.
      cache: a folder for decoded images, which allow a tile to be read without its whole image;
        created when needed. None for no cache.

    Attributes:
      whole: the whole images.
      tiling: how the images are cut.
      tiles: the positions and annotations of the tiles.
    """

    def __init__(
        self, whole: AnnotatedImages, tiling: Tiling, cache: pathlib.Path | None = None
    ) -> None:
        self.whole, self.tiling = whole, tiling
        self.tiles = cut(annotations_of(whole), tiling)
        annotations = self.tiles.annotations
        census = Census(len(annotations), len(annotations.boxes))
        super().__init__(annotations, whole.classes, whole.category_ids, whole.skipped, census)
        self.reading = whole.reading
        self._decoded = None if cache is None else DecodedImages(cache)
        self._opened = _Opened()

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """Implements `AnnotatedImages.load`, always at full size."""
        image, window = int(self.tiles.images[index]), self.tiles.windows[index]
        if self._decoded is not None:
            pixels = self._decoded.read(self.whole, image, window, self._open)
        else:
            left, top, right, bottom = window.tolist()
            pixels = self._opened.read(image, top, bottom, self._open)[:, left:right]
        return dataclasses.replace(self.annotations(index), image=np.ascontiguousarray(pixels))

    def _open(self, image: int) -> ImageRows:
        height, width = (int(side) for side in self.whole.sizes[image])
        name = self.whole.describe(image)
        try:
            file = self.whole.open_image(image)
        except OSError as error:
            raise DataError(
                f"{name}: cannot be read ({error.strerror}); restore the file, {WAY_OUT}",
                "missing_image",
            ) from error
        return open_rows(file, name, (height, width), WAY_OUT, self.reading)

    def open_image(self, index: int) -> BinaryIO:
        """The encoded whole image that a tile is cut from."""
        return self.whole.open_image(int(self.tiles.images[index]))

    def describe(self, index: int) -> str:
        """The image file, and the size and place of the tile in it."""
        left, top, right, bottom = self.tiles.windows[index].tolist()
        name = self.whole.describe(int(self.tiles.images[index]))
        return f"{name} [tile {right - left}x{bottom - top} at {left},{top}]"

    def read_with(self, reading: Reading) -> Self:
        """The same tiles with their images read in another way."""
        other = super().read_with(reading)
        other.whole, other._opened = self.whole.read_with(reading), _Opened()
        return other

    def with_labels(self, new_labels: np.ndarray, classes: Any, category_ids: Any) -> Self:
        """The same tiles with other labels; arguments as for `AnnotatedImages.with_labels`."""
        other = super().with_labels(new_labels, classes, category_ids)
        other.whole = self.whole.with_labels(new_labels, classes, category_ids)
        return other

    def select(self, images: np.ndarray) -> Self:
        """The tiles at the positions `images`, in that order."""
        chosen = super().select(images)
        chosen.tiles = dataclasses.replace(
            self.tiles,
            images=self.tiles.images[images],
            windows=self.tiles.windows[images],
            annotations=chosen._annotations,
        )
        return chosen


class _Opened:
    """The image that was read last, shared by all threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._image: int | None = None
        self._rows: ImageRows | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickles as an empty instance, since another process opens its own image."""
        return _Opened, ()

    def read(self, image: int, start: int, stop: int, open_image: Any) -> np.ndarray:
        """Reads rows of an image, which `open_image` opens if it is not the open one."""
        with self._lock:
            if self._image != image or self._rows is None:
                # Release the old image first, so that two decoded images never exist at once.
                self._image, rows = None, self._rows
                self._rows = None
                if rows is not None:
                    rows.close()
                    del rows
                self._rows, self._image = open_image(image), image
            return self._rows.read(start, stop)


def whole_of(source: Source) -> Source:
    """The whole images of a source of tiles; any other source unchanged."""
    return source.whole if isinstance(source, TileSource) else source


# ------------------------------------------------------------------ tiles that are used


@dataclasses.dataclass(frozen=True)
class TileCounts:
    """Counts of the tiles of a data set, and of the boxes that they cut.

    Attributes:
      tiling: how images are cut.
      images: number of images.
      tiles: number of tiles of all images.
      used: number of tiles used for training or evaluation; the others have no box to learn.
      boxes: number of boxes to learn in the whole images.
      cut: number of those boxes that are not whole in any tile.
      longest: longest side of the cut boxes in pixels, rounded up; 0 if there are none.
      fullest: number of objects in the fullest used tile, including regions to ignore.
      full_tiles: number of used tiles with more objects than slots.
      lost: for each class, the number of boxes to learn that are not an object of any tile.
      verb: what is done with the tiles, 'used for training' or 'used for evaluation'.
    """

    tiling: Tiling
    images: int
    tiles: int
    used: int
    boxes: int
    cut: int
    longest: int
    fullest: int
    full_tiles: int
    lost: tuple[int, ...]
    verb: str

    def line(self) -> str:
        """A line with the numbers of all and of used tiles, and of the boxes that they cut."""
        line = f"Tiles: {self.tiles:,} of {self.tiling}, of {self.images:,} images"
        if self.used < self.tiles:
            line += (
                f"; {self.used:,} are {self.verb}; left out: {self.tiles - self.used:,} without a "
                "box to learn (config.data.tiles.keep_empty)"
            )
        if not self.cut:
            return f"{line}; every box is whole in a tile."
        share = self.cut / self.boxes
        return (
            f"{line}; {self.cut:,} of {self.boxes:,} boxes ({share:.1%}) are cut in every tile: "
            f"their longest side is {self.longest:,} pixels, and tiles share {self.tiling.shared}."
        )

    @property
    def overlap_for_all(self) -> float | None:
        """The overlap with which every box is whole in a tile; None if it would not be below 1."""
        needed = np.ceil(100 * self.longest / self.tiling.size) / 100
        return float(needed) if needed < 1 else None


def counted_tiles(
    source: TileSource, rules: Rules, keep_empty: float = 1.0
) -> tuple[TileSource, TileCounts]:
    """The tiles that a split uses, and the counts of all tiles.

    Args:
      source: all tiles.
      rules: which boxes are learned.
      keep_empty: share of the tiles without a box to learn that is kept, evenly spread.

    Returns:
      the tiles that are used, and the counts.
    """
    annotations = annotations_of(source)
    used = annotations.images_with(learned_objects(annotations, rules))
    number = np.cumsum(~used)
    used |= np.floor(number * keep_empty) > np.floor((number - 1) * keep_empty)
    whole = annotations_of(source.whole)
    learned = rules.may_learn(whole)
    is_cut = learned & ~source.tiles.whole_somewhere(len(whole.boxes))
    objects = annotations.counts[used]
    seen = np.zeros(len(whole.boxes), bool)
    seen[source.tiles.objects[rules.may_learn(annotations)]] = True
    lost = np.bincount(whole.labels[learned & ~seen], minlength=len(source.classes))
    sides = (whole.boxes[:, 2:] - whole.boxes[:, :2])[is_cut]
    counts = TileCounts(
        tiling=source.tiling,
        images=len(source.whole),
        tiles=len(source),
        used=int(used.sum()),
        boxes=int(learned.sum()),
        cut=int(is_cut.sum()),
        longest=int(np.ceil(sides.max(initial=0))),
        fullest=int(objects.max(initial=0)),
        full_tiles=0 if rules.max_boxes is None else int((objects > rules.max_boxes).sum()),
        lost=tuple(lost.tolist()),
        verb=rules.verb,
    )
    return (source if used.all() else source.select(np.flatnonzero(used))), counts
