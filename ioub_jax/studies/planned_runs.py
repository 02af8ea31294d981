"""The runs of several arms with several seeds, and their results; `parallel_runs` trains them.

The initial weights and the batches follow from `config.seed`. Runs with the same seed therefore
share both in every arm, unless an arm changes the model or the data. A finished run is recognized
and not repeated; an interrupted one is resumed.
"""

import copy
import dataclasses
import functools
import hashlib
import json
import math
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from ioub_jax import files
from ioub_jax.configs import refusals
from ioub_jax.data.sources.tiles import whole_of
from ioub_jax.diagnostics.correlation import correlation_of
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import (
    coco_format,
    coco_metrics,
    dense_objects,
    recorded_numbers,
    resampling,
)
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.from_config import data_parts, loading_parts, sampling_parts, training_parts
from ioub_jax.studies import paired_differences
from ioub_jax.studies.arm_settings import Change
from ioub_jax.training import early_stopping
from ioub_jax.training.experiment import TrainingOptions
from ioub_jax.workdirs import class_list, configuration, pixel_convention, records


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
      arm: the name of its arm.
      config: its configuration, with its seed.
      workdir: its folder.
      result: the path of its result, a small JSON file that can outlive the folder.
    """

    arm: str
    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    result: pathlib.Path

    @property
    def name(self) -> str:
        """The arm and the seed of the run, as part of a sentence."""
        return f"arm {self.arm}, seed {training_parts.options_of(self.config).seed}"

    @property
    def options(self) -> TrainingOptions:
        """Length and seed of its training."""
        if not training_parts.is_in_epochs(self.config):
            return training_parts.options_of(self.config)
        # The number of images in an epoch depends on these parts. Most runs of a comparison share
        # them, so that the cache finds it.
        parts = {key: self.settings[key] for key in ("data", "matcher", "runtime")}
        epoch = _images_per_epoch(json.dumps(parts | {"batch_size": 1, "seed": 0}))
        return training_parts.options_of(self.config, epoch)

    @property
    def settings(self) -> dict[str, Any]:
        """Its configuration for JSON."""
        return configuration.to_dict(self.config)


@functools.lru_cache(maxsize=64)
def _images_per_epoch(settings: str) -> int:
    """Returns the number of images in an epoch, from the parts of a configuration as JSON."""
    return sampling_parts.images_per_epoch(configuration.from_dict(json.loads(settings)))


# ------------------------------------------------------------------ which runs


def plan_runs(
    config: ml_collections.ConfigDict,
    arms: Sequence[tuple[str, Change]],
    seeds: int,
    workdir: pathlib.Path,
    results: pathlib.Path,
) -> list[PlannedRun]:
    """The runs of a comparison, seed by seed, so that all arms have results early.

    Args:
      config: the configuration that all runs share.
      arms: the name of each arm and its change to the configuration.
      seeds: the number of seeds, which start at `config.seed`.
      workdir: the folder of the comparison; the folder of a run is `ARM/seed_N` in it.
      results: the folder of the results, `ARM/seed_N.json`.
    """
    runs = []
    first = training_parts.options_of(config).seed
    for seed in range(first, first + seeds):
        for name, change in arms:
            of_run = copy.deepcopy(config)  # a deep copy keeps the placeholders, which may be None
            of_run.unlock()
            change(of_run)
            of_run.update({"seed": seed})
            place = pathlib.Path(name) / f"seed_{seed}"
            runs.append(PlannedRun(name, of_run, workdir / place, results / f"{place}.json"))
    return runs


def steps_done(run: PlannedRun) -> int | None:
    """Steps of a run up to its last evaluation; None if its folder does not exist.

    Raises:
      ConfigError: the folder has a run with another configuration.
    """
    if not (run.workdir / "config.json").is_file():
        return None
    configuration.check_workdir(run.workdir, run.settings, evaluated=True)
    return max((record["step"] for record in _evaluations(run)), default=0)


def _evaluations(run: PlannedRun) -> list[dict[str, Any]]:
    """Returns the records of a run's evaluations."""
    return records.read_records(run.workdir / "evaluation.jsonl", sys.maxsize)


def is_finished(run: PlannedRun) -> bool:
    """True if a run has been trained and evaluated to its end, or its result has been saved.

    Raises:
      ConfigError: the run or its result has another configuration.
    """
    return read_result(run) is not None or is_trained(run)


def is_trained(run: PlannedRun) -> bool:
    """True if the run in the folder has ended, also by early stopping; raises as `steps_done`."""
    done, options = steps_done(run), run.options
    if done is None or options.patience is None:
        return done == options.steps
    key = training_parts.metrics_of(run.config)[0].headline_key
    is_early = early_stopping.ending(_evaluations(run), key, options) is not None
    return is_early or done == options.steps


