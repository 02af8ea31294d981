"""Lines on a training: its setup at the start, its evaluations, and its results at the end."""

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ioub_jax.data.loading import Loading
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.tiles import TileSource
from ioub_jax.detectors import PlacedDetector
from ioub_jax.training import optimization, train_state
from ioub_jax.training.evaluator import Evaluation
from ioub_jax.training.experiment import Experiment
from ioub_jax.training.progress_bar import time_of
from ioub_jax.workdirs import checkpoints


def lines_at_start(experiment: Experiment) -> list[str]:
    """Lines on the model, the data and the length of a training.

    Args:
      experiment: the training.

    Raises:
      ConfigError: the canvases do not fit the resizing of images.
    """
    options, source, settings = experiment.options, experiment.source, experiment.settings
    kind = settings.get("data", {}).get("source", type(source).__name__)
    epoch = experiment.plan.images_per_epoch
    lengths = optimization.in_images(settings.get("schedule", {}), epoch, options.batch_size)
    warmup = lengths.get("warmup_images")
    warm_up = f"; the first {warmup:,} images are warm-up" if warmup else ""
    return [
        f"Data: {kind}, {describe_source(source)} for training, "
        f"{_number(experiment.validation)} for validation.",
        *experiment.learned,
        f"Canvases: {describe_canvases(experiment.loading, source)}.",
        *describe_detector(experiment.detector, settings.get("model", {})),
        f"Training: {options.steps:,} steps of {options.batch_size} images, "
        f"{options.images / epoch:.1f} epochs; evaluated every "
        f"{options.evaluate_every_images:,} images, a checkpoint every "
        f"{options.checkpoint_every_images:,}{warm_up}.",
    ]


def compared_with_best(evaluation: Evaluation, kept: checkpoints.Checkpoints, step: int) -> str:
    """Comparison of an evaluation with the best so far, after the best checkpoint was updated.

    Args:
      evaluation: an evaluation with a headline.
      kept: the checkpoints.
      step: the step of the evaluation.
    """
    now = f"{evaluation.headline_key} {_shown(evaluation.headline)} at step {step}"
    if kept.best_step() == step:
        return f"{now}: the best so far."
    return f"{now}; the best so far is {_shown(kept.best_ap())} at step {kept.best_step()}."


def headline_of(evaluation: Evaluation) -> str:
    """', AP .512', or '' without a headline."""
    if evaluation.headline is None:
        return ""
    return f", {evaluation.headline_key} {_shown(evaluation.headline)}"


def lines_at_end(
    workdir: pathlib.Path, kept: checkpoints.Checkpoints, headline: str, seconds: float
) -> list[str]:
    """Lines on the results of a training, and the commands that show them.

    Args:
      workdir: the run's folder.
      kept: its checkpoints.
      headline: the name of the number that picks the best checkpoint.
      seconds: the seconds that the run has taken.
    """
    took = f"Trained in {time_of(seconds)}"
    place, where = kept.best_step(), shlex.quote(str(workdir))
    best = kept.best_ap()
    if best is None or best < 0:  # nothing was annotated
        told = f"{took}; the checkpoint is {workdir / 'checkpoints' / 'last'}."
    else:
        told = (
            f"{took}: the best {headline} is {_shown(best)}, at step {place}; its checkpoint is "
            f"{workdir / 'checkpoints' / 'best'}."
        )
    return [
        told,
        f"Look at it:  ioub draw --workdir={where}",
        f"             ioub predict --model={where} --output=found IMAGES",
    ]


def _shown(number: float | None) -> str:
    """A number between 0 and 1 as in tables, any other number with four significant digits."""
    if number is None:
        return "-"
    return f"{number:.3f}".removeprefix("0") if 0 <= number < 1 else f"{number:.4g}"


# ------------------------------------------------------------------ in words


def describe_source(source: Source) -> str:
    """Number of images and classes of a data set."""
    skipped = sum(problem.count for problem in source.skipped)
    left_out = f" (left out: {skipped:,})" if skipped else ""
    return f"{_number(source, ' images')} of {len(source.classes)} classes{left_out}"


def describe_tiles(loading: Loading) -> list[str]:
    """Lines on the tiling of images, if they are tiled."""
    if loading.tiling is None:
        return []
    return [f"Tiles: {loading.tiling}; their detections are merged over the whole image."]


def _number(source: Source, images: str = "") -> str:
    """Number of images, or of tiles and their images, of a data set."""
    if isinstance(source, TileSource):
        return f"{len(source):,} tiles of {len(source.whole):,} images"
    return f"{len(source):,}{images}"


def describe_canvases(loading: Loading, source: Source) -> str:
    """Every canvas and its number of images.

    Raises:
      ConfigError: the canvases do not fit the resizing of images.
    """
    canvases = loading.canvases
    assigned = loading.resize.assign(source.sizes, canvases)
    counts = np.bincount(assigned, minlength=len(canvases))
    what = "images" if loading.tiling is None else "tiles"
    return ", ".join(
        f"{height}x{width} ({images:,} {what})"
        for (height, width), images in zip(canvases, counts, strict=True)
    )


def describe_detector(detector: PlacedDetector, model: Mapping[str, Any]) -> Sequence[str]:
    """Lines on the detector's size and devices; `model` is a part of the configuration."""
    params = detector.abstract_variables["params"]
    frozen = train_state.frozen_parameters(params, model.get("frozen_stages", -1))
    leaves = zip(jax.tree.leaves(params), jax.tree.leaves(frozen), strict=True)
    trained_count = sum(leaf.size for leaf, is_frozen in leaves if not is_frozen)
    devices = list(detector.mesh.devices.flat)
    among = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    backbone = model.get("backbone", "a network of its own")
    return [
        f"Detector: {model.get('name', 'one of its own')}, {backbone}, {count(params):,} "
        f"parameters, {trained_count:,} of them trained, computed in "
        f"{model.get('dtype', 'float32')}.",
        f"Devices: {len(devices)} ({devices[0].device_kind}){among}.",
    ]


def count(tree: Any) -> int:
    """Total number of elements in the arrays of a tree."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
