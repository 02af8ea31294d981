"""Two training runs of one configuration, one of which is killed repeatedly, and their bits."""

import json
import os
import pathlib
import random
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.soak import process_groups, starts
from experiments.soak.starts import ENDINGS, Start
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoints

#: The shares of the time for measuring the rate, and for the uninterrupted run. The
#: killed run does the same work, is started many times, and repeats some of the work.
_MEASURING, _WHOLE = 0.1, 0.35
#: The keys of records that differ between runs with the same bits.
_TIMES = {"seconds", "images_per_second", "data_wait_share", "checkpoint_wait_share"}
#: The largest allowed growth in the uninterrupted run, relative to its middle third.
_MOST_GROWTH = 0.1


def soak(
    arguments: Sequence[str],
    workdir: pathlib.Path,
    minutes: float,
    kill_minutes: float,
    *,
    images: int | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Trains one run without and one with kills, and compares them.

    Args:
      arguments: the flags --config and --config.KEY=VALUE of both.
      workdir: the folder for the runs; new or empty.
      minutes: the approximate time for everything.
      kill_minutes: the mean of the random time between a start and its signal.
      images: the length of both runs; None for a length that fits into the time, by the measured
        rate.
      seed: the seed of the kills; None for another one each time.

    Returns:
      The observations, in types that JSON has; `failures` has a sentence for each failure.

    Raises:
      ConfigError: the workdir is not empty, or the configuration cannot be trained.
    """
    if workdir.is_dir() and any(workdir.iterdir()):
        raise ConfigError(f"{workdir} is not empty; give another --workdir for the soak.")
    workdir.mkdir(parents=True, exist_ok=True)
    seed = random.randrange(2**32) if seed is None else seed
    began = time.monotonic()
    scratch = workdir / "temporary"
    scratch.mkdir()
    before, shared = os.environ.get("TMPDIR"), _shared_memory()
    os.environ["TMPDIR"] = str(scratch.absolute())  # to see which files are left over
    try:
        images = images or _images_for(arguments, workdir, minutes)
        flags = [*arguments, f"--config.schedule.images={images}"]
        whole = _whole_run(flags, workdir)
        killed = _killed_run(flags, workdir, kill_minutes, random.Random(seed))
    finally:
        os.environ.pop("TMPDIR")
        os.environ.update({} if before is None else {"TMPDIR": before})
        tempfile.tempdir = None
    left = {
        "files in TMPDIR": len(list(scratch.rglob("*"))),
        "files in /dev/shm": len(_shared_memory() - shared),
    }
    seen = {"images": images, "seed": seed, **_seen(whole, killed), "left over": left}
    differences = _differences(workdir / "whole", workdir / "killed")
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        **seen,
        "same bits": not differences,
        "failures": [*_failures(whole, killed, seen), *differences],
    }


def _shared_memory() -> set[str]:
    """Returns the names of all shared memory, that of other programs included."""
    folder = pathlib.Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


# ------------------------------------------------------------------ the runs


def _images_for(arguments: Sequence[str], workdir: pathlib.Path, minutes: float) -> int:
    """Returns the number of images for a run of the desired time, by the measured rate."""
    folder = workdir / "measured"
    flags = [*arguments, f"--workdir={folder}"]
    begun = starts.start(flags, workdir / "measured.log", "SIGTERM", 60 * minutes * _MEASURING)
    lines = _lines(folder, "train")
    rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
    if not begun.is_as_promised or not rates:
        raise ConfigError(
            f"The run had no rate after {begun.seconds:.0f} seconds, see "
            f"{workdir / 'measured.log'}; give more --minutes, or --images."
        )
    return int(float(np.median(rates)) * 60 * minutes * _WHOLE)


def _whole_run(flags: Sequence[str], workdir: pathlib.Path) -> Start:
    whole = starts.start([*flags, f"--workdir={workdir / 'whole'}"], workdir / "whole.log")
    if whole.exit_code:
        raise ConfigError(f"The run failed, see {workdir / 'whole.log'}.")
    return whole


def _killed_run(
    flags: Sequence[str], workdir: pathlib.Path, kill_minutes: float, rng: random.Random
) -> list[Start]:
    """Starts the run repeatedly until it reaches its end.

    After 100 starts, the time before a kill grows with each start, so that the run ends eventually.
    """
    begun: list[Start] = []
    while not begun or begun[-1].ending:
        patience = 60 * kill_minutes * rng.uniform(0.1, 1.9) * 1.05 ** max(0, len(begun) - 100)
        log = workdir / f"start_{len(begun):04}.log"
        words = [*flags, f"--workdir={workdir / 'killed'}"]
        begun.append(starts.start(words, log, rng.choice(list(ENDINGS)), patience))
        if begun[-1].exit_code > 0:
            break  # it would always fail
        if begun[-1].is_as_promised and begun[-1].ending:
            log.unlink()
    return begun


# ------------------------------------------------------------------ observations


def _seen(whole: Start, killed: Sequence[Start]) -> dict[str, Any]:
    endings = [start.ending or "its own end" for start in killed]
    peaks = [max((s.main_mib for s in start.samples), default=0.0) for start in killed]
    long = [peak for start, peak in zip(killed, peaks, strict=True) if start.seconds > 30]
    return {
        "whole run": {
            "minutes": round(whole.seconds / 60, 1),
            "MiB of the main process": process_groups.growth(whole.samples, "main_mib"),
            "open files": process_groups.growth(whole.samples, "open_files"),
            "processes": process_groups.growth(whole.samples, "processes"),
        },
        "killed run": {
            "starts": len(killed),
            "minutes": round(sum(start.seconds for start in killed) / 60, 1),
            "ended by": {name: endings.count(name) for name in sorted(set(endings))},
            "seconds of each start": [round(start.seconds) for start in killed],
            "most MiB of the starts beyond 30 seconds": long,
            "most open files": max((s.open_files for x in killed for s in x.samples), default=0),
            "most processes": max((s.processes for x in killed for s in x.samples), default=0),
        },
    }


def _failures(whole: Start, killed: Sequence[Start], seen: dict[str, Any]) -> list[str]:
    failures = [
        f"start {number} ({start.ending or 'its own end'}): exit code {start.exit_code}, "
        f"{start.left_over} processes left over, see its log"
        for number, start in enumerate(killed)
        if not start.is_as_promised
    ]
    for name, measured in seen["whole run"].items():
        if isinstance(measured, dict) and measured["growth"] > _MOST_GROWTH:
            failures.append(f"{name} grow by {measured['growth']:.0%} in the uninterrupted run")
    return failures + [
        f"{count} {name} are left over" for name, count in seen["left over"].items() if count
    ]


# ------------------------------------------------------------------ bits


def _differences(whole: pathlib.Path, killed: pathlib.Path) -> list[str]:
    """Descriptions of the differences between two workdirs that should be equal."""
    differences = []
    for which in ("last", "best"):
        try:
            first, second = (_state_of(folder, which) for folder in (whole, killed))
        except ConfigError as error:  # there is no checkpoint
            differences.append(str(error))
            continue
        if first.keys() != second.keys():
            differences.append(f"the '{which}' checkpoints have other arrays or steps")
        differences += [
            f"the '{which}' checkpoints differ in {name}"
            for name in first.keys() & second.keys()
            if first[name].tobytes() != second[name].tobytes()
        ]
    for name in ("train", "evaluation", "histograms"):
        lines = [
            [{k: v for k, v in line.items() if k not in _TIMES} for line in _lines(folder, name)]
            for folder in (whole, killed)
        ]
        if lines[0] != lines[1]:
            differences.append(f"{name}.jsonl differs")
    sets = [_files_of(folder) for folder in (whole, killed)]
    if sets[0] != sets[1]:
        differences.append(f"only one workdir has {sorted(sets[0] ^ sets[1])[:5]}")
    return differences


def _state_of(workdir: pathlib.Path, which: str) -> dict[str, np.ndarray]:
    """Returns every array of a checkpoint by its path, and its step."""
    newest = checkpoints.to_read(workdir, which)
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(newest.path.absolute() / "state")
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves} | {
        "step of the folder": np.asarray(newest.step)
    }


def _lines(workdir: pathlib.Path, name: str) -> list[dict[str, Any]]:
    path = workdir / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _files_of(workdir: pathlib.Path) -> set[str]:
    """Returns a workdir's files, except those that every start writes anew or that orbax names."""
    return {
        path.relative_to(workdir).as_posix()
        for path in workdir.rglob("*")
        if path.is_file() and not {"tensorboard", "state", "metadata"} & set(path.parts)
    }
