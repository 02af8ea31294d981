import errno
import os
import pathlib

import pytest

from ioub_jax import files


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is always full")
def test_a_failed_write_names_its_file():
    full = pathlib.Path("/dev/full")
    with pytest.raises(OSError) as told, files.naming(full), full.open("wb") as file:
        file.write(b"x")
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, "/dev/full")


def test_the_file_that_an_error_names_itself_stays(tmp_path):
    with pytest.raises(FileNotFoundError) as told, files.naming(tmp_path):
        os.stat(tmp_path / "absent")
    assert str(told.value.filename) == str(tmp_path / "absent")
