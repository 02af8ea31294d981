"""What a command would do, checked without doing it: the lines of a dry run. Nothing is written."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from ioub_jax import files, weights
from ioub_jax.data import batching
from ioub_jax.data.sources.example import Source
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.training import (
    initial_weights,
    resumption,
    schedules,
    steps,
    train_state,
    trained,
)
from ioub_jax.training.config_values import check_values
from ioub_jax.training.detector import Detector, canvas_anchors, create_trainer
from ioub_jax.training.setup import Setup, create_setup
from ioub_jax.workdirs import (
    bit_depth,
    checkpoint_folders,
    checkpoints,
    class_list,
    configuration,
    lock,
    writers,
)


def preview_training(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[str]:
    """What `loop.train_and_evaluate` would do.

    Raises:
      ConfigError: as it would.
      DataError: as it would.
      WeightsError: as it would, of weights that need no download.
      OSError: nothing can be written into the workdir.
    """
    configuration.check_workdir(workdir, config)
    before = resumption.read(workdir)
    setup = create_setup(config, class_list.read(workdir))
    data = resumption.fingerprints(setup.source, setup.validation)
    files.check_can_write(workdir)
    lock.check_free(workdir)
    _trace(setup.detector)
    size = config.batch_size
    epochs = config.schedule.images / len(setup.source)
    total = schedules.steps_of(config.schedule.images, size)
    every = config.evaluation.every_images
    keep_every = config.runtime.checkpoint_every_images
    found = checkpoint_folders.find(workdir)
    warmup = config.schedule.warmup_images
    depth = "bit_depth.json, " if bit_depth.is_kept(config.data, setup.source) else ""
    folders = ["checkpoints/", "evaluation/", *writers.describe_writers(workdir, config)]
    warm_up = f"; the first {warmup:,} images are warm-up" if warmup else ""
    return [
        f"Data: {config.data.source}, {describe_source(setup.source)} for training, "
        f"{len(setup.validation):,} for validation.",
        *setup.learned,
        f"Canvases: {describe_canvases(config, setup.source)}.",
        *describe_detector(setup.detector),
        f"Training: {total:,} steps of {size} images, {epochs:.1f} epochs; evaluated every "
        f"{every:,} images, a checkpoint every {keep_every:,}{warm_up}.",
        _start(setup, workdir, total),
        *resumption.changes(before, config, data, found[0].step if found else 0),
        f"Files: config.json, classes.json, data.json, {depth}train.jsonl, histograms.jsonl, "
        f"evaluation.jsonl, {', '.join(folders)} in {workdir}.",
    ]


def _trace(detector: Detector) -> None:
    """Goes through a train step and an evaluation with shapes alone: nothing is computed."""
    config = detector.config
    canvas = config.data.canvases[0]
    trainer = create_trainer(detector)
    state = trainer.abstract_state
    anchors = jax.eval_shape(lambda: canvas_anchors(config, canvas))
    for step, given, size in (
        (trainer.train_step, state, config.batch_size),
        (
            steps.make_predict_step(detector.model, config, detector.mesh),
            state.variables,
            config.evaluation.batch_size,
        ),
    ):
        batch = placement.abstract_batch(size, canvas, config.data.max_boxes)
        jax.eval_shape(step, given, batch, anchors)


def _start(setup: Setup, workdir: pathlib.Path, total: int) -> str:
    """From where a run would go on."""
    found = checkpoint_folders.find(workdir)
    if found:
        step = found[0].step
        if step >= total:
            done = f"step {step:,} of {total:,}"
            return f"{workdir} holds the finished run ({done}): nothing is left to do."
        return f"It would go on in {workdir} at step {step:,} of {total:,}."
    config = setup.detector.config
    absent = [
        name
        for name in (config.model.pretrained, config.init_from)
        if name is not None and not _is_here(name)
    ]
    if not absent:
        initial_weights.initial_variables(
            setup.detector.abstract_variables,
            config,
            class_list.categories_of(setup.source),
            placement.replicated(setup.detector.mesh),
        )
    start = f"It would begin in {workdir}"
    given = config.init_from or config.model.pretrained
    start += f" from the weights {given}" if given else " from random weights"
    if absent:
        start += f", after a download of {' and '.join(absent)}"
    if steps.objective_options(config).localization.initial_w_loc is None:
        start += f", and measure w_loc on {config.loss.calibration_batches} batches"
    return f"{start}."


def _is_here(name: str) -> bool:
    return pathlib.Path(name).is_dir() or weights.local_weights(name) is not None


def preview_run(
    workdir: pathlib.Path, checkpoint: str, split: str, *, ema: bool, changes: Mapping[str, Any]
) -> list[str]:
    """What `trained.load` would read.

    Raises:
      ConfigError: as it would.
      DataError: as it would.
    """
    detector, source = trained.open_run(workdir, split, changes)
    config = detector.config
    return [
        describe_checkpoint(workdir, checkpoint, ema=ema),
        f"Data: {config.data.source}, {split}: {describe_source(source)}.",
        f"Canvases: {describe_canvases(config, source)}.",
        *describe_detector(detector),
    ]


def preview_inference(
    source: str, checkpoint: str, *, ema: bool, changes: Mapping[str, Any]
) -> list[str]:
    """What `ioub_jax.load` would read.

    Raises:
      ConfigError: as it would.
      WeightsError: as it would, of weights that need no download.
    """
    workdir = files.path_of(source)
    if workdir.is_dir():
        config = configuration.with_changes(configuration.read_workdir(workdir), changes)
        check_values(config)
        categories = class_list.read_required(workdir)
        canvases = ", ".join(f"{h}x{w}" for h, w in config.data.canvases)
        return [
            describe_checkpoint(workdir, checkpoint, ema=ema),
            f"Detector: {config.model.name}, {len(categories)} classes, canvases {canvases}.",
        ]
    path = weights.local_weights(source)
    if path is None:
        return [f"Detector: {source}, after a download."]
    imported = weights.detector_of(weights.read_state_dict(path), name=str(path))
    parameters = count(imported.variables["params"])
    return [
        f"Detector: {path}, {parameters:,} parameters, {imported.num_classes} outputs of classes."
    ]


# ------------------------------------------------------------------ in words


def describe_checkpoint(workdir: pathlib.Path, checkpoint: str, *, ema: bool) -> str:
    """Which checkpoint would be read.

    Raises:
      ConfigError: there is no checkpoint.
    """
    folder = checkpoints.to_read(workdir, checkpoint)
    instead = "" if folder.kind == checkpoint else f" (there is no '{checkpoint}' one)"
    averaged = configuration.read_workdir(workdir).optimizer.get("ema_decay") is not None and ema
    which = "the moving average of the weights" if averaged else "the weights"
    return f"Checkpoint: '{folder.kind}' of {workdir}, {which} at step {folder.step:,}{instead}."


def describe_source(source: Source) -> str:
    """How many images and classes a data set has."""
    skipped = sum(problem.count for problem in source.skipped)
    left_out = f" (left out: {skipped:,})" if skipped else ""
    return f"{len(source):,} images of {len(source.classes)} classes{left_out}"


def describe_canvases(config: Any, source: Source) -> str:
    """Every canvas and how many of the images go there.

    Raises:
      ConfigError: the canvases contradict `data.resize`.
    """
    canvases = tuple(tuple(canvas) for canvas in config.data.canvases)
    try:
        assigned = batching.create_resize(config).assign(source.sizes, canvases)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    counts = np.bincount(assigned, minlength=len(canvases))
    return ", ".join(
        f"{height}x{width} ({images:,} images)"
        for (height, width), images in zip(canvases, counts, strict=True)
    )


def describe_detector(detector: Detector) -> Sequence[str]:
    """Its size and its devices."""
    config = detector.config
    params = detector.abstract_variables["params"]
    frozen = train_state.frozen_parameters(params, config.model.frozen_stages)
    leaves = zip(jax.tree.leaves(params), jax.tree.leaves(frozen), strict=True)
    trained_count = sum(leaf.size for leaf, is_frozen in leaves if not is_frozen)
    devices = list(detector.mesh.devices.flat)
    among = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    backbone = config.model.get("backbone", "vgg16")
    return [
        f"Detector: {config.model.name}, {backbone}, {count(params):,} parameters, "
        f"{trained_count:,} of them trained, computed in {config.model.dtype}.",
        f"Devices: {len(devices)} ({devices[0].device_kind}){among}.",
    ]


def count(tree: Any) -> int:
    """The numbers in all arrays of a tree."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
