"""The lines of a dry run: a command's actions, checked without performing them or writing."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

from ioub_jax import building, files, trained, weights
from ioub_jax.configs import refusals
from ioub_jax.detectors import Views
from ioub_jax.devices import placement
from ioub_jax.from_config import loading_parts, view_parts
from ioub_jax.key_names import naming
from ioub_jax.training import early_stopping, initial_weights, resumption, summary
from ioub_jax.training.experiment import Experiment, create_trainer
from ioub_jax.workdirs import (
    bit_depth,
    checkpoint_folders,
    checkpoints,
    class_list,
    class_weights,
    configuration,
    lock,
    pixel_convention,
    records,
    writers,
)


def preview_training(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[str]:
    """Lines that say what `building.train_and_evaluate` would do.

    Raises:
      ConfigError: `building.train_and_evaluate` would raise it.
      DataError: `building.train_and_evaluate` would raise it.
      WeightsError: `building.train_and_evaluate` would raise it for weights that need no download.
      OSError: the workdir is not writable.
    """
    settings = configuration.to_dict(config)
    building.check_workdir(workdir, settings, {})
    before = resumption.read(workdir)
    experiment = building.build(
        config,
        categories=class_list.read(workdir),
        voc_pixels=pixel_convention.of_run(workdir),
        class_weights=class_weights.read(workdir),
    )
    options, source = experiment.options, experiment.source
    data = resumption.fingerprints(source, experiment.validation)
    files.check_can_write(workdir)
    lock.check_free(workdir)
    pixel_convention.check(workdir, source)
    _trace(experiment)
    found = checkpoint_folders.find(workdir)
    kept = ["config.json", "classes.json", "data.json"]
    kept += ["class_weights.json"] * bool(experiment.class_weights)
    kept += ["bit_depth.json"] * bit_depth.is_kept(options.bit_depth, source)
    kept += ["voc_pixels.json"] * pixel_convention.is_kept(source)
    kept += ["train.jsonl", "histograms.jsonl", "evaluation.jsonl"]
    written = writers.describe_writers(workdir, options.wandb_project)
    written = ["checkpoints/", "evaluation/", *written]
    with naming({"canvases": "data.canvases"}):
        told = summary.lines_at_start(experiment)
    return [
        *told,
        _start(experiment, workdir),
        *resumption.changes(before, experiment, data, found[0].step if found else 0),
        f"Files: {', '.join([*kept, *written])} in {workdir}.",
    ]


def _trace(experiment: Experiment) -> None:
    """Traces a training step and the detection of an evaluation with abstract values only."""
    detector, options, loading = experiment.detector, experiment.options, experiment.loading
    canvas = loading.canvases[0]
    trainer = create_trainer(detector, experiment.optimizer, experiment.learning_rate, options)
    state = trainer.abstract_state
    anchors = jax.eval_shape(lambda: detector.host_anchors(canvas))
    for step, given, size in (
        (trainer.train_step, state, options.batch_size),
        (detector.predict, state.variables, options.evaluation_batch_size),
    ):
        batch = placement.abstract_batch(
            size, canvas, loading.max_boxes, in_channels=detector.detector.in_channels
        )
        jax.eval_shape(step, given, batch, anchors)


def _start(experiment: Experiment, workdir: pathlib.Path) -> str:
    """A sentence on the step or the weights from which a run would start."""
    found, total = checkpoint_folders.find(workdir), experiment.options.steps
    if found:
        step = found[0].step
        if step >= total:
            done = f"step {step:,} of {total:,}"
            return f"{workdir} has a finished run ({done}); nothing is left to do."
        evaluated = records.read_records(workdir / "evaluation.jsonl", step)
        key = experiment.metrics[0].headline_key
        if ended := early_stopping.ending(evaluated, key, experiment.options):
            return f"{workdir} has a run that ended early, {ended.describe(experiment.options)}."
        return f"It would resume in {workdir} at step {step:,} of {total:,}."
    initial = experiment.initial_weights
    absent = [
        name
        for name in (initial.pretrained, initial.init_from)
        if name is not None and not _is_here(name)
    ]
    if not absent:
        initial_weights.initial_variables(
            experiment.detector.abstract_variables,
            initial,
            class_list.categories_of(experiment.source),
            placement.replicated(experiment.detector.mesh),
        )
    start = f"It would begin in {workdir}"
    given = initial.init_from or initial.pretrained
    start += f" from the weights {given}" if given else " from random weights"
    if absent:
        start += f", after a download of {' and '.join(absent)}"
    if experiment.detector.detector.initial_w_loc is None:
        start += f", and measure w_loc on {experiment.options.calibration_batches} batches"
    return f"{start}."


def _is_here(name: str) -> bool:
    return pathlib.Path(name).is_dir() or weights.local_weights(name) is not None


def preview_run(
    workdir: pathlib.Path,
    checkpoint: str,
    split: str,
    *,
    ema: bool,
    changes: Mapping[str, Any],
    views: Views | None = None,
) -> list[str]:
    """Lines that say what `trained.load_run` would read.

    Raises:
      ConfigError: `trained.load_run` would raise it.
      DataError: `trained.load_run` would raise it.
    """
    opened = trained.open_run(workdir, split, changes, views=views)
    settings = opened.settings
    with naming({"canvases": "data.canvases"}):
        canvases = summary.describe_canvases(opened.loading, opened.source)
    return [
        describe_checkpoint(workdir, checkpoint, ema=ema),
        f"Data: {settings['data']['source']}, {split}: {summary.describe_source(opened.source)}.",
        f"Canvases: {canvases}.",
        *summary.describe_tiles(opened.loading),
        *describe_views(views),
        *summary.describe_detector(opened.placed, settings["model"]),
    ]


def preview_inference(
    source: str,
    checkpoint: str,
    *,
    ema: bool,
    changes: Mapping[str, Any],
    views: Views | None = None,
) -> list[str]:
    """Lines that say what `ioub_jax.load` would read.

    Raises:
      ConfigError: `ioub_jax.load` would raise it.
      WeightsError: `ioub_jax.load` would raise it for weights that need no download.
    """
    workdir = files.path_of(source)
    if workdir.is_dir():
        config = configuration.with_changes(configuration.read_workdir(workdir), changes)
        refusals.check(config, to_train=False)
        settings = configuration.to_dict(config)
        categories = class_list.read_required(workdir)
        name = settings["model"]["name"]
        loading = loading_parts.loading_of(config)
        if views is not None:
            only = loading.canvases[0] if name in ("ssd", "ssdlite") else None
            agnostic = settings["evaluation"].get("class_agnostic", False)
            view_parts.check_views(views, loading, only, class_agnostic=agnostic)
        canvases = ", ".join(f"{h}x{w}" for h, w in loading.canvases)
        return [
            describe_checkpoint(workdir, checkpoint, ema=ema),
            f"Detector: {name}, {len(categories)} classes, canvases {canvases}.",
            *summary.describe_tiles(loading),
            *describe_views(views),
        ]
    path = weights.local_weights(source)
    if path is None:
        return [f"Detector: {source}, after a download."]
    imported = weights.detector_of(weights.read_state_dict(path), name=str(path))
    parameters = summary.count(imported.variables["params"])
    return [
        f"Detector: {path}, {parameters:,} parameters, {imported.num_classes} outputs of classes."
    ]


# ------------------------------------------------------------------ descriptions in words


def describe_views(views: Views | None) -> list[str]:
    """A line on the test-time augmentation; empty without any."""
    return [] if views is None else [f"Views: {views}."]


def describe_checkpoint(workdir: pathlib.Path, checkpoint: str, *, ema: bool) -> str:
    """A line on the checkpoint that would be read.

    Raises:
      ConfigError: there is no checkpoint.
    """
    folder = checkpoints.to_read(workdir, checkpoint)
    instead = "" if folder.kind == checkpoint else f" (there is no '{checkpoint}' one)"
    optimizer = configuration.to_dict(configuration.read_workdir(workdir))["optimizer"]
    averaged = optimizer.get("ema_decay") is not None and ema
    which = "the moving average of the weights" if averaged else "the weights"
    return f"Checkpoint: '{folder.kind}' of {workdir}, {which} at step {folder.step:,}{instead}."