def progress_of(run: PlannedRun) -> str:
    """The state of a run in words: finished, begun or new; raises as `is_finished`."""
    if is_finished(run):
        return "finished"
    total = run.options.steps
    done = steps_done(run)
    if done is None:
        return f"new, {total:,} steps"
    if not done:
        return f"begun, not yet evaluated, {total:,} steps"
    return f"begun, evaluated at step {done:,} of {total:,}"


def time_left(runs: Sequence[PlannedRun], processes: int) -> str:
    """The number of remaining runs and their time, in words; raises as `is_finished`.

    Args:
      runs: all runs of the comparison. The time of a run is estimated from the finished ones.
      processes: how many runs are trained at once.
    """
    results = [read_result(run) for run in runs]
    pending = sum(
        result is None and not is_trained(run) for run, result in zip(runs, results, strict=True)
    )
    if not pending:
        return f"All {len(runs)} runs are finished."
    told = f"{pending} of {len(runs)} runs remain to be trained, {processes} at once"
    seconds = [result.seconds for result in results if result and result.seconds]
    if not seconds:
        return f"{told}; the time of a run is not known before one is finished."
    each = statistics.fmean(seconds)
    total = math.ceil(pending / processes) * each
    return f"{told}: {_duration(total)}, {_duration(each)} for each; evaluations are not counted."


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 10:
        return f"{minutes:.1f} minutes"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:,.1f} hours"


def check_runs(runs: Sequence[PlannedRun]) -> None:
    """Checks before the first run for errors that all would fail with, except those of devices.

    Raises:
      ConfigError: a configuration cannot be run, or a folder holds a run of another one.
      DataError: the data set is broken.
    """
    pending = [run for run in runs if not is_finished(run)]
    for run in pending:
        refusals.check(run.config)
        training_parts.check_choices(run.config)
    if pending:
        data_parts.open_data(pending[0].config)


# ------------------------------------------------------------------ results


def read_result(run: PlannedRun) -> paired_differences.Result | None:
    """The saved result of a run, or None.

    Raises:
      ConfigError: the result has another configuration.
    """
    if not run.result.is_file():
        return None
    kept = configuration.read_json(run.result)
    if configuration.is_to_be_longer(kept["config"], run.settings):
        return None  # the run is to be extended
    differences = configuration.differing_keys(kept["config"], run.settings, evaluated=True)
    if differences:
        raise ConfigError(
            f"{run.result} is the result of another configuration ({'; '.join(differences)}); "
            "choose another --output."
        )
    return paired_differences.Result(
        run.arm,
        run.options.seed,
        kept["metrics"],
        kept["resampled"],
        kept["seconds"],
        kept.get("images"),
        kept.get("errors", {}),
    )


def result_of(run: PlannedRun, resamplings: int) -> paired_differences.Result | None:
    """The result of a finished run, saved or made from its folder; None for an unfinished one.

    Args:
      run: the run.
      resamplings: how many times its images are resampled. If the folder is gone, a result saved
        with another number is returned.

    Raises:
      ConfigError: as in `read_result`, `steps_done` and `make_result`.
    """
    kept = read_result(run)
    headline = dense_objects.named("AP", training_parts.counted_detections(run.config))
    if kept is not None and len(kept.resampled.get(headline, ())) == resamplings:
        return kept
    return make_result(run, resamplings) if is_trained(run) else kept


def make_result(run: PlannedRun, resamplings: int) -> paired_differences.Result:
    """Reads the result of a finished run, resamples its images, and saves both as a small file.

    COCO's AP is resampled. The other metrics come from the record of the evaluation. A run without
    COCO's metrics has only the numbers of its record.

    Raises:
      ConfigError: the run has not been evaluated at its end.
    """
    step = steps_done(run)
    name = run.workdir / "evaluation" / f"val_{step}"
    record = next((each for each in _evaluations(run)[::-1] if each["step"] == step), {})
    numbers = recorded_numbers.numbers_in(record)
    if numbers and "AP" not in numbers:
        reached = _Reached(numbers, {}, _images(run, None), {})
    else:
        of_coco = _reached_by_coco(run, name, resamplings)
        metrics = {**of_coco.metrics, **recorded_numbers.own_numbers(record)}
        reached = of_coco._replace(metrics=metrics)
    result = paired_differences.Result(
        run.arm,
        run.options.seed,
        reached.metrics,
        reached.resampled,
        training_seconds(run.workdir, run.options.batch_size),
        reached.images,
        reached.errors,
    )
    run.result.parent.mkdir(parents=True, exist_ok=True)
    values = dataclasses.asdict(result) | {"config": run.settings}
    files.write_json(run.result, values)
    return result


class _Reached(NamedTuple):
    """Fields of a `paired_differences.Result`."""

    metrics: dict[str, float | None]
    resampled: dict[str, list[float | None]]
    images: str | None
    errors: dict[str, dict[str, float]]


