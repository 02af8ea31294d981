"""One training in a workdir: beside another process, after its death, and without `flock`."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import lock

# Holds the lock as a training does, without the seconds that its imports take.
OTHER = """
import fcntl, json, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(json.dumps({"host": "elsewhere", "pid": 17, "since": "2026-01-02 03:04:05+00:00"}))
file.flush()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that trains in the workdir."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", OTHER, str(tmp_path / "train.lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def enter(workdir):
    with lock.held(workdir):
        pass


def test_a_second_training_is_refused_until_the_first_is_killed(tmp_path, other):
    sentence = (
        rf"{tmp_path} is in use: process 17 on elsewhere has been training there since "
        r"2026-01-02 03:04:05\+00:00; end it or wait for it, or choose another --workdir\.$"
    )
    for refused in (enter, lock.check_free):
        with pytest.raises(ConfigError, match=sentence):
            refused(tmp_path)
    other.kill()
    other.wait()
    assert (tmp_path / "train.lock").exists()  # a kill leaves it behind
    lock.check_free(tmp_path)
    with lock.held(tmp_path):
        owner = json.loads((tmp_path / "train.lock").read_text())
    assert (owner["host"], owner["pid"]) == (socket.gethostname(), os.getpid())


def test_within_a_process_one_training_follows_another_even_after_an_error(tmp_path):
    workdir = tmp_path / "new" / "run"
    with pytest.raises(RuntimeError, match="a bug") as kept, lock.held(workdir):
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on"):
            enter(workdir)
        raise RuntimeError("a bug")
    enter(workdir)
    assert list(workdir.iterdir()) == []
    del kept


def test_a_dry_run_makes_nothing(tmp_path):
    lock.check_free(tmp_path / "new")
    lock.check_free(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({}, "if it has ended, delete"),
        ({"host": "elsewhere"}, "if it has ended, delete"),
        ({"started": "a process of the same number"}, None),
        ({"pid": 2**22 + 1}, None),  # above the highest number that Linux gives
        (None, None),  # nothing was written
    ],
)
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc to look into")
def test_where_a_file_system_has_no_locks_the_file_tells(tmp_path, monkeypatch, changes, way_out):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.0)
    text = "" if changes is None else json.dumps(lock._this_process() | changes)
    (tmp_path / "train.lock").write_text(text)
    if way_out is None:
        enter(tmp_path)
    else:
        with pytest.raises(ConfigError, match=rf"; {way_out} .*train\.lock, or choose"):
            enter(tmp_path)
