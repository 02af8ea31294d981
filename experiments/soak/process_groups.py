"""The processes of a run as Linux reports them: memory, open files, processes left over."""

import dataclasses
import pathlib

_PROC = pathlib.Path("/proc")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Resources of a run at a moment.

    Attributes:
      seconds: the time since it was started.
      main_mib: the resident memory of its main process, in MiB.
      open_files: the number of file descriptors of its main process.
      processes: the number of its processes, including the main one.
    """

    seconds: float
    main_mib: float
    open_files: int
    processes: int


def living(group: int) -> list[int]:
    """The ids of the processes of a group, without those that have ended but were not reaped."""
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            # pid (name) state parent group ...
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


def sample(main: int, seconds: float) -> Sample | None:
    """The current resources of a run; None if its main process has ended."""
    try:
        lines = (_PROC / str(main) / "status").read_text().splitlines()
        files = len(list((_PROC / str(main) / "fd").iterdir()))
        (kib,) = (int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    except (OSError, ValueError):
        return None
    return Sample(seconds, round(kib / 1024, 1), files, len(living(main)))


def growth(samples: list[Sample], name: str) -> dict[str, float]:
    """Growth of a quantity between the middle and the last third of a run.

    The first third is left out: it compiles, fills the prefetch queues and has the first
    evaluations.

    Returns:
      `middle` and `end`, the means of these thirds, and `growth`, their quotient minus 1.
    """
    values = [float(getattr(each, name)) for each in samples]
    third = max(len(values) // 3, 1)
    middle, end = (
        sum(part) / len(part) for part in (values[third : 2 * third] or values, values[-third:])
    )
    return {"middle": round(middle, 1), "end": round(end, 1), "growth": round(end / middle - 1, 4)}
