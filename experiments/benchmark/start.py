"""Time of a start: `--help`, and a training until its first step, in new processes."""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from experiments.benchmark.compiled import CLASSES
from experiments.benchmark.rates import CONFIG, REPEATS
from experiments.benchmark.timing import rounded
from ioub_jax.errors import ConfigError

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# The model and the inputs of `step`.
_DEFAULT = (
    "--config=configs/torchvision.py:retinanet_resnet50_fpn,baseline",
    "--config.batch_size=4",
    "--config.evaluation.batch_size=4",
    "--config.data.canvases=((256,256),)",
    "--config.runtime.devices=1",
)


def start_cost() -> dict[str, Any]:
    """Seconds of `--help`, of a first start, and of later ones, which read its compiled programs.

    The CPU seconds are those of all threads; on a machine with other work, they vary less than the
    wall seconds. The phases of a start are listed; `beyond the step` is the whole start without one
    step.
    """
    check_start()
    helps = [_help() for _ in range(REPEATS.value)]
    with tempfile.TemporaryDirectory() as cache:
        first = _start(cache)
        again = [_start(cache) for _ in range(REPEATS.value)]
    return {
        "configuration": _configuration()[0].partition("=")[2],
        "turns": REPEATS.value,
        "help": _medians(helps),
        "first start": {name: _medians([each]) for name, each in first.items()},
        "second start": {name: _medians([turn[name] for turn in again]) for name in first},
    }


def check_start() -> str:
    """A line that describes what would be started.

    Raises:
      ConfigError: the flags of the configuration cannot be passed on.
    """
    if not _configuration():
        raise ConfigError("Write the configuration that is started as --config=FILE.")
    return f"--help, and {REPEATS.value + 1} starts of {' '.join(_configuration())}"


def _configuration() -> Sequence[str]:
    """Returns the flags of the training to start: those of this command, or else the default."""
    if CONFIG.value is None:
        return _DEFAULT
    return [word for word in sys.argv if word.startswith(("--config=", "--config."))]


def _help() -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    _run("experiments.train", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"CPU s": used, "wall s": time.time() - began}


def _start(cache: str) -> dict[str, dict[str, float]]:
    """Returns the CPU and wall seconds of every phase of one start."""
    output = _run(
        "experiments.benchmark.one_start",
        *_configuration(),
        f"--classes={CLASSES.value or 20}",
        f"--began={time.time()}",
        JAX_COMPILATION_CACHE_DIR=cache,
    )
    told = json.loads(output.splitlines()[-1])
    phases = told["phases"]
    step, beyond = {}, {}
    for unit in ("CPU s", "wall s"):
        step[unit] = min(each[unit] for each in told["later steps"])
        beyond[unit] = sum(each[unit] for each in phases.values()) - step[unit]
    peak = {"MiB": told["peak MiB"]}
    return {**phases, "a step": step, "beyond the step": beyond, "peak memory": peak}


def _run(*words: str, **environment: str) -> str:
    """Returns the output of one of our commands; its log is shown."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=_ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise ConfigError(f"{' '.join(words)} ended with exit code {done.returncode}.")
    return done.stdout


def _medians(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    return {unit: rounded(statistics.median(turn[unit] for turn in turns)) for unit in turns[0]}
