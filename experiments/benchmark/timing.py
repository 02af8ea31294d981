"""Wall and CPU seconds, and memory; imports only the standard library, since peers use it.

On a machine with other work, wall seconds include the time in which that work runs, so CPU seconds
vary less.
"""

import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """A moment, or the time between two moments.

    Attributes:
      wall: the wall time.
      cpu: the CPU time of all threads of this process together.
    """

    wall: float
    cpu: float

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def figures(self) -> dict[str, float]:
        """Both times, as they are printed."""
        return {"wall, s": rounded(self.wall), "CPU, s": rounded(self.cpu)}


def now() -> Seconds:
    """The current moment."""
    return Seconds(time.perf_counter(), time.process_time())


def rounded(value: float) -> float:
    """A figure rounded to three significant digits."""
    return float(f"{value:.3g}")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum of the values of all turns."""
    return {
        "median": rounded(statistics.median(values)),
        "lowest": rounded(min(values)),
        "highest": rounded(max(values)),
    }


def of_turns(turns: Sequence[Seconds]) -> dict[str, dict[str, float]]:
    """Wall and CPU times of the turns."""
    return {
        "wall, s": spread([turn.wall for turn in turns]),
        "CPU, s": spread([turn.cpu for turn in turns]),
    }


def times_as_fast(ours: Sequence[Seconds], theirs: Sequence[Seconds]) -> dict[str, Any]:
    """Their seconds divided by ours, by both measures: for each turn, and for the fastest turns."""
    result = {}
    for name, measure in (("by wall time", 0), ("by CPU time", 1)):
        own, other = ([turn[measure] for turn in turns] for turns in (ours, theirs))
        ratios = [b / a for a, b in zip(own, other, strict=True) if a > 0.0]
        if ratios:  # a CPU time may be 0
            least = rounded(min(other) / max(min(own), 1e-9))
            result[name] = spread(ratios) | {"of the fastest turns": least}
    return result


def peak_mib() -> float | None:
    """The peak resident memory of this process in MiB; None if the system does not report it.

    It is Linux's VmHWM, because `ru_maxrss` includes the memory of the parent when it started this
    process.
    """
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return round(int(lines["VmHWM"].split()[0]) / 1024, 1)