def _reached_by_coco(run: PlannedRun, name: pathlib.Path, resamplings: int) -> _Reached:
    """Computes COCO's AP, also on resampled images, and the correlation of scores with IoU.

    If some images could not be read (`data.on_error='skip'`), nothing is resampled, because it is
    no longer known which ones they were.

    Args:
      run: the run.
      name: the common beginning of the paths of its evaluation's files.
      resamplings: how many times its images are resampled.
    """
    paths = [name.with_name(f"{name.name}_{kind}.json") for kind in ("metrics", "detections")]
    for path in paths:
        if not path.is_file():
            raise ConfigError(
                f"{path} does not exist: train {run.workdir} to its end, with 'coco' among "
                "evaluation.metrics."
            )
    of_run, detections = map(configuration.read_json, paths)
    ground_truth, _ = _ground_truth_of(run)
    spearman = correlation_of(check_input(ground_truth, detections)).spearman
    resampled: dict[str, list[float | None]] = {}
    counted = training_parts.counted_detections(run.config)
    if of_run["images"] == len(ground_truth["images"]):
        resampled = resampling.resampled_ap(
            ground_truth,
            detections,
            resamplings=resamplings,
            counted=counted,
        )
    rounded = {
        key: [None if value is None else round(value, 5) for value in values]
        for key, values in resampled.items()
    }
    names = [dense_objects.named(key, counted) for key in coco_metrics.AP_KEYS]
    metrics = {name: of_run.get(name) for name in names}
    return _Reached(
        metrics | {paired_differences.SPEARMAN: spearman},
        rounded,
        _images(run, of_run["images"]),
        {iou: errors["all_classes"]["dAP"] for iou, errors in of_run.get("errors", {}).items()},
    )


def _images(run: PlannedRun, count: int | None) -> str | None:
    """Returns a digest of a run's validation images; None if it is unknown.

    Args:
      run: the run.
      count: how many images were read; None if unknown, in which case the digest is known only if
        every image must be readable.
    """
    ground_truth, digest = _ground_truth_of(run)
    if count is None:
        if loading_parts.loading_of(run.config).on_error == "skip":
            return None
        count = len(ground_truth["images"])
    return f"{count} of {digest}"


def _ground_truth_of(run: PlannedRun) -> tuple[dict[str, Any], str]:
    data = json.dumps(run.settings["data"])
    categories = class_list.read(run.workdir)
    return _ground_truth(
        data,
        None if categories is None else tuple(categories),
        pixel_convention.of_run(run.workdir),
    )


@functools.lru_cache(maxsize=1)  # the runs of a comparison usually have the same data
def _ground_truth(
    data: str, categories: tuple[tuple[int, str], ...] | None, voc_pixels: str | None
) -> tuple[dict[str, Any], str]:
    """Returns the validation data of `config.data` (as JSON) in COCO's format, and its digest."""
    config = configuration.from_dict(json.loads(data))
    source = data_parts.create_source(config, "val", categories=categories, voc_pixels=voc_pixels)
    ground_truth = coco_format.to_coco_ground_truth(whole_of(source))
    # Without the names of the files, which differ between machines.
    sizes = [(image["id"], image["height"], image["width"]) for image in ground_truth["images"]]
    told = json.dumps([sizes, ground_truth["annotations"], ground_truth["categories"]])
    return ground_truth, hashlib.sha256(told.encode()).hexdigest()[:16]


def training_seconds(workdir: pathlib.Path, batch_size: int) -> float | None:
    """The time of a run's steps in seconds, without evaluations and interruptions, or None."""
    recorded = records.read_records(workdir / "train.jsonl", sys.maxsize)
    seconds, before = 0.0, 0
    for record in recorded:
        if "images_per_second" not in record:  # all its steps compiled: use the next rate
            continue
        seconds += (record["step"] - before) * batch_size / record["images_per_second"]
        before = record["step"]
    return seconds or None


def existing_runs(
    arms: Sequence[tuple[str, Sequence[pathlib.Path]]], results: pathlib.Path
) -> list[PlannedRun]:
    """The runs in existing workdirs.

    Args:
      arms: the name and the workdirs of each arm.
      results: the folder of the results.

    Raises:
      ConfigError: a folder holds no run, or an arm has two runs with the same seed.
    """
    runs: dict[tuple[str, int], PlannedRun] = {}
    for name, workdirs in arms:
        for workdir in workdirs:
            config = ml_collections.ConfigDict(configuration.read_workdir(workdir))
            seed = training_parts.options_of(config).seed
            run = PlannedRun(name, config, workdir, results / name / f"seed_{seed}.json")
            other = runs.setdefault((name, seed), run)
            if other is not run:
                raise ConfigError(
                    f"{other.workdir} and {workdir} are both seed {seed} of arm {name}; "
                    "give each seed once."
                )
    return list(runs.values())
