"""A detector that a run has trained, and the images to use it on."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from ioub_jax import files
from ioub_jax.configs import refusals
from ioub_jax.data.images import AS_STORED, Reading
from ioub_jax.data.loading import Loading
from ioub_jax.data.sources.example import Source, channels_of
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.detectors import Detector, PlacedDetector, Views
from ioub_jax.devices import placement
from ioub_jax.evaluation.metric import Metric
from ioub_jax.from_config import (
    data_parts,
    loading_parts,
    metric_parts,
    training_parts,
    view_parts,
)
from ioub_jax.inference import ObjectDetector
from ioub_jax.training import evaluator
from ioub_jax.workdirs import (
    bit_depth,
    checkpoints,
    class_list,
    configuration,
    given_parts,
    pixel_convention,
    score_thresholds,
)
from ioub_jax.workdirs.score_thresholds import MeasuredThresholds


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A detector with its variables, and the images to use it on.

    Attributes:
      placed: the detector on the devices of its training.
      variables: its variables, on these devices.
      source: a split of the data set of its training, or of another one.
      loading: the conversion of images to batches.
      metrics: the metrics of its evaluation.
      batch_size: the number of images in a batch of the evaluation.
      settings: its configuration for JSON.
      measured: the best score thresholds, if they were measured.
    """

    placed: PlacedDetector
    variables: dict[str, Any]
    source: Source
    loading: Loading
    metrics: tuple[Metric, ...]
    batch_size: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measured: MeasuredThresholds | None = None

    @functools.cached_property
    def predict(self) -> Callable[..., Any]:
        """`predict(batch, anchors) -> Detections` in pixels of the original images."""
        return functools.partial(self.placed.predict, self.variables)

    @functools.cached_property
    def detector(self) -> ObjectDetector:
        """Detector of images, `trained.detector(images)`, on one device."""
        device = dataclasses.replace(self.placed, mesh=placement.create_mesh(1))
        return ObjectDetector(
            device,
            jax.device_get(self.variables),
            class_list.categories_of(self.source),
            self.loading,
            reading=_reading_of(self.source),
            settings=self.settings,
            measured=self.measured,
        )

    def evaluate(self, metrics: Sequence[Metric] | None = None) -> evaluator.Evaluation:
        """Evaluates the metrics over every image of the source; None: those of the training."""
        chosen = self.metrics if metrics is None else tuple(metrics)
        metric_parts.check_fit(chosen, self.source)
        evaluation = evaluator.evaluate_source(
            self.predict, self.source, self.placed, self.loading, chosen, self.batch_size
        )
        assert evaluation is not None, "nothing asks this evaluation to stop"
        return evaluation


def _reading_of(source: Source) -> Reading:
    """Returns the reading of a data set's images; without image files, pixels are unchanged."""
    if isinstance(source, AnnotatedImages):
        return source.reading
    return dataclasses.replace(AS_STORED, channels=channels_of(source))


def open_run(
    workdir: str | os.PathLike[str],
    split: str,
    changes: Mapping[str, Any] | None = None,
    *,
    network: nn.Module | None = None,
    detector: Detector | None = None,
    views: Views | None = None,
) -> Trained:
    """A run's detector without its variables, and a split of its data; arguments as `load_run`."""
    workdir = files.path_of(workdir)
    config = configuration.with_changes(configuration.read_workdir(workdir), changes or {})
    refusals.check(config, to_train=False)
    training_parts.check_given(network, detector)
    given_parts.check_openable(
        workdir, network=network, detector=None if detector is None else detector.network
    )
    options = training_parts.options_of(config)
    source = data_parts.open_split(
        config,
        split,
        categories=class_list.read(workdir),
        bit_depth=bit_depth.of_run(workdir, options.bit_depth),
        voc_pixels=pixel_convention.of_run(workdir),
    )
    placed, loading = view_parts.with_views(
        training_parts.detector_of(config, len(source.classes), network, detector),
        loading_parts.loading_of(config),
        views,
    )
    return Trained(
        placed=placed,
        variables={},
        source=source,
        loading=loading,
        metrics=training_parts.metrics_of(config),
        batch_size=options.evaluation_batch_size,
        settings=configuration.to_dict(config),
    )


def load_run(
    workdir: str | os.PathLike[str],
    checkpoint: str = "best",
    split: str = "val",
    *,
    ema: bool = True,
    changes: Mapping[str, Any] | None = None,
    network: nn.Module | None = None,
    detector: Detector | None = None,
    views: Views | None = None,
) -> Trained:
    """Reads a run's detector and opens a split of its data.

    Args:
      workdir: the run's folder.
      checkpoint: 'best' or 'last'.
      split: 'train', 'val' or 'test'.
      ema: True to use the moving average of the weights, if the run keeps one.
      changes: new values for keys of the run's configuration, to use it on other data:
        `{"data.coco.root": "elsewhere"}`.
      network: the network, for a run that was trained with your own network.
      detector: the detector, for a run that was trained with your own detector.
      views: test-time augmentation, as in `load`.

    Raises:
      ConfigError: the workdir has no run, or no such checkpoint, or a key cannot be changed, or
        your own network or detector is not given, or scales are given for a network with one input
        size.
      DataError: the data set is faulty, or has objects of a class that the run does not have.
    """
    workdir = files.path_of(workdir)
    opened = open_run(workdir, split, changes, network=network, detector=detector, views=views)
    everywhere = placement.replicated(opened.placed.mesh)
    folder, variables = checkpoints.read_checkpoint(workdir, checkpoint, everywhere, ema=ema)
    if network is not None or detector is not None:
        checkpoints.check_variables(workdir, variables, opened.placed.abstract_variables)
    measured = score_thresholds.of_checkpoint(folder, ema=ema)
    return dataclasses.replace(opened, variables=variables, measured=measured)
