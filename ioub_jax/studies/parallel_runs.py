"""Trains the runs of a comparison, several at once, each in a separate process."""

import contextlib
import dataclasses
import logging
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import ml_collections

from ioub_jax import building, log_lines
from ioub_jax.devices import host_memory
from ioub_jax.errors import ConfigError
from ioub_jax.studies.planned_runs import PlannedRun, is_finished, is_trained, make_result
from ioub_jax.training.stopping import StopSignals
from ioub_jax.workdirs import configuration

logger = logging.getLogger("ioub_jax")

# The variables that say which devices a process sees.
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")


@dataclasses.dataclass(frozen=True)
class Share:
    """Resources for one of several processes.

    Attributes:
      cores: the indices of its CPU cores; empty: all cores.
      devices: the indices of its GPUs or TPU chips; empty: all devices.
    """

    cores: tuple[int, ...] = ()
    devices: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcome of the training of several runs.

    Attributes:
      failures: a sentence for each run that failed.
      stopped: whether a signal ended the training before all runs were trained.
    """

    failures: list[str]
    stopped: bool


def shares(processes: int, devices: int | None) -> list[Share]:
    """Distributes cores and, if their number is given, devices among processes.

    Raises:
      ConfigError: there are fewer devices than processes.
    """
    numbers = tuple(range(devices or 0))
    for variable in _VISIBLE:
        visible = os.environ.get(variable)
        if visible and len(visible.split(",")) < len(numbers):
            raise ConfigError(
                f"--devices is {devices}, but {variable} is {visible}; give at most as many "
                "--devices as it names."
            )
    if processes == 1:
        return [Share((), numbers)]
    if devices is not None and devices < processes:
        raise ConfigError(
            f"{processes} processes cannot share {devices} devices; give at least as many "
            "--devices as --processes, or none on a CPU."
        )
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = available if len(available) >= processes else []
    return [
        Share(tuple(cores[slot::processes]), numbers[slot::processes]) for slot in range(processes)
    ]


def train_all(
    runs: Iterable[PlannedRun],
    slots: Sequence[Share],
    resamplings: int,
    after_each: Callable[[], object] = lambda: None,
) -> Outcome:
    """Trains the unfinished runs, as many at once as there are slots, and saves their results.

    A run that fails does not end the others. After SIGTERM or Ctrl-C, the current runs save their
    state and end, and no further run is started.

    Args:
      runs: the runs, in the order in which they are trained.
      slots: the resources of each run that is trained at the same time.
      resamplings: as in `make_result`.
      after_each: called whenever the result of another run has been saved.
    """
    pending = [run for run in runs if not is_finished(run)]
    running: dict[int, tuple[Any, PlannedRun]] = {}
    failures = []
    with _StopAll(running) as stop:
        while (pending and not stop.requested) or running:
            for slot, share in enumerate(slots):
                if slot not in running and pending and not stop.requested:
                    run = pending.pop(0)
                    running[slot] = (_start(run, share, resamplings), run)
                    if stop.requested:  # the signal arrived while the process was started
                        running[slot][0].terminate()
                    logger.info(
                        "Training %s (%d to go); its progress is in %s.",
                        run.name,
                        len(pending),
                        _log_of(run),
                    )
            ended = multiprocessing.connection.wait([p.sentinel for p, _ in running.values()])
            for slot, (process, run) in list(running.items()):
                if process.sentinel in ended:
                    process.join()
                    del running[slot]
                    if process.exitcode and not stop.requested:
                        failures.append(_failure(run, process.exitcode))
                        logger.warning(failures[-1])
                    elif not process.exitcode:
                        after_each()
    return Outcome(failures, stop.requested)


class _StopAll(StopSignals):
    """Forwards SIGTERM and Ctrl-C to the running processes, which save and end."""

    def __init__(self, running: dict[int, tuple[Any, PlannedRun]]) -> None:
        super().__init__()
        self._running = running

    def _request(self, signum: int, frame: Any) -> None:
        super()._request(signum, frame)
        for process, _ in self._running.values():
            process.terminate()


def _log_of(run: PlannedRun) -> pathlib.Path:
    return run.workdir.with_name(f"{run.workdir.name}.log")


def _start(run: PlannedRun, share: Share, resamplings: int) -> Any:
    """Starts a process that trains a run, saves its result, and logs to `seed_N.log`."""
    run.workdir.parent.mkdir(parents=True, exist_ok=True)
    values = configuration.to_dict(run.config)  # a pickled ConfigDict may be incomplete
    cache = jax.config.values["jax_compilation_cache_dir"]
    os.environ |= host_memory.environment()
    process = multiprocessing.get_context("spawn").Process(
        target=_train,
        args=(run.arm, values, run.workdir, run.result, share, resamplings, cache),
    )
    process.start()
    return process


def _train(
    arm: str,
    values: dict[str, Any],
    workdir: pathlib.Path,
    result: pathlib.Path,
    share: Share,
    resamplings: int,
    cache: str | None,
) -> None:
    """Trains a run in a process that `_start` has started."""
    config = ml_collections.ConfigDict(configuration.from_dict(values))
    run = PlannedRun(arm, config, workdir, result)
    # In its own session, the process receives Ctrl-C only through the parent, which forwards it.
    # If the parent ends, nobody forwards signals, so a thread ends this process as well.
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(_log_of(run), "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    log_lines.show()
    # This must precede the initialization of jax, which finds its devices and starts its threads.
    if share.cores:
        os.sched_setaffinity(0, share.cores)
    if share.devices:
        os.environ |= {variable: _names(variable, share.devices) for variable in _VISIBLE}
    jax.config.update("jax_compilation_cache_dir", cache)
    building.train_and_evaluate(run.config, run.workdir)
    if is_trained(run):  # false if it was stopped
        make_result(run, resamplings)


def _names(variable: str, devices: Sequence[int]) -> str:
    """The names of devices, among those that the user has made visible."""
    visible = os.environ.get(variable)
    names = visible.split(",") if visible else []
    return ",".join(names[number] if names else str(number) for number in devices)


def _end_with_parent() -> None:
    """Asks this process to save and end once its parent process is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _failure(run: PlannedRun, exit_code: int) -> str:
    """Describes a run's failure by the signal that ended it, or the last line that it wrote."""
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        why = ", for instance for lack of memory" if name == "SIGKILL" else ""
        return f"{run.name} was ended by {name}{why} (its output: {_log_of(run)})"
    lines = []
    with contextlib.suppress(OSError):  # it may have failed before it had an output
        lines = _log_of(run).read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {exit_code}"
    last = re.sub(r"^ioub_jax[\w.]*Error: ", "", last)  # a sentence for the user
    return f"{run.name} failed: {last} (all of it: {_log_of(run)})"
