"""Lock that allows one training at a time in a workdir; `train.lock` names its process."""

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

# By then, a dry run or a process that is just ending has released its lock.
_PATIENCE_SECONDS = 1.0


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other trainings out of a workdir, which is created if it does not exist.

    The lock is the system's (`flock`), on a file that names its owner. It is released when its
    process ends, in whatever way, also on file systems that several hosts share. A bucket has no
    locks, so there nothing keeps a second training out.

    Args:
      workdir: the run's folder.

    Raises:
      ConfigError: another training is running there; the message names it.
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
        with contextlib.suppress(OSError):  # nobody else owns the file until it is closed
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
            # The previous owner may have removed the file in the meantime. A lock on a removed
            # file guards nothing.
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
        # The file system has no locks, but the contents of the file still name its owner.
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
    """Returns the process that wrote the file; empty if the file is just being written."""
    try:
        owner = json.loads(os.pread(number, 10_000, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _has_ended(owner: dict[str, Any]) -> bool:
    """True if a process is known to have ended: it ran on this host and no longer exists."""
    if owner.get("host") != socket.gethostname():
        return False
    return _started(owner["pid"]) != owner.get("started")


def _started(pid: int) -> str | None:
    """Returns the start time of a process, or None if it does not exist.

    The time distinguishes the process from a later one with the same number.
    """
    try:
        # The 22nd field, in ticks since the system started. The second field is a name in
        # parentheses, which may contain spaces.
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        return None
