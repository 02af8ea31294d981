"""Seconds of a train step with each loss of the league, and of each family, in turns.

A step of the baseline and one of the other side alternate in one process, so that a machine that
slows down slows both. The figures are ratios: above 1, a step takes longer than the baseline's.
"""

import json
import statistics
import sys
from collections.abc import Mapping
from typing import Any

import ml_collections

from configs import shapes_dense
from experiments.benchmark import compiled, loss_arms, timing
from experiments.benchmark.ours import Program
from experiments.benchmark.rates import CONFIG, REPEATS
from ioub_jax import building
from ioub_jax.errors import ConfigError
from ioub_jax.training import start

#: Steps in one turn.
_STEPS = 4


def arm_times() -> dict[str, Any]:
    """The step of every arm of the league beside that of --config, for the same batch.

    Raises:
      ConfigError: there is no configuration, or `--losses` names an unknown arm.
    """
    check_arms()
    configs = {}
    for arm in compiled.LOSSES.value or loss_arms.ALL:
        config = CONFIG.value.copy_and_resolve_references()
        config.loss.update_from_flattened_dict(dict(loss_arms.ALL[arm]))
        configs[arm] = config
    return _times(configs)


def family_times() -> dict[str, Any]:
    """The step of every small dense detector of `shapes_dense` beside that of --config.

    The flops are those that XLA counts, so that a ratio of times can be compared with that of the
    work.

    Raises:
      ConfigError: there is no configuration.
    """
    check_families()
    return _times(
        {name: shapes_dense.get_config(f"{name},baseline") for name in shapes_dense.DETECTORS}
    )


def check_arms() -> str:
    """A line that describes the measurement; raises `ConfigError` for an unknown arm."""
    compiled.check_arms()
    return _described(len(compiled.LOSSES.value or loss_arms.ALL))


def check_families() -> str:
    """A line that describes the measurement; raises `ConfigError` without a configuration."""
    return _described(len(shapes_dense.DETECTORS))


def _described(count: int) -> str:
    if CONFIG.value is None:
        raise ConfigError("Give the configuration of the baseline, --config=FILE.")
    name = CONFIG.value.model.name
    return f"{count} train steps, each in {REPEATS.value} turns with that of a {name}"


def _times(configs: Mapping[str, ml_collections.ConfigDict]) -> dict[str, Any]:
    baseline = CONFIG.value
    plain = _program_of(baseline)
    flops, least = plain.flops, []
    result: dict[str, Any] = {"batch size": baseline.batch_size, "steps a turn": _STEPS}
    for name, config in configs.items():
        other = _program_of(config)
        turns = [(_turn(plain), _turn(other)) for _ in range(REPEATS.value)]
        result[name] = {
            "wall": timing.spread([theirs.wall / own.wall for own, theirs in turns]),
            "CPU": timing.spread([theirs.cpu / own.cpu for own, theirs in turns]),
            "flops": timing.rounded(other.flops / flops),
        }
        least.append(min(own.wall for own, _ in turns) / _STEPS)
        # All arms take half an hour, so each result is printed at once.
        print(f"{name}: {json.dumps(result[name])}", file=sys.stderr, flush=True)
    result["baseline, s a step"] = timing.rounded(statistics.median(least))
    return result


def _program_of(config: ml_collections.ConfigDict) -> Program:
    """Returns the compiled train step with the first batch, after one step."""
    experiment = building.build(config)
    state = start.new_state(experiment)
    with experiment.training_batches(0, 1) as batches:
        inputs = experiment.detector.on_devices(next(iter(batches)))
    program = Program(experiment.trainer.train_step, state, *inputs, carries=True)
    program.compile()
    return program


def _turn(program: Program) -> timing.Seconds:
    began = timing.now()
    for _ in range(_STEPS):
        program()
    return timing.now() - began
