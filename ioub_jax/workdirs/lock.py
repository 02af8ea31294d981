"""Lock for one training at a time in a workdir: `train.lock` names its process."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from ioub_jax import files
from ioub_jax.errors import ConfigError

_NAME = "train.lock"

# What a dry run, or a process that is just ending, holds a lock for is over by then.
_PATIENCE_SECONDS = 1.0


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other trainings out of a workdir, which is created if it does not exist.

    The lock is the system's (`flock`), on a file that says whose it is. It ends with its process,
    however that ends, also on file systems that several hosts share. A bucket has none: nothing
    keeps a second training out.

    Args:
      workdir: the run's folder.

    Raises:
      ConfigError: another training is at work there; the sentence says which.
      OSError: the folder cannot be written.
    """
    if files.is_in_bucket(workdir):
        yield
        return
    files.check_can_write(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / _NAME
    number = _acquire(path)
    try:
        with files.naming(path):
            os.ftruncate(number, 0)
            os.pwrite(number, json.dumps(_this_process()).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # the file is no one's but ours, until it is closed
            path.unlink()
        os.close(number)


def check_free(workdir: pathlib.Path) -> None:
    """Checks that no other training is running in a workdir, and writes nothing.

    Raises:
      ConfigError: as `held`.
    """
    if files.is_in_bucket(workdir):
        return
    with contextlib.suppress(FileNotFoundError):
        number = os.open(workdir / _NAME, os.O_RDONLY)
        try:
            _lock(number, workdir / _NAME, fcntl.LOCK_SH)
        finally:
            os.close(number)


def _acquire(path: pathlib.Path) -> int:
    """Locks the file; returns its open descriptor."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(number, path, fcntl.LOCK_EX)
            # Whoever had it may have removed the file in the meantime: it guards nothing then.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(number), path.stat()):
                    return number
        except ConfigError:
            if time.monotonic() > deadline:
                os.close(number)
                raise
            time.sleep(0.1)
        os.close(number)


def _lock(number: int, path: pathlib.Path, kind: int) -> None:
    try:
        fcntl.flock(number, kind | fcntl.LOCK_NB)
    except OSError as error:
        owner = _read_owner(number)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise _in_use(path, owner, "end it or wait for it") from None
        # A file system without locks. What a process has left behind tells of it all the same.
        if owner and not _has_ended(owner):
            way_out = f"if it has ended, delete {path}"
            raise _in_use(path, owner, way_out) from None


def _in_use(path: pathlib.Path, owner: dict[str, Any], way_out: str) -> ConfigError:
    who = (
        f"process {owner.get('pid')} on {owner.get('host')} has been training there since "
        f"{owner.get('since')}"
        if owner
        else "another process is training there"
    )
    return ConfigError(f"{path.parent} is in use: {who}; {way_out}, or choose another --workdir.")


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
        "started": _started(os.getpid()),
    }


def _read_owner(number: int) -> dict[str, Any]:
    """The writer of the file; empty if it is just being written."""
    try:
        owner = json.loads(os.pread(number, 10_000, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _has_ended(owner: dict[str, Any]) -> bool:
    """True if a process is known to have ended: one of this host that no longer exists."""
    if owner.get("host") != socket.gethostname():
        return False
    return _started(owner["pid"]) != owner.get("started")


def _started(pid: int) -> str | None:
    """Start time of a process, which tells it from a later one of its number; None without one."""
    try:
        # The 22nd number, ticks after the start of the system; the second is a name in brackets.
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        return None
