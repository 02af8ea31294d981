"""How fast weights and images come in: timed, so compare the figures of one run with each other."""

import functools
import pathlib
import statistics
import time
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from configs import defaults
from experiments import command_line
from experiments.benchmark.compiled import BACKBONE
from ioub_jax import models
from ioub_jax.data import sources, throughput
from ioub_jax.data.checks import DataError
from ioub_jax.models import pretrained, vgg
from ioub_jax.training.configuration import ConfigError

CONFIG = command_line.define_config(required=False)
_BATCHES = flags.DEFINE_integer("batches", 8, "Batches of input, each time.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Times it is measured.", lower_bound=1)
_WEIGHTS = flags.DEFINE_string("weights", None, "File or name of a backbone or of a detector.")


def import_cost() -> dict[str, Any]:
    """Time and memory of reading a file of weights and of making our variables of them.

    The time ends with the variables on the device; it is the median of repeats, after one that the
    system has read the file for. The memory is the most that Python and numpy hold at once on the
    way to the device: most variables are views of the mapped file until then.
    """
    path = pretrained.find_weights(_weights())
    seconds = []
    for _ in range(REPEATS.value + 1):
        start = time.perf_counter()
        variables = jax.block_until_ready(jax.device_put(_import_weights(path)))
        seconds.append(time.perf_counter() - start)
    del variables
    tracemalloc.start()
    variables = _import_weights(path)
    _, peak = tracemalloc.get_traced_memory()
    return {
        "file MiB": round(path.stat().st_size / 2**20, 1),
        "variables MiB": round(sum(x.nbytes for x in jax.tree.leaves(variables)) / 2**20, 1),
        "seconds": round(statistics.median(seconds[1:]), 3),
        "peak MiB": round(peak / 2**20, 1),
    }


def check_weights() -> str:
    """What `import_cost` would read; raises `ConfigError` or `WeightsError` as it would."""
    path = pretrained.local_weights(_weights())
    return f"weights {path or f'{_weights()}, after a download'}"


def _weights() -> str:
    if _WEIGHTS.value is None:
        raise ConfigError("Say which weights, --weights=FILE.")
    return _WEIGHTS.value


def _import_weights(path: pathlib.Path) -> Any:
    """The variables of the detector in a file, or else of the backbone that a flag names."""
    state_dict = pretrained.read_state_dict(path)
    try:
        return pretrained.detector_of(state_dict, name=str(path)).variables
    except pretrained.WeightsError as not_a_detector:
        try:
            return pretrained.backbone_variables(
                state_dict, _backbone_template(), backbone=BACKBONE.value, name=str(path)
            )
        except pretrained.WeightsError as not_a_backbone:
            raise pretrained.WeightsError(
                f"Neither a detector ({not_a_detector}) nor a backbone ({not_a_backbone})"
            ) from None


@functools.cache
def _backbone_template() -> Any:
    config = defaults.get_config().model
    config.backbone = BACKBONE.value
    images = jnp.zeros((1, 64, 64, 3), jnp.float32)
    if config.backbone == "vgg16":
        return jax.eval_shape(lambda: vgg.VGG16().init(jax.random.key(0), images))
    backbone = models.create_backbone(config)
    return jax.eval_shape(lambda: backbone.init(jax.random.key(0), images, train=False))


def input_rates() -> dict[str, Any]:
    """Images/s of the input pipeline beside a bare loop of decoding and resizing.

    The bare loop and every pipeline take turns; a ratio is the median of those of each turn.
    """
    benchmark = _input_benchmark()
    turns = []
    for _ in range(REPEATS.value):
        turn = {"bare loop": benchmark.bare_loop()} | benchmark.stages()
        for workers in (0, 1, 2):
            whole = benchmark.whole_pipeline(workers)
            turn[f"pipeline, {workers} workers"] = whole["images/s"]
            turn[f"MiB a worker, {workers} workers"] = whole["MiB a worker"]
        turns.append(turn)
    one, two, bare = "pipeline, 1 workers", "pipeline, 2 workers", "bare loop"
    return {
        "images": len(benchmark),
        "images/s": {
            name: round(statistics.median(turn[name] for turn in turns), 1) for name in turns[0]
        },
        "one worker over the bare loop": _median_ratio(turns, one, bare),
        "two workers over one": _median_ratio(turns, two, one),
    }


def _input_benchmark() -> throughput.InputBenchmark:
    config = CONFIG.value
    if config is None:
        raise ConfigError("Give the configuration whose input is to be measured, --config=FILE.")
    source = sources.create_source(config.data, "train", config.matcher)
    try:
        return throughput.InputBenchmark(config, source, _BATCHES.value)
    except DataError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_input() -> str:
    """What `input_rates` would load; raises `ConfigError` or `DataError` as it would."""
    return f"{len(_input_benchmark()):,} images of data.source={CONFIG.value.data.source}"


def _median_ratio(turns: list[dict[str, float]], first: str, second: str) -> dict[str, float]:
    ratios = sorted(round(turn[first] / turn[second], 3) for turn in turns)
    return {"median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}
