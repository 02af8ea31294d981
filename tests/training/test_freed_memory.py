import os
import subprocess
import sys
import types

import pytest

from ioub_jax.training import freed_memory
from tests import tiny

# In a thread, as jax computes: 48 MiB each time, which are 12,288 pages of 4 KiB.
FAULTS = """
import resource, threading
from ioub_jax.training import freed_memory

kept = freed_memory.keep()

def work():
    def use():
        return b"x" * 2**23, b"x" * (5 * 2**23)
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        use()
    print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 4)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.fixture
def environment(monkeypatch):
    """One that says nothing of malloc."""
    for name in os.environ:
        if name.startswith(("MALLOC_", "GLIBC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return monkeypatch


def faults():
    """Whether memory is said to be kept, and the pages that each repetition touches anew."""
    command = [sys.executable, "-c", FAULTS]
    kept, count = subprocess.check_output(command, cwd=tiny.ROOT, text=True).split()
    return kept == "True", int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_what_was_freed_is_used_again_without_touching_new_pages(environment):
    kept, count = faults()
    assert kept and count < 100
    environment.setenv("MALLOC_ARENA_MAX", "2")
    kept, count = faults()
    assert not kept and count > 10_000


def test_what_the_user_sets_stays_and_other_devices_are_left_alone(environment):
    environment.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert not freed_memory.keep()
    environment.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=1")
    config = types.SimpleNamespace(values={"jax_platforms": "cuda,cpu"})
    environment.setattr(freed_memory, "jax", types.SimpleNamespace(config=config))
    assert not freed_memory.keep()
