"""Speed beside a peer: both do the same work in turns, in one run on one machine."""

import contextlib
import pathlib
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import flags

from experiments.benchmark import ours
from experiments.benchmark.compiled import BATCH, BOXES, CLASSES
from experiments.benchmark.rates import REPEATS, rounded, spread
from experiments.benchmark.workloads import Workload
from ioub_jax.training.configuration import ConfigError

_PEER = flags.DEFINE_enum("peer", "torchvision", ["torchvision"], "Who does the same work.")
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", ".venv-peers/bin/python", "The Python that has the peer; `make peers`."
)
_SIZE = flags.DEFINE_string("size", None, "Height and width of the images, as 256x320.")
_CANDIDATES = flags.DEFINE_integer("candidates", None, "Boxes of `nms` and `iou`.", lower_bound=1)

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# However short the work is, it is repeated for at least so long.
_LEAST_SECONDS = 3.0

#: What is measured, and how large the inputs are if no flag says otherwise.
_MEASUREMENTS: dict[str, tuple[Callable[[Workload], Callable[[], Any]], Workload]] = {
    "step": (ours.train_step, Workload(batch=4, height=256, width=256, classes=20, boxes=10)),
    "inference": (ours.inference, Workload(batch=4, height=256, width=256, classes=20, boxes=10)),
    "objective": (
        ours.objective,
        Workload(batch=2, height=800, width=1344, classes=80, boxes=10),
    ),
    "nms": (ours.nms, Workload(batch=1, height=800, width=1344, classes=80, boxes=1)),
    "iou": (
        ours.iou,
        Workload(batch=1, height=800, width=1344, classes=1, boxes=100, candidates=200_000),
    ),
}

NAMES = tuple(_MEASUREMENTS)


def compare(name: str) -> dict[str, Any]:
    """Seconds of one repetition, ours and the peer's, and their ratio.

    The two take turns, so that a machine that slows down slows both; a ratio is the peer's seconds
    over ours in one turn, so above 1 we are faster.
    """
    check_peer(name)
    make, default = _MEASUREMENTS[name]
    workload = _with_flags(default)
    work = make(workload)
    for _ in range(2):  # compile, and warm up
        jax.block_until_ready(work())
    turns: list[tuple[float, float]] = []
    with _peer(name, workload) as (description, ask):
        began = time.perf_counter()
        while len(turns) < REPEATS.value or time.perf_counter() - began < _LEAST_SECONDS:
            start = time.perf_counter()
            jax.block_until_ready(work())
            turns.append((time.perf_counter() - start, ask()))
    ratios = [theirs / own for own, theirs in turns]
    return {
        "peer": description,
        "workload": workload.arguments(),
        "turns": len(turns),
        "ours, seconds": rounded(statistics.median(own for own, _ in turns)),
        "peer, seconds": rounded(statistics.median(theirs for _, theirs in turns)),
        "times as fast as the peer": spread(ratios),
    }


def check_peer(name: str) -> str:
    """On what `compare` would work; raises `ConfigError` where there is no peer."""
    python = pathlib.Path(_PEER_PYTHON.value)
    if not python.exists():
        raise ConfigError(f"{python} does not exist; `make peers` makes the peers' environment.")
    workload = _with_flags(_MEASUREMENTS[name][1])
    return f"{' '.join(workload.arguments())}, beside {_PEER.value} of {python}"


def _with_flags(default: Workload) -> Workload:
    height, width = default.height, default.width
    if _SIZE.value is not None:
        try:
            height, width = map(int, _SIZE.value.split("x"))
        except ValueError:
            raise ConfigError(
                f"--size={_SIZE.value} is no height and width; write it as 256x320."
            ) from None
    return Workload(
        batch=BATCH.value or default.batch,
        height=height,
        width=width,
        classes=CLASSES.value or default.classes,
        boxes=BOXES.value or default.boxes,
        candidates=_CANDIDATES.value or default.candidates,
    )


@contextlib.contextmanager
def _peer(name: str, workload: Workload) -> Iterator[tuple[str, Callable[[], float]]]:
    """The peer's versions, and what lets it do its work once and gives the seconds."""
    python = pathlib.Path(_PEER_PYTHON.value)
    module = f"experiments.benchmark.{_PEER.value}_peer"
    process = subprocess.Popen(
        [python.absolute(), "-m", module, name, *workload.arguments()],
        cwd=_ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def read() -> str:
        line = process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise ConfigError(f"{module} ended; what it said is above.")
        return line.strip()

    def ask() -> float:
        print(file=process.stdin, flush=True)
        return float(read())

    try:
        yield read().removeprefix("ready "), ask
    finally:
        process.stdin.close()
        process.wait()
