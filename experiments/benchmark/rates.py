"""Rates of loading weights and images; they are timed, so compare figures only within a run."""

import functools
import pathlib
import statistics
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from experiments.benchmark import timing
from experiments.benchmark.compiled import BACKBONE
from ioub_jax import models, weights
from ioub_jax.commands import command_line
from ioub_jax.data import throughput
from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError, WeightsError
from ioub_jax.from_config import data_parts, sampling_parts
from ioub_jax.models import vgg

CONFIG = command_line.define_config(required=False)
_BATCHES = flags.DEFINE_integer("batches", 8, "Batches of input in each repetition.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Number of repetitions.", lower_bound=1)
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "File or name of the weights of a backbone or of a detector."
)


def import_cost() -> dict[str, Any]:
    """Time and memory of reading a file of weights and converting them to our variables.

    The time ends when the variables are on the device. It is the median of the repetitions after a
    first one, in which the system reads the file into its cache. The memory is the peak of Python
    and numpy on the way to the device; until then, most variables are views of the mapped file.
    """
    path = weights.find_weights(_weights())
    turns = []
    for _ in range(REPEATS.value + 1):
        start = timing.now()
        variables = jax.block_until_ready(jax.device_put(_import_weights(path)))
        turns.append(timing.now() - start)
    del variables
    tracemalloc.start()
    variables = _import_weights(path)
    _, peak = tracemalloc.get_traced_memory()
    return {
        "file MiB": round(path.stat().st_size / 2**20, 1),
        "variables MiB": round(sum(x.nbytes for x in jax.tree.leaves(variables)) / 2**20, 1),
        **timing.of_turns(turns[1:]),
        "peak MiB": round(peak / 2**20, 1),
    }


def check_weights() -> str:
    """A line that describes what `import_cost` would read; raises the same errors."""
    path = weights.local_weights(_weights())
    return f"weights {path or f'{_weights()}, after a download'}"


def _weights() -> str:
    if _WEIGHTS.value is None:
        raise ConfigError("Give the weights as --weights=FILE.")
    return _WEIGHTS.value


def _import_weights(path: pathlib.Path) -> Any:
    """Returns the variables of the detector in a file, or of the backbone that a flag names."""
    state_dict = weights.read_state_dict(path)
    try:
        return weights.detector_of(state_dict, name=str(path)).variables
    except WeightsError as not_a_detector:
        try:
            return weights.backbone_variables(
                state_dict, _backbone_template(), backbone=BACKBONE.value, name=str(path)
            )
        except WeightsError as not_a_backbone:
            raise WeightsError(
                f"Neither a detector ({not_a_detector}) nor a backbone ({not_a_backbone})"
            ) from None


@functools.cache
def _backbone_template() -> Any:
    images = jnp.zeros((1, 64, 64, 3), jnp.float32)
    if BACKBONE.value == "vgg16":
        return jax.eval_shape(lambda: vgg.VGG16().init(jax.random.key(0), images))
    backbone = models.create_backbone(BACKBONE.value)
    return jax.eval_shape(lambda: backbone.init(jax.random.key(0), images, train=False))


def input_rates() -> dict[str, Any]:
    """Images/s of the input pipeline, compared with a bare loop of decoding and resizing.

    The bare loop and every pipeline take turns; a ratio is the median of the ratios of the turns.
    On Linux, the CPU seconds include those of the workers.
    """
    benchmark = _input_benchmark()
    turns: list[dict[str, throughput.Rate]] = []
    memory: dict[str, float] = {}
    for _ in range(REPEATS.value):
        turn = {"bare loop": benchmark.bare_loop()} | benchmark.stages()
        for workers in (0, 1, 2):
            name = f"pipeline, {workers} workers"
            turn[name], mib = benchmark.whole_pipeline(workers)
            memory[name] = max(round(mib, 1), memory.get(name, 0.0))
        turns.append(turn)
    one, two, bare = "pipeline, 1 workers", "pipeline, 2 workers", "bare loop"
    return {
        "images": len(benchmark),
        "images/s": _medians(turns, "wall"),
        "images a CPU second": _medians(turns, "cpu"),
        "MiB a worker": memory,
        "one worker over the bare loop": _ratios(turns, one, bare),
        "two workers over one": _ratios(turns, two, one),
    }


def _medians(turns: list[dict[str, throughput.Rate]], by: str) -> dict[str, float]:
    return {
        name: round(statistics.median(getattr(turn[name], by) for turn in turns), 1)
        for name in turns[0]
    }


def _input_benchmark() -> throughput.InputBenchmark:
    config = CONFIG.value
    if config is None:
        raise ConfigError("Give the configuration whose input is to be measured, --config=FILE.")
    source = data_parts.open_split(config, "train")
    try:
        return sampling_parts.input_benchmark(config, source, _BATCHES.value)
    except DataError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_input() -> str:
    """A line that describes what `input_rates` would load; raises the same errors."""
    return f"{len(_input_benchmark()):,} images of data.source={CONFIG.value.data.source}"


def _ratios(
    turns: list[dict[str, throughput.Rate]], first: str, second: str
) -> dict[str, dict[str, float]]:
    return {
        name: timing.spread([getattr(t[first], by) / getattr(t[second], by) for t in turns])
        for name, by in (("by wall time", "wall"), ("by CPU time", "cpu"))
    }
