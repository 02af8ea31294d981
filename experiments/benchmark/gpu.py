"""All measurements on an NVIDIA card within some minutes, beside torchvision.

Every row is a separate process with its own time limit. The most important rows come first; rows
for which the time does not suffice are skipped and listed. A row is written as soon as it is
available, and a second run with the same folder continues with the missing rows.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.benchmark import beside_peer, timing, worker
from experiments.benchmark.rates import REPEATS
from experiments.benchmark.workloads import Workload
from ioub_jax import files
from ioub_jax.errors import ConfigError

_MINUTES = flags.DEFINE_float("minutes", 8.0, "Time limit of `gpu` in minutes.", lower_bound=0.0)
_FOLDER = flags.DEFINE_string("folder", "runs/gpu", "Folder for the results of `gpu`.")
_PLATFORM = flags.DEFINE_enum(
    "platform", "cuda", ["cuda", "cpu"], "Platform of `gpu`; cpu only checks that all rows run."
)
_ROW_SECONDS = flags.DEFINE_float(
    "row_seconds", 170.0, "Seconds after which a row of `gpu` is killed.", lower_bound=1.0
)

_DEFAULT = Workload(
    batch=8, height=800, width=1344, classes=80, boxes=10, dtype="bfloat16", device="cuda"
)
# No row is started if less time is left.
_LEAST_SECONDS_OF_A_ROW = 15.0
# Short work is repeated for at least this long.
_LEAST_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement in a separate process.

    Attributes:
      name: its name in the table.
      side: 'ours' or 'torch'.
      measurement: `step`, `inference` or `objective`.
      changes: its changes to the workload.
      traced: whether a profile is written, too.
    """

    name: str
    side: str
    measurement: str
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    traced: bool = False


_EAGER, _COMPILED = {"compiled": 0}, {"compiled": 1}
#: The rows in the order of their importance.
ROWS = (
    Row("step, ours", "ours", "step"),
    Row("step, torch.compile", "torch", "step", _COMPILED),
    Row("inference, ours", "ours", "inference"),
    Row("inference, torch.compile", "torch", "inference", _COMPILED),
    Row("step, torch eager", "torch", "step", _EAGER),
    Row("inference, torch eager", "torch", "inference", _EAGER),
    Row("objective, ours", "ours", "objective"),
    Row("step, ours, both IoU-balanced losses", "ours", "step", {"arm": "both"}),
    Row("step, ours, activations rematerialized", "ours", "step", {"rematerialize": "activations"}),
    Row("step, ours, traced", "ours", "step", traced=True),
    Row("step, torch.compile, again", "torch", "step", _COMPILED),
    Row("step, ours, again", "ours", "step"),
    Row("objective, torch eager", "torch", "objective", _EAGER),
    Row("objective, ours, both IoU-balanced losses", "ours", "objective", {"arm": "both"}),
    Row("step, ours, blocks rematerialized", "ours", "step", {"rematerialize": "blocks"}),
)


def gpu_rates() -> dict[str, Any]:
    """All rows for which the time suffices, and the table; see the module."""
    check_gpu()
    ends = time.monotonic() + 60.0 * _MINUTES.value
    results = Results(pathlib.Path(_FOLDER.value), _about())
    for row in _rows():
        if "images/s" in results.rows.get(row.name, {}):
            continue
        left = ends - time.monotonic()
        if left < _LEAST_SECONDS_OF_A_ROW:
            reason = f"{_MINUTES.value:g} minutes did not suffice (--minutes)"
            results.add(row.name, {"dropped": reason})
        else:
            results.add(row.name, _measured(row, min(left, _ROW_SECONDS.value)))
    table = _table(results)
    files.write_text(results.folder / "table.md", "\n".join(table) + "\n")
    return {"written": str(results.folder), **results.about, "rows": results.rows} | {
        "markdown": table
    }


def check_gpu() -> str:
    """A line that describes what would run; raises `ConfigError` without a card or the peer."""
    if beside_peer.PEER.value != "none":
        beside_peer.check_peer("step")
    if _PLATFORM.value == "cuda" and not _card():
        raise ConfigError(
            "nvidia-smi finds no card; --platform=cpu with --size=64x64 --batch=1 checks that "
            "everything runs."
        )
    folder = pathlib.Path(_FOLDER.value)
    files.check_can_write(folder)
    about = Results(folder, _about())
    missing = [row.name for row in _rows() if "images/s" not in about.rows.get(row.name, {})]
    return (
        f"{len(missing)} rows in at most {_MINUTES.value:g} minutes, into {folder}, "
        f"{' '.join(_workload().arguments())}: {'; '.join(missing)}"
    )


def _rows() -> list[Row]:
    return [row for row in ROWS if row.side == "ours" or beside_peer.PEER.value != "none"]


def _workload() -> Workload:
    return dataclasses.replace(
        beside_peer.with_flags("step", _DEFAULT),
        dtype=_DEFAULT.dtype,
        device=_PLATFORM.value,
        cache=str(pathlib.Path(_FOLDER.value).absolute() / "compiled"),
    )


# ------------------------------------------------------------------ stored results


