"""Two trainings of one configuration, of which one is killed again and again, and their bits."""

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

#: Of the whole time: for measuring how fast it trains, and for the run that nobody kills. The
#: killed one does the same work, starts again and again, and does some of it twice.
_MEASURING, _WHOLE = 0.1, 0.35
#: What differs between runs of the same bits.
_TIMES = {"seconds", "images_per_second", "data_wait_share", "checkpoint_wait_share"}
#: More than this, of the middle third of the uninterrupted run, is growth.
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
      minutes: about how long all of it shall take.
      kill_minutes: the mean of the random time from a start to its end by a signal.
      images: the length of both runs; None: what fits into the time, as measured.
      seed: of the kills; None for another one each time.

    Returns:
      what was seen, as JSON can hold it; `failures` has a sentence for each thing that must not be.

    Raises:
      ConfigError: there is something in the workdir, or the configuration cannot be trained.
    """
    if workdir.is_dir() and any(workdir.iterdir()):
        raise ConfigError(f"{workdir} is not empty; give another --workdir for the soak.")
    workdir.mkdir(parents=True, exist_ok=True)
    seed = random.randrange(2**32) if seed is None else seed
    began = time.monotonic()
    scratch = workdir / "temporary"
    scratch.mkdir()
    before, shared = os.environ.get("TMPDIR"), _shared_memory()
    os.environ["TMPDIR"] = str(scratch.absolute())  # to see what is left there
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
    """What lies in the memory that processes share, but for what other programs have there."""
    folder = pathlib.Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


# ------------------------------------------------------------------ the trainings


def _images_for(arguments: Sequence[str], workdir: pathlib.Path, minutes: float) -> int:
    """How many images a run takes for its part of the time, by the rate of its first minutes."""
    folder = workdir / "measured"
    flags = [*arguments, f"--workdir={folder}"]
    begun = starts.start(flags, workdir / "measured.log", "SIGTERM", 60 * minutes * _MEASURING)
    lines = _lines(folder, "train")
    rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
    if not begun.is_as_promised or not rates:
        raise ConfigError(
            f"The training had no rate after {begun.seconds:.0f} seconds, see "
            f"{workdir / 'measured.log'}; give more --minutes, or --images."
        )
    return int(float(np.median(rates)) * 60 * minutes * _WHOLE)


def _whole_run(flags: Sequence[str], workdir: pathlib.Path) -> Start:
    whole = starts.start([*flags, f"--workdir={workdir / 'whole'}"], workdir / "whole.log")
    if whole.exit_code:
        raise ConfigError(f"The training failed, see {workdir / 'whole.log'}.")
    return whole


def _killed_run(
    flags: Sequence[str], workdir: pathlib.Path, kill_minutes: float, rng: random.Random
) -> list[Start]:
    """Starts the run until it comes to its end; twice as long a patience lets it at last."""
    begun: list[Start] = []
    while not begun or begun[-1].ending:
        patience = 60 * kill_minutes * rng.uniform(0.1, 1.9) * 1.05 ** max(0, len(begun) - 100)
        log = workdir / f"start_{len(begun):04}.log"
        words = [*flags, f"--workdir={workdir / 'killed'}"]
        begun.append(starts.start(words, log, rng.choice(list(ENDINGS)), patience))
        if begun[-1].exit_code > 0:
            break  # it would fail for ever
        if begun[-1].is_as_promised and begun[-1].ending:
            log.unlink()
    return begun


# ------------------------------------------------------------------ what was seen


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
    """What of two workdirs is other than it would be had nothing happened."""
    differences = []
    for which in ("last", "best"):
        try:
            first, second = (_state_of(folder, which) for folder in (whole, killed))
        except ConfigError as error:  # there is none
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
        differences.append(f"one workdir alone has {sorted(sets[0] ^ sets[1])[:5]}")
    return differences


def _state_of(workdir: pathlib.Path, which: str) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its path, its step among them."""
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
    """The files of a workdir, but for those of which each start writes one, or orbax names."""
    return {
        path.relative_to(workdir).as_posix()
        for path in workdir.rglob("*")
        if path.is_file() and not {"tensorboard", "state", "metadata"} & set(path.parts)
    }
