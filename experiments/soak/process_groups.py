"""The processes of a training as Linux tells of them: memory, open files, who is left."""

import dataclasses
import pathlib

_PROC = pathlib.Path("/proc")


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a training holds at a moment.

    Attributes:
      seconds: since it was started.
      main_mib: resident memory of its main process.
      open_files: descriptors of its main process.
      processes: how many there are, the main one among them.
    """

    seconds: float
    main_mib: float
    open_files: int
    processes: int


def living(group: int) -> list[int]:
    """The ids of the processes of a group, without those that have ended and are not reaped."""
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
    """What a training holds now; None where its main process has ended."""
    try:
        lines = (_PROC / str(main) / "status").read_text().splitlines()
        files = len(list((_PROC / str(main) / "fd").iterdir()))
        (kib,) = (int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    except (OSError, ValueError):
        return None
    return Sample(seconds, round(kib / 1024, 1), files, len(living(main)))


def growth(samples: list[Sample], name: str) -> dict[str, float]:
    """How a number of the samples has grown over a training, of its middle and its last third.

    The first third compiles, fills what is read ahead and has the first evaluations.

    Returns:
      `middle` and `end`, the means of these thirds, and `growth`, the quotient less 1.
    """
    values = [float(getattr(each, name)) for each in samples]
    third = max(len(values) // 3, 1)
    middle, end = (
        sum(part) / len(part) for part in (values[third : 2 * third] or values, values[-third:])
    )
    return {"middle": round(middle, 1), "end": round(end, 1), "growth": round(end / middle - 1, 4)}
