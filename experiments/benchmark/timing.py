"""Wall and CPU seconds, and memory; with the standard library alone, as for a peer.

On a machine that others use, too, the clock also counts while they run: there the seconds of the
processors are steadier.
"""

import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """A moment, or what passed between two of them.

    Attributes:
      wall: by the clock.
      cpu: of the processors, all threads of this process together.
    """

    wall: float
    cpu: float

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def figures(self) -> dict[str, float]:
        """Both, as they are printed."""
        return {"wall, s": rounded(self.wall), "CPU, s": rounded(self.cpu)}


def now() -> Seconds:
    """This moment."""
    return Seconds(time.perf_counter(), time.process_time())


def rounded(value: float) -> float:
    """A figure with the three digits that a timing has."""
    return float(f"{value:.3g}")


def spread(values: Sequence[float]) -> dict[str, float]:
    """The values of all turns in three figures."""
    return {
        "median": rounded(statistics.median(values)),
        "lowest": rounded(min(values)),
        "highest": rounded(max(values)),
    }


def of_turns(turns: Sequence[Seconds]) -> dict[str, dict[str, float]]:
    """Times of the turns, by the clock and of the processors."""
    return {
        "wall, s": spread([turn.wall for turn in turns]),
        "CPU, s": spread([turn.cpu for turn in turns]),
    }


def times_as_fast(ours: Sequence[Seconds], theirs: Sequence[Seconds]) -> dict[str, Any]:
    """Their seconds over ours, by both measures: of each turn, and of the fastest of all turns."""
    result = {}
    for name, measure in (("by wall time", 0), ("by CPU time", 1)):
        own, other = ([turn[measure] for turn in turns] for turns in (ours, theirs))
        ratios = [b / a for a, b in zip(own, other, strict=True) if a > 0.0]
        if ratios:  # a clock of the processors may not have moved
            least = rounded(min(other) / max(min(own), 1e-9))
            result[name] = spread(ratios) | {"of the fastest turns": least}
    return result


def peak_mib() -> float | None:
    """The largest resident memory this process has had; None where the system does not tell.

    It is Linux's VmHWM: `ru_maxrss` is not less than what the parent had when it started this one.
    """
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return round(int(lines["VmHWM"].split()[0]) / 1024, 1)
