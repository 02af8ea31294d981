"""A detector that a run has trained, read from its workdir."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ioub_jax.data import sources
from ioub_jax.data.sources.example import Source
from ioub_jax.devices import placement
from ioub_jax.evaluation.metric import Metric
from ioub_jax.from_config.metric_parts import metrics_of
from ioub_jax.training import evaluator, steps
from ioub_jax.training.config_values import check_values
from ioub_jax.training.detector import Detector, create_detector
from ioub_jax.workdirs import bit_depth, checkpoints, class_list, configuration


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A detector with its variables, and the images to use it on.

    Attributes:
      detector: the detector.
      variables: its variables, on its devices.
      source: a split of the data set it was trained on, or of another one.
    """

    detector: Detector
    variables: dict[str, Any]
    source: Source

    @functools.cached_property
    def predict(self) -> Any:
        """`predict(batch, anchors) -> Detections` in pixels of the original images."""
        detector = self.detector
        predict = steps.make_predict_step(detector.model, detector.config, detector.mesh)
        return functools.partial(predict, self.variables)

    def evaluate(self, metrics: Sequence[Metric] | None = None) -> evaluator.Evaluation:
        """The metrics over every image of the source; None: those of the run's configuration."""
        if metrics is None:
            metrics = metrics_of(self.detector.config.evaluation)
        evaluation = evaluator.evaluate_source(self.predict, self.source, self.detector, metrics)
        assert evaluation is not None, "nothing asks this evaluation to stop"
        return evaluation


def open_run(
    workdir: pathlib.Path, split: str, changes: Mapping[str, Any] | None = None
) -> tuple[Detector, Source]:
    """The detector of a run, without its variables, and a split of its data; raises as `load`."""
    config = configuration.with_changes(configuration.read_workdir(workdir), changes or {})
    check_values(config)
    source = sources.create_source(
        config.data,
        split,
        config.matcher,
        categories=class_list.read(workdir),
        bit_depth=bit_depth.of_run(workdir, config.data),
    )
    return create_detector(config, len(source.classes)), source


def load(
    workdir: pathlib.Path,
    checkpoint: str,
    split: str,
    *,
    ema: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Trained:
    """Reads a run's detector and opens a split of its data.

    Args:
      workdir: the run's folder.
      checkpoint: 'best' or 'last'.
      split: 'train', 'val' or 'test'.
      ema: whether with the moving average of the weights, where the run keeps one.
      changes: values of keys of the run's configuration that are to be other ones here, to use it
        on other data: `{"data.coco.root": "elsewhere"}`.

    Raises:
      ConfigError: the workdir holds no run, or no such checkpoint, or a key cannot be changed.
      DataError: the data set is broken, or has objects of a class that the run does not have.
    """
    detector, source = open_run(workdir, split, changes)
    everywhere = placement.replicated(detector.mesh)
    variables = checkpoints.read_variables(workdir, checkpoint, everywhere, ema=ema)
    return Trained(detector, variables, source)
