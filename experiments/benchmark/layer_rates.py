"""Every distinct convolution of the detector beside a peer's, to choose algorithms for a CPU.

The layers are the Flax modules that the model calls when it is traced, so the timed code is that of
the model, with its custom gradients.
"""

import collections
import contextlib
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmark import beside_peer, ours, timing, worker
from experiments.benchmark.rates import REPEATS
from experiments.benchmark.timing import Seconds
from experiments.benchmark.workloads import Workload
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts
from ioub_jax.training import train_state

_DIRECT = flags.DEFINE_bool(
    "direct", False, "For `layers`: also measure XLA's own convolution with its own gradients."
)

PARTS = ("forward", "by inputs", "by kernel")
# Shorter work is repeated within a turn.
_LEAST_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of one or several maps with one kernel, without its bias.

    Attributes:
      maps: the shapes `[B, H, W, C]` of its inputs.
      kernel: the shape of the kernel, `[k, k, C / groups, F]`.
      stride: the stride in both directions.
      groups: the number of groups of channels.
      dtype: the dtype of the computation.
      frozen: whether nothing is trained in this layer or below, so that it has no gradient.
    """

    maps: tuple[tuple[int, ...], ...]
    kernel: tuple[int, ...]
    stride: int
    groups: int
    dtype: str
    frozen: bool

    @property
    def name(self) -> str:
        """A name such as '3x3 (32 and 16, 256 to 180)': sides of the inputs, and channels."""
        sides = " and ".join(
            str(h) if h == w else f"{h}x{w}" for _, h, w, _ in dict.fromkeys(self.maps)
        )
        stride = "" if self.stride == 1 else f" stride {self.stride}"
        groups = "" if self.groups == 1 else f" in {self.groups} groups"
        channels = f"{self.maps[0][3]} to {self.kernel[3]}"
        frozen = " frozen" if self.frozen else ""
        return f"{self.kernel[0]}x{self.kernel[1]}{stride}{groups} ({sides}, {channels}){frozen}"

    @property
    def kind(self) -> str:
        """The kind of the convolution, by which the times are summed."""
        if self.kernel[0] == 1:
            return "1x1"
        return "3x3 stride 1" if (self.kernel[0], self.stride) == (3, 1) else "the rest"

    @property
    def gigaflops(self) -> float:
        """Billions of operations of one of the three parts, in a direct convolution."""
        places = sum(
            batch * -(-height // self.stride) * -(-width // self.stride)
            for batch, height, width, _ in self.maps
        )
        return 2e-9 * places * math.prod(self.kernel)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that a training needs."""
        return PARTS[:1] if self.frozen else PARTS

    def ask(self, part: str, times: int) -> str:
        """The request to a peer to run a part."""
        return json.dumps(dataclasses.asdict(self) | {"part": part, "times": times})


def layers_of(workload: Workload) -> dict[Layer, tuple[nn.Module, int]]:
    """The distinct convolutions of the detector: a module of each, and their number.

    Nothing is computed: the model is traced with shapes only.
    """
    config = ours.configuration(workload)
    detector = training_parts.detector_of(config, workload.classes)
    model, variables = detector.network, detector.abstract_variables
    frozen = train_state.frozen_parameters(variables["params"], config.model.frozen_stages)
    modules: dict[Layer, nn.Module] = {}
    counts: collections.Counter[Layer] = collections.Counter()

    def intercept(
        called: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        result = called(*arguments, **keywords)
        module = context.module
        kernel: Any = module.variables.get("params", {}).get("kernel")
        if context.method_name == "__call__" and kernel is not None and kernel.ndim == 4:
            maps, outputs = jax.tree.leaves(arguments[0]), jax.tree.leaves(result)
            is_frozen = frozen
            for name in (*module.path, "kernel"):
                is_frozen = is_frozen[name]
            layer = Layer(
                maps=tuple(x.shape for x in maps),
                kernel=kernel.shape,
                stride=_stride(maps[0].shape, outputs[0].shape),
                groups=maps[0].shape[3] // kernel.shape[2],
                dtype=str(outputs[0].dtype),
                frozen=is_frozen,
            )
            modules.setdefault(layer, module.clone(parent=None, name=None))
            counts[layer] += 1
        return result

    images = jax.ShapeDtypeStruct((workload.batch, workload.height, workload.width, 3), jnp.uint8)
    with nn.intercept_methods(intercept):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images)
    return {layer: (module, counts[layer]) for layer, module in modules.items()}


