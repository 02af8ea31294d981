"""Detection from Python: `detector = ioub_jax.load(...)`, `detector(images)`."""

import collections
import concurrent.futures
import dataclasses
import itertools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from PIL import Image

from ioub_jax import files, tiled_inference, weights
from ioub_jax.configs import refusals
from ioub_jax.data import batching, images, transforms
from ioub_jax.data.checks import DataError
from ioub_jax.data.given_images import GivenImage
from ioub_jax.data.images import as_array, is_array
from ioub_jax.data.loading import Loading
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources import coco_categories
from ioub_jax.data.sources.example import Example, create_example
from ioub_jax.data.tiling import Tiling
from ioub_jax.detections import Detections
from ioub_jax.detectors import AugmentedDetector, Detector, PlacedDetector, Views
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import file_parts, loading_parts, training_parts, view_parts
from ioub_jax.printing import printable
from ioub_jax.tile_merging import Found
from ioub_jax.workdirs import (
    bit_depth,
    checkpoints,
    class_list,
    configuration,
    given_parts,
    score_thresholds,
)
from ioub_jax.workdirs.score_thresholds import MeasuredThresholds

#: A file, a Pillow image, or an array of any library (jax, torch on the CPU, ...) with RGB pixels:
#: uint8 `[H, W, 3]`, or `[H, W]` for gray; uint16 is treated like a 16-bit file. A detector for
#: other channels (`model.in_channels`) takes `[H, W, channels]`.
ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array
#: The lowest score of detections: a number, or 'best' for the measured best score of each class.
Threshold = float | Literal["best"]

#: The position, the image at its size on its canvas, and its original height and width.
_Prepared = tuple[int, Example, tuple[int, int]]
_SHOWN = 5  # the most classes in a `repr`


