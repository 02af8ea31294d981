import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from ioub_jax.data.worker_memory import keep_freed_memory

def faults_of_a_turn():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    images = [np.ones(2**20, np.uint8) for _ in range(8)]
    del images
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    faults = faults_of_a_turn()
print(faults)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's malloc that is told")
def test_memory_of_images_is_used_again():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, how],
                env={"PATH": "", "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                check=True,
            ).stdout
        )
        for how in ("kept", "given back")
    }
    # Eight images of 256 pages.
    assert faults["kept"] < 20
    if faults["given back"] < 100:
        pytest.skip("this malloc keeps what was freed by itself")
