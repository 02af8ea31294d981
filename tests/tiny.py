"""The smallest configuration that trains, and how the tests run commands with it."""

import atexit
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import ml_collections

from configs import shapes_retinanet
from ioub_jax import building

ROOT = pathlib.Path(__file__).resolve().parents[1]


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """Six steps an epoch of 64-pixel images, 24 steps in all."""
    config = shapes_retinanet.get_config(arm)
    config.batch_size = 8
    config.model.width = 4
    config.model.fpn.update({"channels": 8, "norm": "none"})
    config.model.head.update({"width": 8, "depth": 1, "norm": "none"})
    config.data.canvases = ((64, 64),)
    config.data.shapes.update({"num_train": 50, "num_val": 12, "image_size": (64, 64)})
    config.loss.calibration_batches = 2
    config.schedule.update({"images": 24 * 8, "warmup_images": 8})
    # After so few steps no score is far above the prior probability.
    config.evaluation.update({"every_images": 12 * 8, "batch_size": 8, "score_threshold": 0.0})
    config.evaluation.metrics = ("coco", "voc")
    config.evaluation.pictures = 0
    config.runtime.update({"log_every_steps": 1, "checkpoint_every_images": 5 * 8, "devices": 1})
    return config


def train_two_steps(
    workdir: pathlib.Path, canvases: tuple[tuple[int, int], ...] = ((64, 64),)
) -> pathlib.Path:
    """A finished run with a checkpoint, for tests of what comes after a training.

    Every process trains it once and copies it from then on.
    """
    return shutil.copytree(_two_steps(canvases), workdir, dirs_exist_ok=True)


@functools.cache
def _two_steps(canvases: tuple[tuple[int, int], ...]) -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="two_steps"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = get_config()
    config.data.canvases = canvases
    config.schedule.images = config.evaluation.every_images = 2 * config.batch_size
    building.train_and_evaluate(config, folder / "run")
    return folder / "run"


def start(verb: str, *arguments: object, devices: int = 1) -> subprocess.Popen[str]:
    """Starts `python -m experiments.VERB` as a user would, in a process group of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment["JAX_NUM_CPU_DEVICES"] = str(devices)
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{verb}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(verb: str, *arguments: object) -> tuple[int, str]:
    """Runs a command to its end; gives its exit code and what it printed."""
    process = start(verb, *arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def train_arguments(workdir: pathlib.Path, *overrides: str) -> list[str]:
    """The flags of `experiments.train` for the tiny configuration."""
    return [
        f"--config={pathlib.Path(__file__).relative_to(ROOT)}",
        f"--workdir={workdir}",
        *(f"--config.{override}" for override in overrides),
    ]