class ObjectDetector:
    """A trained detector that is called with images.

    Args:
      placed: the detector on its devices.
      variables: `params` and `batch_stats`.
      categories: the id and name of each label.
      loading: the canvases, and the scaling or the tiling of images.
      batch_size: the number of images in a batch of the network; None: 1 on a CPU, else 8.
      reading: the conversion of images to pixels, as in training.
      settings: its configuration for JSON, if it has one.
      measured: the best score thresholds, if they were measured.
      score_threshold: the default for the lowest score of returned detections.

    Attributes:
      placed: the detector on its devices.
      classes: the name of each label.
      category_ids: the id of each label in its data set.
      batch_size: the number of images in a batch of the network.
      canvases: the heights and widths of the network's input.
      resize: the scaling of images.
      tiling: the default tiling of images; None: whole images.
      reading: the conversion of images to pixels.
      variables: `params` and `batch_stats`, on the device.
      settings: its configuration, in types that JSON has.
      measured: the best score thresholds; None if they were not measured.
      score_threshold: the default for the lowest score of returned detections.
    """

    def __init__(
        self,
        placed: PlacedDetector,
        variables: dict[str, Any],
        categories: Sequence[tuple[int | str, str]],
        loading: Loading,
        *,
        batch_size: int | None = None,
        reading: images.Reading = images.AS_STORED,
        settings: Mapping[str, Any] = MappingProxyType({}),
        measured: MeasuredThresholds | None = None,
        score_threshold: Threshold = 0.0,
    ) -> None:
        """Copies the variables to the device; nothing is compiled yet."""
        if batch_size is None:
            batch_size = 1 if jax.default_backend() == "cpu" else 8
        self.placed = placed
        self.category_ids = tuple(id_ for id_, _ in categories)
        self.classes = tuple(name for _, name in categories)
        self.batch_size = batch_size
        self.canvases, self.resize = loading.canvases, loading.resize
        self.tiling = loading.tiling
        self.reading = reading
        self.variables = jax.device_put(variables, placement.replicated(placed.mesh))
        self.settings = settings
        self.measured = measured
        self.least_scores(score_threshold)  # refuses an invalid threshold
        self.score_threshold = score_threshold

    def __repr__(self) -> str:
        """One line with the network, the classes, the canvases and the thresholds."""
        placed, network = self.placed, self.placed.network
        backbone = self.settings.get("model", {}).get("backbone")
        is_own = not type(network).__module__.startswith("ioub_jax.")
        names = [*map(printable, self.classes[:_SHOWN]), *["..."][: len(self.classes) - _SHOWN]]
        parts = [
            type(network).__name__
            if is_own or not backbone
            else f"{type(network).__name__} with {backbone}",
            f"{len(self.classes)} classes ({', '.join(names)})",
            "canvases " + ", ".join(f"{height}x{width}" for height, width in self.canvases),
            *([] if self.tiling is None else [f"tiles of {self.tiling}"]),
            *([f"views: {placed.views}"] if isinstance(placed, AugmentedDetector) else []),
            str(placed.detector.options),
        ]
        return f"ObjectDetector({'; '.join(parts)})"

    def __call__(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        score_threshold: Threshold | None = None,
        tiles: int | Tiling | None = None,
    ) -> Any:
        """Detects objects.

        The first image on a canvas compiles the network for it (some tens of seconds on a CPU).

        Args:
          images: an image, or a sequence of images of any sizes: files, Pillow images or arrays;
            an array `[B, H, W, 3]` is such a sequence.
          score_threshold: the lowest score, or 'best' for the score of each class that was best on
            the validation images by F1; None: the default of the detector. There are no detections
            below the configured threshold.
          tiles: as in `stream`.

        Returns:
          `Detections` for one image, or a list of them for a sequence.

        Raises:
          DataError: an image cannot be read; the message names it.
          ConfigError: the threshold is invalid, or no best one was measured.
        """
        least = self.least_scores(
            self.score_threshold if score_threshold is None else score_threshold
        )
        single = isinstance(images, str | os.PathLike | Image.Image)
        if is_array(images):
            images = as_array(images)
            single = images.ndim < 4
        several: Any = [images] if single else images
        found: dict[int, Detections] = {}
        for index, detections in self.stream(several, tiles=tiles):
            if isinstance(detections, DataError):
                raise detections
            found[index] = detections.above(least)
        return found[0] if single else [found[index] for index in range(len(found))]

    def least_scores(self, score_threshold: Threshold) -> float | np.ndarray:
        """Meaning of a call's `score_threshold`: one score, or one for each class, float64 `[C]`.

        Raises:
          ConfigError: the argument is neither a number nor 'best', or no best one was measured.
        """
        if score_threshold == "best":
            if self.measured is None:
                raise ConfigError(
                    "score_threshold='best' needs a run whose evaluation has measured the best "
                    "scores, but there is none here; give a number."
                )
            return self.measured.of(self.category_ids)
        try:
            score = float(score_threshold)
        except (TypeError, ValueError):
            score = math.nan
        if math.isnan(score):
            raise ConfigError(
                f"score_threshold is {score_threshold!r}; give a number, or 'best' for the score "
                "of each class that was best on the validation images."
            )
        return score

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        threads: int = 4,
        tiles: int | Tiling | None = None,
    ) -> Iterator[tuple[int, Detections | DataError]]:
        """Detects objects in any number of images, of which only a few are in memory at a time.

        Args:
          images: as in a call.
          threads: the number of threads that read, decode and resize whole images.
          tiles: the tiling of images: a `Tiling`, the side of a tile in pixels, or 0 for whole
            images; None: as in training. The detections of an image's tiles are merged.

        Yields:
          The position of an image and its detections, or an error if the image cannot be read.
          Images on different canvases may be out of order.

        Raises:
          ConfigError: the tiles are impossible, or the network does not accept their size.
        """
        tiling = self.tiling_for(tiles)
        if tiling is not None:
            yield from self._in_tiles(images, tiling)
            return
        waiting: dict[tuple[int, int], list[_Prepared]] = collections.defaultdict(list)
        opened: dict[int, GivenImage] = {}

        def detect(canvas: tuple[int, int], rows: list[_Prepared]) -> Iterator[Any]:
            for (index, _, size), (_, found) in zip(rows, self._detect(canvas, rows), strict=True):
                yield index, self._detections(found, size, opened.pop(index))

        for index, image, prepared in self._prepared(images, threads):
            if isinstance(prepared, DataError):
                yield index, prepared
                continue
            canvas, example, size = prepared
            opened[index] = image
            waiting[canvas].append((index, example, size))
            if len(waiting[canvas]) == self.batch_size:
                yield from detect(canvas, waiting.pop(canvas))
        for canvas, rest in waiting.items():
            yield from detect(canvas, rest)

    def tiling_for(self, tiles: int | Tiling | None) -> Tiling | None:
        """Meaning of a call's `tiles`.

        Args:
          tiles: as in `stream`.

        Returns:
          the tiling of images; None for whole images.

        Raises:
          ConfigError: as in `stream`.
        """
        if tiles is None:
            tiles = self.tiling
        only = self.placed.detector.canvas
        if isinstance(tiles, int):
            if tiles == 0:
                return None
            try:
                before = self.tiling or Tiling(tiles)
                zoom = before.zoom if only is None else only[0] / tiles
                tiles = dataclasses.replace(before, size=tiles, zoom=zoom)
            except ValueError as error:
                raise ConfigError(f"tiles: {error}") from None
        if tiles is not None and only not in (None, tiles.canvas):
            raise ConfigError(
                f"Tiles of {tiles} are inputs of {tiles.canvas[0]} pixels, but the network has one "
                f"of {only[0]}; give tiles of {only[0]}."
            )
        if tiles is not None and isinstance(self.placed, AugmentedDetector):
            view_parts.check_tiles(self.placed.views)
        return tiles

    def _in_tiles(
        self, images: Iterable[ImageLike], tiling: Tiling
    ) -> Iterator[tuple[int, Detections | DataError]]:
        """As `stream`, tile by tile."""
        resize = Resize("zoom", zoom=tiling.zoom)

        opened: dict[int, GivenImage] = {}

        def given() -> Iterator[GivenImage]:
            for index, image in enumerate(images):
                opened[index] = GivenImage(image, self.reading)
                yield opened[index]

        def detect(tiles: list[np.ndarray]) -> list[Found]:
            rows = []
            for number, pixels in enumerate(tiles):
                height, width = pixels.shape[:2]
                example = create_example(np.zeros(0), np.zeros(0), 0, image=pixels)
                wanted = resize.size((height, width), tiling.canvas)
                rows.append((number, transforms.resize(example, wanted), (height, width)))
            return [found for _, found in self._detect(tiling.canvas, rows)]

        options = self.placed.detector.options
        walk = tiled_inference.TiledDetection(
            tiling,
            detect,
            batch_size=self.batch_size,
            nms_iou=options.nms_iou,
            max_detections=options.max_detections,
            class_agnostic=options.class_agnostic,
        )
        for index, size, found in walk.stream(given(), GivenImage.rows):
            image = opened.pop(index)
            if isinstance(found, DataError):
                yield index, found
            else:
                yield index, self._detections(found, size, image)

    def _detections(self, found: Found, size: tuple[int, int], image: GivenImage) -> Detections:
        names, ids = (
            tuple(of_classes[label] for label in found.labels)
            for of_classes in (self.classes, self.category_ids)
        )
        return Detections(*found, names, size, ids, image)

    def _prepared(
        self, images: Iterable[ImageLike], threads: int
    ) -> Iterator[tuple[int, GivenImage, Any]]:
        """Yields every image at its size on its canvas, in order; reads a few batches ahead."""
        numbered = ((index, GivenImage(image, self.reading)) for index, image in enumerate(images))
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            pending: collections.deque[tuple[int, GivenImage, concurrent.futures.Future[Any]]] = (
                collections.deque()
            )
            ahead = 2 * self.batch_size + threads
            for index, image in itertools.islice(numbered, ahead):
                pending.append((index, image, pool.submit(self._prepare, image)))
            while pending:
                index, image, future = pending.popleft()
                yield index, image, future.result()
                for index, image in itertools.islice(numbered, 1):
                    pending.append((index, image, pool.submit(self._prepare, image)))

    def _prepare(self, image: GivenImage) -> Any:
        """Returns the canvas, the example on it and the original size of an image, or the error."""
        try:
            pixels = image.pixels()
        except DataError as error:
            return error
        size = (pixels.shape[0], pixels.shape[1])
        canvas = self.canvases[int(self.resize.assign(np.array([size]), self.canvases)[0])]
        example = create_example(np.zeros(0), np.zeros(0), 0, image=pixels)
        return canvas, transforms.resize(example, self.resize.size(size, canvas)), size

    def _detect(
        self, canvas: tuple[int, int], rows: list[_Prepared]
    ) -> Iterator[tuple[int, Found]]:
        """Detects objects in one batch; an incomplete batch is padded with its first image."""
        filled = rows + [rows[0]] * (self.batch_size - len(rows))
        pixels = np.empty((self.batch_size, *canvas, self.reading.channels), np.uint8)
        for canvas_pixels, (_, example, _) in zip(pixels, filled, strict=True):
            assert example.image is not None
            height, width = example.image.shape[:2]
            canvas_pixels[:height, :width] = example.image
        batch = batching.assemble_batch(
            pixels,
            [example for _, example, _ in filled],
            np.array([size for _, _, size in filled]),
            max_boxes=1,
            is_real=[True] * self.batch_size,
        )
        on_devices = self.placed.on_devices(batch)
        found = jax.device_get(self.placed.predict(self.variables, *on_devices))
        for row, (index, _, _) in enumerate(rows):
            valid = found.valid[row]
            parts = (found.boxes, found.scores, found.labels)
            yield index, Found(*(part[row][valid] for part in parts))


