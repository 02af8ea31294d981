"""Detection in the tiles of images, with one row of tiles in memory at a time."""

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from ioub_jax import tile_merging
from ioub_jax.data.checks import DataError
from ioub_jax.data.image_rows import ImageRows
from ioub_jax.data.tiling import Size, Tiling
from ioub_jax.tile_merging import Found

_T = TypeVar("_T")


class TiledDetection:
    """Detects in images tile by tile.

    Args:
      tiling: the tiling of images.
      detect: maps at most `batch_size` tiles, uint8 `[h, w, 3]`, to the detections in each, in
        pixels of the tile.
      batch_size: the number of tiles in a batch, which may come from several images.
      nms_iou: as in `tile_merging.merge`.
      max_detections: as in `tile_merging.merge`.
      class_agnostic: as in `tile_merging.merge`.
    """

    def __init__(
        self,
        tiling: Tiling,
        detect: Callable[[list[np.ndarray]], list[Found]],
        *,
        batch_size: int,
        nms_iou: float,
        max_detections: int,
        class_agnostic: bool = False,
    ) -> None:
        self._tiling, self._detect, self._batch_size = tiling, detect, batch_size
        self._rules: dict[str, Any] = {
            "nms_iou": nms_iou,
            "max_detections": max_detections,
            "class_agnostic": class_agnostic,
        }
        self._sizes: dict[int, Size] = {}
        self._found: dict[int, list[Found]] = {}

    def stream(
        self, images: Iterable[_T], open_image: Callable[[_T], ImageRows]
    ) -> Iterator[tuple[int, Size, Found | DataError]]:
        """Yields the detections of each image in order, except that errors may come earlier.

        Args:
          images: any number of images.
          open_image: opens an image, or raises `DataError`.

        Yields:
          The position of an image, its height and width, and its detections in pixels of the image,
          or an error if the image cannot be read.
        """
        batch: list[tuple[int, np.ndarray]] = []
        for index, read in _ahead(self._rows_of_tiles(images, open_image)):
            if isinstance(read, DataError):
                batch = [entry for entry in batch if entry[0] != index]
                self._found.pop(index, None)
                yield index, self._sizes.pop(index, (0, 0)), read
                continue
            for pixels in read:
                batch.append((index, pixels))
                if len(batch) == self._batch_size:
                    yield from self._detected(batch)
                    batch = []
        if batch:
            yield from self._detected(batch)

    def _rows_of_tiles(
        self, images: Iterable[_T], open_image: Callable[[_T], ImageRows]
    ) -> Iterator[tuple[int, list[np.ndarray] | DataError]]:
        """Yields the tiles of every image, a row at a time, or the error that ends them."""
        for index, image in enumerate(images):
            try:
                rows = open_image(image)
                self._sizes[index], self._found[index] = rows.size, []
                windows = self._tiling.windows(rows.size)
                for top in np.unique(windows[:, 1]).tolist():
                    row = windows[windows[:, 1] == top]
                    pixels = rows.read(top, int(row[0, 3]))
                    yield index, [pixels[:, left:right] for left, _, right, _ in row.tolist()]
                rows.close()
            except DataError as error:
                yield index, error

    def _detected(
        self, batch: list[tuple[int, np.ndarray]]
    ) -> Iterator[tuple[int, Size, Found | DataError]]:
        """Detects objects in a batch, and yields the images whose last tile was in it."""
        found = self._detect([pixels for _, pixels in batch])
        for (index, _), of_tile in zip(batch, found, strict=True):
            tiles = self._found[index]
            tiles.append(of_tile)
            size = self._sizes[index]
            if len(tiles) == self._tiling.count(size):
                windows = self._tiling.windows(size)
                merged = tile_merging.merge(
                    tiles, windows, size, zoom=self._tiling.zoom, **self._rules
                )
                del self._found[index], self._sizes[index]
                yield index, size, merged


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yields the same items, each computed while the previous one is processed."""
    nothing = object()
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        pending: Any = thread.submit(next, items, nothing)
        while (item := pending.result()) is not nothing:
            pending = thread.submit(next, items, nothing)
            yield item
