"""Training from Python: `ioub_jax.train(ioub_jax.build(config), "runs/mine")`."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import ml_collections
import optax

from ioub_jax import configs, files, log_lines
from ioub_jax.configs import advice, refusals
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.example import Source
from ioub_jax.detectors import Detector
from ioub_jax.devices import hosts
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.metric import Metric
from ioub_jax.from_config import (
    class_weight_parts,
    data_parts,
    file_parts,
    loading_parts,
    metric_parts,
    sampling_parts,
    shared_image_parts,
    training_parts,
)
from ioub_jax.trained import Trained
from ioub_jax.training import evaluator, loop, optimization
from ioub_jax.training.experiment import Experiment
from ioub_jax.workdirs import (
    class_list,
    class_weights,
    configuration,
    given_parts,
    pixel_convention,
    score_thresholds,
    writers,
)

logger = logging.getLogger("ioub_jax")

Categories = Sequence[tuple[int | str, str]]


def build(
    config: ml_collections.ConfigDict | str,
    *,
    source: Source | None = None,
    validation: Source | None = None,
    network: nn.Module | None = None,
    detector: Detector | None = None,
    optimizer: optax.GradientTransformation | None = None,
    metrics: Sequence[Metric] | None = None,
    categories: Categories | None = None,
    voc_pixels: str | None = None,
    class_weights: Mapping[str, float] | None = None,
) -> Experiment:
    """Builds a training run with all of its parts: the given ones, and the others as configured.

    Nothing is written and nothing is trained. Probable mistakes are logged as warnings.

    Args:
      config: a configuration, or the name of one for `configs.load`.
      source: the training data.
      validation: the validation data; required if `source` is given.
      network: a network for the configured detector, whose anchors, classes and losses are kept.
      detector: a whole detector, with its losses, for the classes of the data.
      optimizer: an optax transformation, with its learning rate. Of the keys of `optimizer` and
        `schedule`, only `ema_decay` and `images` are then used. Frozen parameters never change.
      metrics: metrics of the evaluations; the headline of the first one picks the best checkpoint.
      categories: the id and name of each label of a run that has begun; None: those of the training
        data.
      voc_pixels: the pixel convention of VOC's XMLs in a run that has begun; None: as configured,
        or else inferred from the training data.
      class_weights: name -> weight of each class in the loss of a run that has begun; None: as
        configured.

    Raises:
      ConfigError: the configuration cannot be run, or not on this machine, or the parts do not fit
        together.
      DataError: the data set is broken.
    """
    config = configs.load(config) if isinstance(config, str) else config
    refusals.check(config, to_train=optimizer is None)
    training_parts.check_given(network, detector)
    options = training_parts.options_of(config)
    writers.check_project(options.wandb_project)
    chosen = training_parts.metrics_of(config) if metrics is None else metrics
    evaluator.check_metrics(chosen)
    if optimizer is not None:
        optimization.check_optimizer(optimizer)
    given = _names(source=source, network=network, detector=detector, optimizer=optimizer)
    if metrics is not None:
        given["metrics"] = ", ".join(map(given_parts.qualified_name, metrics))
    train_data, val_data, learned = _data(config, source, validation, categories, voc_pixels)
    metric_parts.check_fit(chosen, val_data)
    repeats, sampling = sampling_parts.repeats_of(config, train_data)
    loading = loading_parts.loading_of(config)
    plan = loading.training_plan(train_data.sizes, options.batch_size, options.seed, repeats)
    epoch = plan.images_per_epoch
    lengths = training_parts.length_lines(config, epoch)
    options = training_parts.options_of(config, epoch)
    weights = None
    if detector is None:  # a given detector has its own losses
        weights = class_weight_parts.class_weights_of(config, train_data, class_weights)
    with_weights = class_weight_parts.with_class_weights(config, weights)
    count = len(train_data.classes)
    placed = training_parts.detector_of(with_weights, count, network, detector)
    training_parts.check_arithmetic(config, placed.mesh.local_devices[0])
    frozen = training_parts.frozen_of(config, placed)
    is_ours = network is None and detector is None
    updates = _updates(config, optimizer, frozen, epoch, is_ours=is_ours)
    if hosts.is_first():
        limit = placed.detector.options.max_detections
        for warning in [
            *advice.warnings(config),
            *updates.warnings,
            *shared_image_parts.shared_image_warnings(config, train_data, val_data),
            *metric_parts.limit_warnings(val_data, chosen, limit).values(),
        ]:
            logger.warning("%s", warning)
    return Experiment(
        detector=placed,
        source=train_data,
        validation=val_data,
        optimizer=updates.transformation,
        learning_rate=updates.learning_rate,
        loading=loading,
        metrics=tuple(chosen),
        initial_weights=training_parts.initial_weights_of(config),
        options=options,
        learned=(
            *learned,
            *sampling,
            *class_weight_parts.class_weight_lines(config, weights),
            *lengths,
            *updates.lines,
        ),
        class_weights=weights,
        repeats=repeats,
        settings=configuration.to_dict(config),
        given=given,
    )


class _Updates(NamedTuple):
    """The optimizer, its learning rate if known, and what to say about the schedule."""

    transformation: optax.GradientTransformation
    learning_rate: optax.Schedule | None
    warnings: Sequence[str]
    lines: Sequence[str]


def _updates(
    config: ml_collections.ConfigDict,
    optimizer: optax.GradientTransformation | None,
    frozen: Any,
    epoch: int,
    *,
    is_ours: bool,
) -> _Updates:
    """The given or the configured optimizer; `is_ours` if the network is one of this package."""
    if optimizer is not None:
        constant = training_parts.constants_of(config, frozen)
        return _Updates(optimization.with_frozen(optimizer, constant), None, (), ())
    schedule = training_parts.schedule_of(config, epoch)
    configured, learning_rate = training_parts.optimizer_of(config, frozen, epoch)
    return _Updates(
        # The gradients of our own networks stop at frozen stages; those of others may not.
        configured if is_ours else optimization.with_frozen(configured, frozen),
        learning_rate,
        training_parts.schedule_warnings(config, epoch),
        (schedule.describe(config.batch_size),),
    )


def _names(*, detector: Detector | None, **parts: Any) -> dict[str, str]:
    """Returns the qualified names of the given parts; a detector is named after its network."""
    parts["detector"] = None if detector is None else detector.network
    return {
        name: given_parts.qualified_name(part) for name, part in parts.items() if part is not None
    }


def _data(
    config: ml_collections.ConfigDict,
    source: Source | None,
    validation: Source | None,
    categories: Categories | None,
    voc_pixels: str | None,
) -> tuple[Source, Source, tuple[str, ...]]:
    """Returns training and validation data, and sentences on the learned objects."""
    if (source is None) != (validation is None):
        raise ConfigError(
            "source and validation go together: give the training and the validation data, or "
            "neither, to use the configured ones."
        )
    if source is None or validation is None:
        source, validation, learned = data_parts.open_data(config, categories, voc_pixels)
        return source, validation, learned.lines()
    if tuple(source.classes) != tuple(validation.classes):
        raise ConfigError(
            f"The training data has the classes {', '.join(source.classes)}, the validation data "
            f"{', '.join(validation.classes)}; give both the same classes in the same order."
        )
    channels = file_parts.in_channels_of(config)
    source = file_parts.with_channels(source, channels)
    validation = file_parts.with_channels(validation, channels)
    shared_image_parts.check_shared_images(config, source, validation)
    source, validation, learned = data_parts.given_data(config, source, validation)
    return source, validation, learned.lines()


def train(
    experiment: Experiment, workdir: str | os.PathLike[str], *, profile: bool = False
) -> Trained:
    """Trains a detector, or resumes the run in the workdir from where it stopped.

    The logger `ioub_jax` reports progress on stderr, line by line, unless you have set a level for
    this logger, or the level INFO for the root logger.

    Args:
      experiment: all parts of the training, from `build`.
      workdir: the run's folder. It will contain `config.json`, `classes.json`, `data.json`,
        `bit_depth.json` (for image files), `voc_pixels.json` (for VOC's XMLs), `class_weights.json`
        (for a loss with class weights), `parts.json` (for given parts), `train.jsonl`,
        `histograms.jsonl`, `evaluation.jsonl`, `tensorboard/`, `checkpoints/{last,best}/` and
        `evaluation/`.
      profile: True to trace a few steps into `profile/`.

    Returns:
      The trained detector, with the weights of the last step, or their moving average if the run
      keeps one.

    Raises:
      ConfigError: the workdir has another run, or another process is training there.
      DataError: the data set is broken.
      NonFiniteError: training diverged; the last checkpoint is intact.
      CompilationError: the step was compiled more often than there are canvases.
    """
    folder = files.path_of(workdir)
    with log_lines.shown_by_default():
        return _trained(loop.Run(_with_labels_of(experiment, folder), folder, profile=profile))


def _with_labels_of(experiment: Experiment, workdir: pathlib.Path) -> Experiment:
    """Returns the experiment with the labels of a run that has begun, whatever the data's order."""
    categories = class_list.read(workdir)
    if categories is None or len(categories) != len(experiment.source.classes):
        return experiment  # different classes are reported when the run is opened
    return dataclasses.replace(
        experiment,
        source=with_classes(experiment.source, categories, "The training data"),
        validation=with_classes(experiment.validation, categories, "The validation data"),
    )


def _trained(run: loop.Run) -> Trained:
    """Trains a run to its end, and returns its detector."""
    run.train()
    experiment = run.experiment  # its data is read as in this run
    return Trained(
        placed=experiment.detector,
        variables=run.state.ema or run.state.variables,
        source=experiment.validation,
        loading=experiment.loading,
        metrics=experiment.metrics,
        batch_size=experiment.options.evaluation_batch_size,
        settings=experiment.settings,
        measured=score_thresholds.read(run.workdir, "last"),
    )


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike[str], *, profile: bool = False
) -> Trained:
    """`train(build(config), workdir)`, except that a resumed run keeps its own labels."""
    return _trained(begin_run(config, workdir, profile=profile))


def begin_run(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike[str], *, profile: bool = False
) -> loop.Run:
    """The run of a configuration in a workdir, ready to begin or resume; arguments as `train`."""
    folder = files.path_of(workdir)
    check_workdir(folder, configuration.to_dict(config), {})
    experiment = build(
        config,
        categories=class_list.read(folder),
        voc_pixels=pixel_convention.of_run(folder),
        class_weights=class_weights.read(folder),
    )
    return loop.Run(experiment, folder, profile=profile)


def check_workdir(
    workdir: pathlib.Path, settings: dict[str, Any], given: Mapping[str, str]
) -> None:
    """Checks that a workdir is new, or holds a run with this configuration and these parts.

    Raises:
      ConfigError: the workdir has another run.
    """
    configuration.check_workdir(workdir, settings)
    given_parts.check(workdir, given)
