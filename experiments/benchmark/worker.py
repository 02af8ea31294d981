"""A process that does one piece of work on request, and the process that requests it.

The worker answers one JSON object a line: at first what it `is` and what it took `before` it was
ready, to `peak` its memory and its device's, and to anything else the seconds of one repetition. It
ends with its input. The standard library alone, as a peer is.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from experiments.benchmark import timing
from experiments.benchmark.timing import Seconds

_ROOT = pathlib.Path(__file__).resolve().parents[2]


class WorkerError(Exception):
    """A worker that ended before it was asked to."""


def serve(
    what: str,
    work_of: Callable[[str], Callable[[], Any]],
    before: Mapping[str, Seconds],
    device_bytes: Callable[[], int | None] = lambda: None,
) -> None:
    """Answers every line of the input until it ends.

    Args:
      what: who does the work, with versions.
      work_of: makes the work of a line, which ends when its result is there; only that is timed.
      before: what was done before the first turn.
      device_bytes: the most that was held of the device's own memory; None where it has none.
    """
    _say({"is": what, "before": {name: spent.figures() for name, spent in before.items()}})
    for line in sys.stdin:
        if line.strip() == "peak":
            device = device_bytes()
            device_mib = None if device is None else round(device / 2**20, 1)
            _say({"MiB": timing.peak_mib(), "device MiB": device_mib})
        else:
            work = work_of(line)
            start = timing.now()
            work()
            _say((timing.now() - start)._asdict())


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class Worker:
    """A started worker that is ready.

    Attributes:
      what: who does the work, with versions.
      before: what was done before the first turn.
    """

    def __init__(self, process: subprocess.Popen[str], module: str) -> None:
        self._process, self._module = process, module
        ready = self._read()
        self.what: str = ready["is"]
        self.before: dict[str, Any] = ready["before"]

    def turn(self, what: str = "turn") -> Seconds:
        """Lets it do its work once, or what it makes of the line `what`."""
        return Seconds(**self._ask(what))

    def peak_mib(self) -> float | None:
        """The largest resident memory it has had so far."""
        mib: float | None = self._ask("peak")["MiB"]
        return mib

    def device_peak_mib(self) -> float | None:
        """The most it has held of its device's own memory; None where there is none."""
        mib: float | None = self._ask("peak")["device MiB"]
        return mib

    def _ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which reading tells
            print(what, file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self._module} ended; its output is above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def started(
    python: pathlib.Path,
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
    errors: IO[str] | None = None,
) -> Iterator[Worker]:
    """A worker, which ends with the block.

    Args:
      python: the interpreter.
      module: what it runs as its main one.
      arguments: its command line.
      environment: what is added to that of this process.
      seconds: after so many it is ended by force; None: never.
      errors: where its stderr goes; None: to that of this process.

    Raises:
      WorkerError: it ended before the block.
    """
    process = subprocess.Popen(
        [python.absolute(), "-m", module, *arguments],
        cwd=_ROOT,
        env=os.environ | dict(environment or {}),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=seconds is not None,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.ExitStack() as stack:
        stack.callback(process.stdout.close)
        stack.callback(process.wait)
        stack.callback(_close, process.stdin)
        if seconds is not None:
            # Also what it has started itself: compilers, above all.
            timer = threading.Timer(seconds, _kill_group, [process.pid])
            stack.callback(timer.cancel)
            timer.start()
        try:
            yield Worker(process, module)
        except BaseException:
            if seconds is not None:  # Ctrl-C does not reach it, and a turn may take long
                _kill_group(process.pid)
            raise


def _close(pipe: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _kill_group(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