def load(
    source: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    ema: bool = True,
    batch_size: int | None = None,
    changes: Mapping[str, Any] | None = None,
    network: nn.Module | None = None,
    detector: Detector | None = None,
    score_threshold: Threshold = 0.0,
    views: Views | None = None,
) -> ObjectDetector:
    """Loads a trained detector that is called with images.

    Args:
      source: the workdir of a run, or torchvision's `retinanet_resnet50_fpn`,
        `retinanet_resnet50_fpn_v2`, `fcos_resnet50_fpn`, `ssd300_vgg16` or
        `ssdlite320_mobilenet_v3_large`: a file (.pth or .safetensors, read without executing code)
        or the name itself. With COCO's 91 outputs, the classes are the 80 of COCO; with any other
        number, their names are numbers.
      checkpoint: 'best' or 'last', for a run.
      ema: True to use the moving average of the weights, if the run keeps one.
      batch_size: the number of images in a batch of the network; None: 1 on a CPU, else 8.
      changes: new values for keys of the configuration, such as
        `{"data.canvases": ((640, 640),), "evaluation.nms_iou": 0.6}`.
      network: the network, for a run that was trained with your own network.
      detector: the detector, for a run that was trained with your own detector.
      score_threshold: the default for the lowest score of detections: a number, or 'best' for the
        score of each class that was best on the validation images by F1, which the evaluation of
        the checkpoint has written into the workdir.
      views: test-time augmentation by mirrored images and several scales, such as
        `ioub_jax.detectors.Views(flip=True, scales=(0.8, 1.0, 1.25))`; None: unchanged images.
        The best scores were measured without augmentation.

    Raises:
      ConfigError: the workdir has no run or no checkpoint, or a key cannot be changed, or your own
        network or detector is not given, or no best threshold was measured, or scales are given for
        a network with one input size.
      WeightsError: the file does not contain one of these detectors.
    """
    path = files.path_of(source)
    if not path.is_dir():
        if score_threshold == "best":
            raise ConfigError(
                f"score_threshold='best' needs a run that was evaluated, but {source} is not a "
                "workdir; give a number."
            )
        path = weights.find_weights(os.fspath(source))
        return _from_weights(path, batch_size, changes or {}, score_threshold, views)
    config = configuration.with_changes(configuration.read_workdir(path), changes or {})
    refusals.check(config, to_train=False)
    training_parts.check_given(network, detector)
    given_parts.check_detector(
        path, network=network, detector=None if detector is None else detector.network
    )
    categories = class_list.read_required(path)
    if score_threshold == "best":
        score_thresholds.read_required(path, checkpoint, ema=ema)  # before the work of loading
    placed = training_parts.detector_for_inference(config, len(categories), network, detector)
    everywhere = placement.replicated(placed.mesh)
    folder, variables = checkpoints.read_checkpoint(path, checkpoint, everywhere, ema=ema)
    # If that checkpoint is damaged, this is another one, with thresholds of its own.
    measured = score_thresholds.of_checkpoint(folder, ema=ema)
    if measured is None and score_threshold == "best":
        raise score_thresholds.not_measured(path, folder.kind, ema=ema)
    if network is not None or detector is not None:
        checkpoints.check_variables(path, variables, placed.abstract_variables)
    placed, loading = view_parts.with_views(placed, loading_parts.loading_of(config), views)
    return ObjectDetector(
        placed,
        variables,
        categories,
        loading,
        batch_size=batch_size,
        reading=file_parts.reading_of(config, bit_depth.of_run(path, None)),
        settings=configuration.to_dict(config),
        measured=measured,
        score_threshold=score_threshold,
    )


def _from_weights(
    path: pathlib.Path,
    batch_size: int | None,
    changes: Mapping[str, Any],
    score_threshold: Threshold,
    views: Views | None,
) -> ObjectDetector:
    imported = weights.detector_of(weights.read_state_dict(path), name=str(path))
    if imported.is_of_coco:
        categories = [(id_, name) for name, id_ in coco_categories.COCO_IDS.items()]
        imported = imported.with_classes([id_ for id_, _ in categories])
    else:
        categories = [(id_, str(id_)) for id_ in imported.category_ids]
    config = configuration.with_changes(ml_collections.FrozenConfigDict(imported.config), changes)
    refusals.check(config, to_train=False)
    placed, loading = view_parts.with_views(
        training_parts.detector_for_inference(config, imported.num_classes),
        loading_parts.loading_of(config),
        views,
    )
    return ObjectDetector(
        placed,
        imported.variables,
        categories,
        loading,
        batch_size=batch_size,
        reading=file_parts.reading_of(config),
        settings=configuration.to_dict(config),
        score_threshold=score_threshold,
    )
