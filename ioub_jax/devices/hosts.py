"""The processes of a run: one per host of a TPU pod, one per task of SLURM, or a given number.

Every process runs the same program and has its own part of each batch. All processes must see the
workdir. Only the first process writes into it, except for checkpoints, which all of them write.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError

#: The time without a sign of life after which a process counts as gone.
HEARTBEAT_TIMEOUT_SECONDS = 30

#: The last message to the user if another process is gone.
OTHERS_ARE_GONE = (
    "Error: another process of this run has ended or cannot be reached, so this one ends too; run "
    "the same command on all of them to resume from the last checkpoint."
)

#: The exit code of a process that ends because another one is gone; the run can be tried again.
GONE_EXIT_CODE = 3

# Tells a process that it has a supervisor, with the pipe whose closing means that it has ended.
_SUPERVISED = "IOUB_JAX_SUPERVISED"


def join(address: str | None, count: int | None, index: int | None) -> None:
    """Joins the other processes of this run, if there are any.

    The three arguments describe the processes. Without them, a pod of TPU hosts and several tasks
    of SLURM are recognized; otherwise, there is a single process. This must be called before jax is
    asked for its devices.

    Args:
      address: the host and port of the first process, the same for all.
      count: the number of processes.
      index: the number of this process, from 0.

    Raises:
      ConfigError: only some of the three are given, they contradict each other, or the processes do
        not find each other.
    """
    if not _is_one_of_several(address, count, index):
        return
    _supervise()
    # The implementation for CPUs; other devices have their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # From now on, jax handles SIGTERM, for `reached_stop`.
    jax.config.update("jax_enable_preemption_service", True)
    try:
        jax.distributed.initialize(
            address, count, index, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The processes of this run cannot find each other ({error}); start all of them with "
            "the same --coordinator_address=HOST:PORT and --num_processes."
        ) from error


def _is_one_of_several(address: str | None, count: int | None, index: int | None) -> bool:
    if address is None and count is None and index is None:
        return _has_peers()
    if address is None or count is None or index is None:
        raise ConfigError(
            "Some of --coordinator_address, --num_processes and --process_id are missing; give all "
            "three, with the same address and number to all processes."
        )
    if not 0 <= index < count:
        raise ConfigError(
            f"--process_id={index} is not one of the {count} processes, which are numbered from 0."
        )
    return True


def _supervise() -> None:
    """Runs this command again as a child, and prints a message if the child is aborted.

    If another process is gone, jax aborts this one from C++ and prints the stacks of all threads,
    and the process cannot print anything after them. This function returns only in the child.
    """
    if _SUPERVISED in os.environ:
        pipe = int(os.environ[_SUPERVISED])
        threading.Thread(target=_end_with_supervisor, args=(pipe,), daemon=True).start()
        return
    pipe, held_open = os.pipe()
    child = subprocess.Popen(
        sys.orig_argv, env=os.environ | {_SUPERVISED: str(pipe)}, pass_fds=[pipe]
    )
    os.close(pipe)
    # Ctrl-C also reaches the child, but the signal of a scheduler may reach only this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    code = child.wait()
    os.close(held_open)
    if code == -signal.SIGABRT:  # jax has aborted it
        print(OTHERS_ARE_GONE, file=sys.stderr, flush=True)
        code = GONE_EXIT_CODE
    elif code < 0:
        print(
            f"Error: this process was ended by {signal.Signals(-code).name} (SIGKILL often means a "
            "lack of memory); run the same command on all of them to resume from the last "
            "checkpoint.",
            file=sys.stderr,
            flush=True,
        )
    os._exit(code if code >= 0 else 1)


def _end_with_supervisor(pipe: int) -> None:
    """Ends this process when its supervisor has ended, in whatever way."""
    os.read(pipe, 1)
    os._exit(1)


def _has_peers() -> bool:
    """True if this is one of several processes, by the environment variables."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1")
    if "SLURM_PROCID" in os.environ and int(tasks) > 1:
        return True
    return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def is_first() -> bool:
    """True if this is the first process, which writes what only one process may write."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process has reached this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def gather(mesh: Mesh, on_devices: Any, on_host: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """Gathers all rows of arrays that are split over the processes, in the same order everywhere.

    Args:
      mesh: the devices.
      on_devices: a tree of arrays that are split over the mesh along their first axis.
      on_host: this process's rows of other arrays, of any dtype, in the order of its rows of the
        former.

    Returns:
      Both as numpy arrays.

    Raises:
      ValueError: the numbers of this process's rows differ.
    """
    if jax.process_count() == 1:
        return jax.device_get(on_devices), dict(on_host)
    rows = jax.tree.leaves(on_devices)[0].shape[0]
    # The rows are sent as bytes, because devices may not support numbers of 64 bits.
    as_bytes = {
        name: placement.put_rows(
            mesh, np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8), rows
        )
        for name, array in on_host.items()
    }
    gathered, gathered_bytes = multihost_utils.process_allgather((on_devices, as_bytes), tiled=True)
    return gathered, {
        name: np.asarray(gathered_bytes[name]).view(array.dtype).reshape(-1, *array.shape[1:])
        for name, array in on_host.items()
    }


def reached_stop(step: int) -> bool:
    """True if all processes stop after the step that they have just done.

    A process that gets a SIGTERM tells the others in the background, and they agree on a step that
    none of them has done yet. All processes must begin with the same step and ask after every step.

    jax handles the signal outside of Python; a handler of Python would replace jax's permanently.

    Args:
      step: the number of the step.
    """
    return bool(multihost_utils.reached_preemption_sync_point(step))


def all_agree(answer: bool) -> bool:
    """True if the answer of every process is true; all processes must ask together."""
    if jax.process_count() == 1:
        return answer
    return bool(np.all(multihost_utils.process_allgather(np.asarray(answer))))


def first_says(answer: bool) -> bool:
    """The answer of the first process, for every process; all processes must ask together."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(answer)))


def check_shared(workdir: pathlib.Path) -> None:
    """Checks that all processes see the files that the first one has written into the workdir.

    Raises:
      ConfigError: a process does not see them.
    """
    wait_for_all("workdir")
    if not all_agree((workdir / "config.json").exists()):
        raise ConfigError(
            f"Not every process sees the files in --workdir={workdir}; put it on a file system "
            "that all hosts share."
        )
