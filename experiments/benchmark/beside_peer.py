"""Speed compared with a peer: both do the same work in turns, within one run on one machine."""

import pathlib
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from absl import flags

from experiments.benchmark import timing, worker
from experiments.benchmark.compiled import BATCH, BOXES, CLASSES
from experiments.benchmark.rates import REPEATS
from experiments.benchmark.workloads import ARCHITECTURES, SIZES, Workload
from ioub_jax.errors import ConfigError

PEER = flags.DEFINE_enum(
    "peer",
    "torchvision",
    ["torchvision", "none"],
    "The peer that does the same work; `layers` and `gpu` work without one.",
)
PEER_PYTHON = flags.DEFINE_string(
    "peer_python", ".venv-peers/bin/python", "The Python that has the peer, from `make peers`."
)
_SIZE = flags.DEFINE_string("size", None, "Height and width of the images, such as 256x320.")
_CANDIDATES = flags.DEFINE_integer("candidates", None, "Boxes of `nms` and `iou`.", lower_bound=1)

_ARM = flags.DEFINE_string(
    "arm", "baseline", "Losses of `step` and `objective`; `baseline` has those of torchvision."
)
_DETECTOR = flags.DEFINE_enum(
    "detector", "retinanet", list(ARCHITECTURES), "Detector of `step`, `inference` and `compile`."
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "Data type of `step`, `inference` and `objective`; a peer uses its autocast for bfloat16.",
)

# Short work is repeated for at least this long.
_LEAST_SECONDS = 3.0

#: The measurements, with the default sizes of their inputs.
_MEASUREMENTS = {
    "step": Workload(batch=4, height=256, width=256, classes=20, boxes=10),
    "inference": Workload(batch=4, height=256, width=256, classes=20, boxes=10),
    "objective": Workload(batch=2, height=800, width=1344, classes=80, boxes=10),
    "nms": Workload(batch=1, height=800, width=1344, classes=80, boxes=1),
    "iou": Workload(batch=1, height=800, width=1344, classes=1, boxes=100, candidates=200_000),
}
# Measurements that include convolutions, or their outputs.
_IN_BFLOAT16 = ("step", "inference", "objective")
_OF_A_DETECTOR = ("step", "inference")

NAMES = tuple(_MEASUREMENTS)


def compare(name: str) -> dict[str, Any]:
    """Seconds of one repetition, ours and the peer's, their ratios, and the memory of both.

    The two take turns, so that a machine that slows down slows both. A ratio is the peer's seconds
    divided by ours in one turn: above 1, we are faster. Each side is a separate process; its memory
    is the peak over its life, imports and compilation included.
    """
    check_peer(name)
    workload = with_flags(name)
    turns: list[tuple[timing.Seconds, timing.Seconds]] = []
    try:
        with _ours(name, workload) as ours, peer(name, workload) as other:
            ours.turn(), other.turn()  # warm up
            began = time.perf_counter()
            while len(turns) < REPEATS.value or time.perf_counter() - began < _LEAST_SECONDS:
                turns.append((ours.turn(), other.turn()))
            peak, peers_peak = ours.peak_mib(), other.peak_mib()
    except worker.WorkerError as error:
        raise ConfigError(str(error)) from error
    own, theirs = zip(*turns, strict=True)
    result = {
        "workload": workload.arguments(),
        "turns": len(turns),
        "ours": _side(ours, own, peak),
        "peer": _side(other, theirs, peers_peak),
        "times as fast as the peer": timing.times_as_fast(own, theirs),
    }
    if peak and peers_peak:
        result["peak memory over the peer's"] = timing.rounded(peak / peers_peak)
    return result


def _side(
    side: worker.Worker, turns: Sequence[timing.Seconds], peak: float | None
) -> dict[str, Any]:
    before = {"before the first turn": side.before}
    return {"is": side.what, **timing.of_turns(turns), "peak, MiB": peak} | before


def check_peer(name: str) -> str:
    """A line that describes the work of `compare`; raises `ConfigError` if there is no peer."""
    python = pathlib.Path(PEER_PYTHON.value)
    if PEER.value == "none":
        raise ConfigError(f"--peer=none: {name} has nothing to compare with.")
    if not python.exists():
        raise ConfigError(f"{python} does not exist; `make peers` makes the peers' environment.")
    return f"{' '.join(with_flags(name).arguments())}, beside {PEER.value} of {python}"


def compile_cost() -> dict[str, Any]:
    """Cost of our train step until the end of its first run, part by part, without a cache."""
    workload = with_flags("step")
    parts: dict[str, list[dict[str, float]]] = {}
    try:
        for _ in range(REPEATS.value):
            with _ours("step", workload) as ours:
                what = ours.what
                for name, figures in ours.before.items():
                    parts.setdefault(name, []).append(figures)
    except worker.WorkerError as error:
        raise ConfigError(str(error)) from error
    return {
        "ours": what,
        "workload": workload.arguments(),
        "turns": REPEATS.value,
        **{
            name: {key: timing.spread([turn[key] for turn in turns]) for key in turns[0]}
            for name, turns in parts.items()
        },
    }


def check_compile() -> str:
    """A line that describes what `compile_cost` would compile."""
    return f"the train step, {' '.join(with_flags('step').arguments())}"


def with_flags(name: str, default: Workload | None = None) -> Workload:
    """The inputs of a measurement from the flags, or from `default` if they are not set."""
    if _DTYPE.value != "float32" and name not in _IN_BFLOAT16:
        raise ConfigError(f"--dtype={_DTYPE.value} is of {', '.join(_IN_BFLOAT16)}, not of {name}.")
    if _DETECTOR.value != "retinanet" and name not in _OF_A_DETECTOR:
        raise ConfigError(
            f"--detector={_DETECTOR.value} is of {', '.join(_OF_A_DETECTOR)}, not of {name}."
        )
    default = default or _MEASUREMENTS[name]
    only_size = SIZES.get(_DETECTOR.value)
    height, width = only_size or (default.height, default.width)
    if _SIZE.value is not None:
        try:
            height, width = map(int, _SIZE.value.split("x"))
        except ValueError:
            raise ConfigError(
                f"--size={_SIZE.value} is not a height and width; write it as 256x320."
            ) from None
    if only_size and (height, width) != only_size:
        raise ConfigError(
            f"--size={_SIZE.value}: --detector={_DETECTOR.value} only takes images of "
            f"{only_size[0]}x{only_size[1]}; leave the flag out."
        )
    return Workload(
        batch=BATCH.value or default.batch,
        height=height,
        width=width,
        classes=CLASSES.value or default.classes,
        boxes=BOXES.value or default.boxes,
        candidates=_CANDIDATES.value or default.candidates,
        detector=_DETECTOR.value,
        dtype=_DTYPE.value,
        arm=_ARM.value,
    )


def _ours(name: str, workload: Workload) -> AbstractContextManager[worker.Worker]:
    arguments = [name, *workload.arguments()]
    return worker.started(
        pathlib.Path(sys.executable), "experiments.benchmark.our_worker", arguments
    )


def peer(name: str, workload: Workload) -> AbstractContextManager[worker.Worker]:
    """The peer that `--peer` names, started for a measurement."""
    module = f"experiments.benchmark.{PEER.value}_peer"
    return worker.started(pathlib.Path(PEER_PYTHON.value), module, [name, *workload.arguments()])
