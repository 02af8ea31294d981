"""Time of saving a checkpoint, and the share of its checksums."""

import pathlib
import tempfile
from typing import Any

import jax

from experiments.benchmark import timing
from experiments.benchmark.compiled import CLASSES
from experiments.benchmark.rates import CONFIG, REPEATS
from experiments.benchmark.timing import Seconds
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts
from ioub_jax.workdirs import checkpoints, checksums, configuration


def saving_cost() -> dict[str, Any]:
    """Seconds of a checkpoint of the first step: until training continues, and until it is saved.

    The checksums are also timed alone; a save computes them before the training continues.
    """
    check_saving()
    config = CONFIG.value
    detector = training_parts.detector_of(config, CLASSES.value or 80)
    state = jax.block_until_ready(training_parts.trainer_of(config, detector).create_state())
    turns = [_one_save(state, configuration.to_dict(config)) for _ in range(REPEATS.value + 1)]
    turns = turns[1:]  # the first one loads libraries
    return {
        "arrays": len(jax.tree.leaves(state)),
        "MiB": round(sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 2**20, 1),
        "turns": len(turns),
        **{name: timing.of_turns([turn[name] for turn in turns]) for name in turns[0]},
        "checksums over the whole save": {
            "by wall time": timing.spread(
                [turn["checksums"].wall / turn["whole save"].wall for turn in turns]
            ),
            "by CPU time": timing.spread(
                [turn["checksums"].cpu / turn["whole save"].cpu for turn in turns]
            ),
        },
    }


def check_saving() -> str:
    """A line that describes what would be saved; raises `ConfigError` without a configuration."""
    if CONFIG.value is None:
        raise ConfigError("Give the configuration of the detector, --config=FILE.")
    return f"the state of a {CONFIG.value.model.name} of {CLASSES.value or 80} classes"


def _one_save(state: Any, config: dict[str, Any]) -> dict[str, Seconds]:
    with tempfile.TemporaryDirectory() as folder:
        saved = checkpoints.Checkpoints(pathlib.Path(folder))
        start = timing.now()
        checksums.checksums_of(state)
        summed = timing.now()
        saved.save_last(state, config)
        returned = timing.now()
        saved.close()
        whole = timing.now()
    return {
        "checksums": summed - start,
        "until training continues": returned - summed,
        "whole save": whole - summed,
    }
