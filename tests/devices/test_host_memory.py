import os
import subprocess
import sys

import pytest

from ioub_jax.devices import host_memory
from tests import tiny

linux = pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")


@pytest.fixture
def variables(monkeypatch):
    """An environment that says nothing of malloc."""
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return monkeypatch


@linux
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.pthread.rseq=1"}, "glibc.pthread.rseq=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, None),
        ({"MALLOC_ARENA_MAX": "2"}, None),
        ({"JAX_PLATFORMS": "cuda,cpu"}, None),
    ],
)
def test_huge_pages_are_asked_for_where_they_are_nobody_elses_business(variables, given, wanted):
    for name, value in given.items():
        variables.setenv(name, value)
    expected = {} if wanted is None else {"GLIBC_TUNABLES": wanted}
    assert host_memory.environment() == expected


def test_another_libc_is_left_alone(variables):
    variables.setattr(host_memory, "_is_glibc", lambda: False)
    assert host_memory.environment() == {}
    host_memory.give_back()  # does nothing


@linux
def test_a_restart_happens_once_and_keeps_the_command(variables, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from ioub_jax.devices import host_memory\n"
        "print('begins', sys.argv[1:], flush=True)\n"
        "host_memory.restart_with_huge_pages()\n"
        "assert 'jax' not in sys.modules\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.flags.optimize)\n"
    )
    variables.setenv("PYTHONPATH", str(tiny.ROOT))
    command = [sys.executable, "-O", str(program), "--name=a b", ""]
    output = subprocess.check_output(command, text=True).splitlines()
    begins = "begins ['--name=a b', '']"
    assert output == [begins, begins, "glibc.malloc.hugetlb=1 1"]


@linux
def test_free_memory_is_given_back():
    program = (
        "from ioub_jax.devices import host_memory\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        # Of 64 MiB in pieces that malloc does not map, all but every hundredth are freed.
        "pieces = [b'x' * 65536 for _ in range(1024)]\n"
        "kept = pieces[::100]\n"
        "del pieces\n"
        "before = resident()\n"
        "host_memory.give_back()\n"
        "print(before - resident())\n"
    )
    given_back = subprocess.check_output([sys.executable, "-c", program], cwd=tiny.ROOT, text=True)
    assert int(given_back) > 48 * 2**20
