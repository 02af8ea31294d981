"""Merging of the detections of tiles into those of their images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ioub_jax import tile_merging
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.tiles import TileSource
from ioub_jax.detectors import DetectionOptions, PlacedDetector
from ioub_jax.evaluation import coco_format
from ioub_jax.tile_merging import Found


class TileCollector:
    """Collects the detections of tiles, and merges those of an image once they are complete.

    If a tile of an image could not be read, the image is not among `image_ids`.

    Args:
      source: all tiles of a data set.
      options: the options for detections in a whole image.
    """

    def __init__(self, source: TileSource, options: DetectionOptions) -> None:
        self._source, self._options = source, options
        whole = source.whole
        self._images = coco_format.DetectionCollector(whole.category_ids, whole.written_ids)
        self._starts = np.searchsorted(source.tiles.images, np.arange(len(whole) + 1))
        self._indices = {source.image_id(index): index for index in range(len(source))}
        self._found: dict[int, dict[int, Found]] = {}

    @property
    def results(self) -> list[dict[str, Any]]:
        """The COCO results of the images that are complete."""
        return self._images.results

    @property
    def image_ids(self) -> set[int | str]:
        """The images that are complete."""
        return self._images.image_ids

    def add(
        self,
        image_ids: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        valid: np.ndarray,
        is_real: np.ndarray,
    ) -> None:
        """Adds the detections of a batch of tiles.

        Arguments and errors are those of `coco_format.DetectionCollector.add`.
        """
        rows = zip(image_ids, boxes, scores, labels, valid, is_real, strict=True)
        for identity, of_boxes, of_scores, of_labels, there, real in rows:
            if not real:
                continue
            index = self._indices[int(identity)]
            image = int(self._source.tiles.images[index])
            tiles = self._found.setdefault(image, {})
            if index in tiles:
                raise ValueError(f"tile {self._source.describe(index)} was evaluated twice")
            tiles[index] = Found(of_boxes[there], of_scores[there], of_labels[there])
            if len(tiles) == self._starts[image + 1] - self._starts[image]:
                self._merge(image, self._found.pop(image))

    def _merge(self, image: int, tiles: Mapping[int, Found]) -> None:
        source, whole = self._source, self._source.whole
        indices = sorted(tiles)
        height, width = whole.sizes[image].tolist()
        merged = tile_merging.merge(
            [tiles[index] for index in indices],
            source.tiles.windows[indices],
            (height, width),
            nms_iou=self._options.nms_iou,
            max_detections=self._options.max_detections,
            zoom=source.tiling.zoom,
            class_agnostic=self._options.class_agnostic,
        )
        self._images.add(
            image_ids=np.array([whole.image_id(image)]),
            boxes=merged.boxes[None],
            scores=merged.scores[None],
            labels=merged.labels[None],
            valid=np.ones((1, len(merged.labels)), bool),
            is_real=np.ones(1, bool),
        )


#: Collects the detections of an evaluation: `add` takes those of a batch, and `results` and
#: `image_ids` cover the images that are complete.
Collector = coco_format.DetectionCollector | TileCollector


def collector_of(source: Source, detector: PlacedDetector) -> Collector:
    """Collector of the detections in a data set; those of tiles are merged.

    Args:
      source: the data set.
      detector: the detector; its options apply to the merged detections of an image's tiles.
    """
    if isinstance(source, TileSource):
        return TileCollector(source, detector.detector.options)
    return coco_format.DetectionCollector(source.category_ids, source.written_ids)