class Results:
    """The rows so far, in a file to which each adds a line.

    Args:
      folder: the folder of `rows.jsonl`.
      about: a description of the machine and the workload of the rows.

    Attributes:
      folder: the folder.
      about: the description.
      rows: name of a row -> its last result.

    Raises:
      ConfigError: the folder has rows with another description.
    """

    def __init__(self, folder: pathlib.Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.rows: dict[str, dict[str, Any]] = {}
        self._path = folder / "rows.jsonl"
        for line in self._lines():
            if "workload" not in line:
                self.rows[line.pop("row")] = line
            elif line["workload"] != about["workload"] or line["card"] != about["card"]:
                raise ConfigError(
                    f"{self._path} has rows of another workload or card: give another --folder."
                )

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = []
        for line in self._path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line, if the machine went down
                lines.append(json.loads(line))
        return lines

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Stores a row, and waits until it is on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.exists()
        self.rows[name] = found
        with self._path.open("a") as file:
            for line in [self.about] * is_new + [{"row": name} | found]:
                file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _about() -> dict[str, Any]:
    return {
        "workload": dataclasses.replace(_workload(), cache="").arguments(),
        "card": _card() if _PLATFORM.value == "cuda" else "none: the CPU",
    }


_OF_A_CARD = ("name", "driver_version", "memory.total", "clocks.max.sm", "power.limit")
_OF_A_MOMENT = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")


@functools.cache
def _card() -> str:
    """Returns name, driver, memory, maximum clock and power of the first card, or ''."""
    return _nvidia_smi(_OF_A_CARD)


def _nvidia_smi(what: Sequence[str]) -> str:
    command = ["nvidia-smi", f"--query-gpu={','.join(what)}", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.partition("\n")[0].strip()


# ------------------------------------------------------------------ measuring


def _measured(row: Row, seconds: float) -> dict[str, Any]:
    """Returns the result of a row's process, or the reason for its failure."""
    folder = pathlib.Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"errors of {row.name}.txt"
    began = time.monotonic()
    try:
        with path.open("w+") as errors, _started(row, seconds, errors) as process:
            found = _turns(row, process)
    except worker.WorkerError:
        if time.monotonic() - began >= seconds:
            return {"failed": f"it did not end within {seconds:.0f} s"}
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        return {"failed": lines[-1].strip()[:300] if lines else "it ended without any output"}
    path.unlink()
    return found


def _started(row: Row, seconds: float, errors: Any) -> Any:
    workload = dataclasses.replace(_workload(), **row.changes)
    arguments = [row.measurement, *workload.arguments()]
    if row.side == "ours":
        python, module = sys.executable, "experiments.benchmark.our_worker"
    else:
        python, module = beside_peer.PEER_PYTHON.value, "experiments.benchmark.torchvision_peer"
    environment = {"TORCHINDUCTOR_CACHE_DIR": workload.cache}
    if _PLATFORM.value == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    return worker.started(
        pathlib.Path(python),
        module,
        arguments,
        environment=environment,
        seconds=seconds,
        errors=errors,
    )


def _turns(row: Row, process: worker.Worker) -> dict[str, Any]:
    for _ in range(2):  # warm up
        process.turn()
    turns: list[timing.Seconds] = []
    began = time.monotonic()
    while len(turns) < REPEATS.value or time.monotonic() - began < _LEAST_SECONDS:
        turns.append(process.turn())
    moment = _nvidia_smi(_OF_A_MOMENT) if _PLATFORM.value == "cuda" else ""
    found: dict[str, Any] = {
        "is": process.what,
        "images/s": timing.rounded(
            _workload().batch / statistics.median(turn.wall for turn in turns)
        ),
        "turns": len(turns),
        **timing.of_turns(turns),
        "device peak, MiB": process.device_peak_mib(),
        "host peak, MiB": process.peak_mib(),
        "before the first turn": process.before,
        f"right after: {', '.join(_OF_A_MOMENT)}": moment,
    }
    if row.traced:
        folder = pathlib.Path(_FOLDER.value).absolute() / "trace"
        process.turn(f"trace {folder}")
        found["trace"] = str(folder)
    return found


# ------------------------------------------------------------------ the table


def _table(results: Results) -> list[str]:
    """Returns the rows in Markdown, the machine, and the missing rows with their reasons."""
    lines = [
        "| Row | Images/s | ms: median | least | CPU ms | Before the first turn, s "
        "| Device memory, GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.rows.items():
        if "images/s" in found:
            lines.append(f"| {name} | {' | '.join(_cells(found))} |")
    for what in ("step", "inference", "objective"):
        own = results.rows.get(f"{what}, ours", {})
        for variant in ("torch.compile", "torch eager"):
            other = results.rows.get(f"{what}, {variant}", {})
            if "images/s" in own and "images/s" in other:
                ratio = timing.rounded(own["images/s"] / other["images/s"])
                lines += ["", f"{what}: {ratio} times as fast as {variant}."]
    lines += ["", f"Card: {results.about['card']} ({', '.join(_OF_A_CARD)})."]
    versions = dict.fromkeys(found["is"] for found in results.rows.values() if "is" in found)
    lines += [f"{'; '.join(versions)}.", f"`{' '.join(results.about['workload'])}`"]
    for name, found in results.rows.items():
        for why in ("failed", "dropped"):
            if why in found:
                lines += ["", f"{name}: {why}: {found[why]}."]
    return lines


def _cells(found: dict[str, Any]) -> list[str]:
    wall, memory = found["wall, s"], found["device peak, MiB"]
    before = sum(part["wall, s"] for part in found["before the first turn"].values())
    return [
        f"{found['images/s']:g}",
        f"{1e3 * wall['median']:.4g}",
        f"{1e3 * wall['lowest']:.4g}",
        f"{1e3 * found['CPU, s']['median']:.4g}",
        f"{before:.3g}",
        "-" if memory is None else f"{memory / 1024:.2f}",
    ]
