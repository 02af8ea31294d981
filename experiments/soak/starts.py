"""One start of a training run, which is watched until its end or ended by a signal."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from experiments.soak import process_groups
from experiments.soak.process_groups import Sample

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_BETWEEN_SAMPLES = 1.0
#: The time for a run to save after a SIGTERM, and for its workers to notice its end.
_SAVING_SECONDS, _LEAVING_SECONDS = 300.0, 60.0

# A run logs this once its signal handlers are installed.
_LISTENING = "Compiling the step"

#: Name of a way to end a run -> the signal, and whether its workers get it, too.
ENDINGS: Mapping[str, tuple[signal.Signals, bool]] = {
    "SIGKILL": (signal.SIGKILL, False),
    "SIGKILL of all": (signal.SIGKILL, True),
    "SIGTERM": (signal.SIGTERM, False),
}


@dataclasses.dataclass(frozen=True)
class Start:
    """Outcome of one start of the run.

    Attributes:
      ending: a key of `ENDINGS`; empty if the run reached its own end.
      seconds: the time from the start to the end of its main process.
      exit_code: its exit code; negative for a signal.
      output: its printed output.
      samples: one sample per second.
      left_over: the number of processes that did not end in time.
    """

    ending: str
    seconds: float
    exit_code: int
    output: str
    samples: list[Sample]
    left_over: int

    @property
    def is_as_promised(self) -> bool:
        """True if a signal had the right effect, no process is left, and there is no traceback."""
        codes = [0] if self.ending in ("", "SIGTERM") else [-signal.SIGKILL]
        if self.ending == "SIGTERM" and _LISTENING not in self.output:
            codes.append(-signal.SIGTERM)  # it came before there was anything to save
        is_code = self.exit_code in codes
        return is_code and not self.left_over and "Traceback" not in self.output


def start(
    arguments: Sequence[str], log: pathlib.Path, ending: str = "", patience: float = float("inf")
) -> Start:
    """Runs `python -m experiments.train` until it ends, or ends it after a while.

    Args:
      arguments: the flags of the run.
      log: the file for its output.
      ending: the way to end it, a key of `ENDINGS`.
      patience: the seconds after which it is ended, unless it has ended before.
    """
    words = [sys.executable, "-m", "experiments.train", *arguments]
    began, samples = time.monotonic(), []
    with log.open("w+", encoding="utf-8", errors="replace") as printed:
        process = subprocess.Popen(
            words, cwd=_ROOT, stdout=printed, stderr=printed, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() < began + patience:
                taken = process_groups.sample(process.pid, time.monotonic() - began)
                samples += [taken] if taken is not None else []
                time.sleep(min(_BETWEEN_SAMPLES, patience))
            if process.poll() is None:
                _end(process, ending)
            else:
                ending = ""  # the run ended before
            code = process.wait(_SAVING_SECONDS)
            seconds = time.monotonic() - began
            left = _wait_for_the_others(process.pid)
        finally:
            _kill_all(process)
        printed.seek(0)
        output = printed.read()
    return Start(ending, seconds, code, output, samples, left)


def _end(process: subprocess.Popen, ending: str) -> None:
    number, to_all = ENDINGS[ending]
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def _wait_for_the_others(group: int) -> int:
    """Waits for the other processes of the group, and returns how many are left over."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while (left := process_groups.living(group)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return len(left)


def _kill_all(process: subprocess.Popen) -> None:
    for pid in process_groups.living(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
