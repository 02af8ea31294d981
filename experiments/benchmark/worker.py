"""A process that does a piece of work on request, and the process that requests it.

The worker writes one JSON object per line: first what it `is` and the times `before` it was ready,
then an answer to each line of its input. The answer to `peak` is its peak memory and that of its
device; the answer to any other line is the seconds of one repetition. The worker ends with its
input. The module imports only the standard library, since peers use it.
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
    """A worker ended too early."""


def serve(
    what: str,
    work_of: Callable[[str], Callable[[], Any]],
    before: Mapping[str, Seconds],
    device_bytes: Callable[[], int | None] = lambda: None,
) -> None:
    """Answers every line of the input until it ends.

    Args:
      what: a description of the worker, with versions.
      work_of: returns the work for a line, which ends when its result is available. Only the work
        is timed.
      before: the times of the preparations before the first turn.
      device_bytes: returns the peak of the device's own memory; None if it has none.
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
    """A worker that has started and is ready.

    Attributes:
      what: a description of the worker, with versions.
      before: the times of the preparations before the first turn.
    """

    def __init__(self, process: subprocess.Popen[str], module: str) -> None:
        self._process, self._module = process, module
        ready = self._read()
        self.what: str = ready["is"]
        self.before: dict[str, Any] = ready["before"]

    def turn(self, what: str = "turn") -> Seconds:
        """Requests one repetition of the work, for the line `what`, and returns its time."""
        return Seconds(**self._ask(what))

    def peak_mib(self) -> float | None:
        """The peak resident memory of the worker so far, in MiB."""
        mib: float | None = self._ask("peak")["MiB"]
        return mib

    def device_peak_mib(self) -> float | None:
        """The peak of its device's own memory in MiB; None if there is none."""
        mib: float | None = self._ask("peak")["device MiB"]
        return mib

    def _ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the worker has ended; reading raises the error
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
    """A worker that ends with the block.

    Args:
      python: the interpreter.
      module: its main module.
      arguments: its command line.
      environment: additions to the environment of this process.
      seconds: the time after which it is killed; None: never.
      errors: the file for its stderr; None for that of this process.

    Raises:
      WorkerError: the worker ended before the block.
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
            # The timer also kills its child processes, mainly compilers.
            timer = threading.Timer(seconds, _kill_group, [process.pid])
            stack.callback(timer.cancel)
            timer.start()
        try:
            yield Worker(process, module)
        except BaseException:
            if seconds is not None:  # Ctrl-C does not reach the worker, and a turn may take long
                _kill_group(process.pid)
            raise


def _close(pipe: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _kill_group(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