def _stride(inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
    """Returns the stride of `[B, H, W, C]` -> `[B, ceil(H/stride), ceil(W/stride), F]`.

    If one side is 1, only the other one determines the stride; if both are, all strides are equal.
    """
    return max(-(-a // b) for a, b in zip(inputs[1:3], outputs[1:3], strict=True))


def layer_rates() -> dict[str, Any]:
    """Seconds and GFLOP/s of every layer and part, ours and the peer's, and the sums by kind.

    `GFLOP/s` are the operations of a direct convolution per CPU second, even if an algorithm needs
    fewer. A ratio is the peer's seconds divided by ours: above 1, we are faster.
    """
    check_layers()
    workload = beside_peer.with_flags("step")
    rows = []
    with contextlib.ExitStack() as stack:
        peer = _peer(stack, workload)
        for layer, (module, count) in layers_of(workload).items():
            parts = {part: _times(layer, part, module, peer) for part in layer.parts}
            rows.append((layer, count, parts))
    return {
        "workload": workload.arguments(),
        "peer": None if peer is None else peer.what,
        "turns": REPEATS.value,
        "layers": [_row(*row) for row in rows],
        "sums over the step": _sums(rows),
        "markdown": _table(rows),
    }


def check_layers() -> str:
    """A line that describes the layers to time; raises `ConfigError` if there is no peer."""
    workload = beside_peer.with_flags("step")
    if beside_peer.PEER.value != "none":
        beside_peer.check_peer("step")
    found = layers_of(workload)
    count = sum(count for _, count in found.values())
    return f"{len(found)} distinct convolutions of {count}, {' '.join(workload.arguments())}"


def _peer(stack: contextlib.ExitStack, workload: Workload) -> worker.Worker | None:
    if beside_peer.PEER.value == "none":
        return None
    try:
        return stack.enter_context(beside_peer.peer("layers", workload))
    except worker.WorkerError as error:
        raise ConfigError(str(error)) from error


def _times(
    layer: Layer, part: str, module: nn.Module, peer: worker.Worker | None
) -> dict[str, list[Seconds]]:
    """Returns the seconds of one repetition in every turn, for each side that runs the part."""
    works = {"ours": _work(layer, part, _by_module(layer, module))}
    if _DIRECT.value:
        works["direct"] = _work(layer, part, _directly(layer))
    for work in works.values():
        work()  # compile
    start = timing.now()
    works["ours"]()
    times = math.ceil(_LEAST_SECONDS / max((timing.now() - start).wall, 1e-6))
    turns: dict[str, list[Seconds]] = {name: [] for name in works}
    if peer is not None:
        peer.turn(layer.ask(part, 1))  # warm up
        turns["peer"] = []
    for _ in range(REPEATS.value):
        for name, work in works.items():
            start = timing.now()
            for _ in range(times):
                work()
            turns[name].append(_divided(timing.now() - start, times))
        if peer is not None:
            turns["peer"].append(_divided(peer.turn(layer.ask(part, times)), times))
    return turns


def _divided(spent: Seconds, times: int) -> Seconds:
    return Seconds(spent.wall / times, spent.cpu / times)


_Convolve = Callable[[Any, Any], Any]


def _by_module(layer: Layer, module: nn.Module) -> _Convolve:
    """Returns the convolution as the model runs it."""
    without_bias = module.clone(use_bias=False) if hasattr(module, "use_bias") else module
    takes_one = len(layer.maps) == 1

    def convolve(kernel: Any, maps: Any) -> Any:
        return without_bias.apply({"params": {"kernel": kernel}}, maps[0] if takes_one else maps)

    return convolve


def _directly(layer: Layer) -> _Convolve:
    """Returns the convolution by XLA directly."""
    padding = [(layer.kernel[0] // 2,) * 2, (layer.kernel[1] // 2,) * 2]

    def convolve(kernel: Any, maps: Any) -> Any:
        return tuple(
            jax.lax.conv_general_dilated(
                x,
                kernel.astype(x.dtype),
                (layer.stride,) * 2,
                padding,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=layer.groups,
            )
            for x in maps
        )

    return convolve


def _work(layer: Layer, part: str, convolve: _Convolve) -> Callable[[], Any]:
    """Returns a function that runs one repetition of a part."""
    rng = np.random.default_rng(0)

    def random(shape: tuple[int, ...], dtype: Any = layer.dtype) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32), dtype)

    kernel = random(layer.kernel, jnp.float32)  # like the parameters
    maps = tuple(random(shape) for shape in layer.maps)
    if part == "forward":
        forward = jax.jit(convolve)
        return lambda: jax.block_until_ready(forward(kernel, maps))
    gradients = jax.tree.map(lambda y: random(y.shape), jax.eval_shape(convolve, kernel, maps))
    which = {"by kernel": 0, "by inputs": 1}[part]

    @jax.jit
    def gradient(kernel: Any, maps: Any, gradients: Any) -> Any:
        return jax.vjp(convolve, kernel, maps)[1](gradients)[which]

    return lambda: jax.block_until_ready(gradient(kernel, maps, gradients))


_Row = tuple[Layer, int, dict[str, dict[str, list[Seconds]]]]


def _median(turns: list[Seconds]) -> float:
    return timing.spread([turn.cpu for turn in turns])["median"]


def _row(layer: Layer, count: int, parts: dict[str, dict[str, list[Seconds]]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer": layer.name,
        **dataclasses.asdict(layer),
        "times": count,
        "GFLOP": timing.rounded(layer.gigaflops),
    }
    for part, turns in parts.items():
        row[part] = {
            name: timing.of_turns(of_side)
            | {"GFLOP/s": timing.rounded(layer.gigaflops / max(_median(of_side), 1e-9))}
            for name, of_side in turns.items()
        }
        if "peer" in turns:
            row[part]["times as fast as the peer"] = timing.times_as_fast(
                turns["ours"], turns["peer"]
            )
    return row


def _sums(rows: list[_Row]) -> dict[str, Any]:
    """Returns GFLOP and the sums of the median CPU seconds, by kind and part."""
    sums: dict[str, Any] = {}
    for layer, count, parts in rows:
        for kind in (layer.kind, "all"):
            for part, turns in parts.items():
                of_part = sums.setdefault(kind, {}).setdefault(part, collections.Counter())
                of_part["GFLOP"] += count * layer.gigaflops
                for name, of_side in turns.items():
                    of_part[f"{name}, CPU s"] += count * _median(of_side)
    return {
        kind: {
            part: {key: timing.rounded(value) for key, value in values.items()}
            for part, values in of_kind.items()
        }
        for kind, of_kind in sums.items()
    }


def _table(rows: list[_Row]) -> list[str]:
    """Returns two Markdown tables: the layers with CPU GFLOP/s, and the sums with CPU seconds."""
    sides = list(rows[0][2]["forward"])
    titles = {"ours": "ours", "direct": "direct by XLA", "peer": "peer"}
    others = [side for side in sides if side != "ours"]
    lines = [
        "| Layer | Times | "
        + " | ".join(f"{titles[side]}, CPU GFLOP/s: f / dx / dw" for side in sides)
        + "".join(f" | {titles[side]}'s time over ours" for side in others)
        + " |",
        "|---" * (2 + len(sides) + len(others)) + "|",
    ]
    for layer, count, parts in rows:
        rates = [
            " / ".join(f"{layer.gigaflops / _median(turns[side]):.3g}" for turns in parts.values())
            for side in sides
        ]
        ratios = [
            " / ".join(f"{_median(t[side]) / _median(t['ours']):.2f}" for t in parts.values())
            for side in others
        ]
        lines.append(f"| {' | '.join([layer.name, str(count), *rates, *ratios])} |")
    lines += [
        "",
        "| Sums over the step: f / dx / dw | GFLOP | "
        + " | ".join(f"{titles[side]}, CPU s" for side in sides)
        + " |",
        "|---" * (2 + len(sides)) + "|",
    ]
    for kind, of_parts in sorted(_sums(rows).items(), key=lambda item: item[0] == "all"):
        columns = [
            " / ".join(f"{values[key]:.3g}" for values in of_parts.values())
            for key in ("GFLOP", *(f"{side}, CPU s" for side in sides))
        ]
        lines.append(f"| {' | '.join([kind, *columns])} |")
    return lines
