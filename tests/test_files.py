import errno
import os
import pathlib
import sys

import fsspec.config
import pytest

from ioub_jax import files
from ioub_jax.errors import ConfigError
from tests import bucket


@pytest.mark.parametrize("text", ["runs/a", "/data/run", "gs", "a:b", ""])
def test_a_local_path_is_that_of_pathlib(text):
    for given in (text, pathlib.Path(text)):
        path = files.path_of(given)
        assert path == pathlib.Path(text)
        assert type(path) is type(pathlib.Path())
        assert not files.is_in_bucket(path)
        assert files.local(path, "...") == path
        assert files.absolute(path) == pathlib.Path(text).absolute()


def test_a_path_in_a_bucket(monkeypatch):
    _, server = bucket.install(monkeypatch)
    server.shutdown()
    server.server_close()
    path = files.path_of("gs://mine/runs/a")
    assert files.is_in_bucket(path)
    assert str(path / "config.json") == "gs://mine/runs/a/config.json"
    assert files.path_of(path) == files.absolute(path) == path
    assert fsspec.config.conf["gcs"]["use_listings_cache"] is False
    with pytest.raises(ConfigError, match=r"^gs://mine/runs/a is in a bucket, give another\.$"):
        files.local(path, "give another")


def test_what_is_no_path_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r"^gs://mine/a needs the package gcsfs, .*train,gcs"):
        files.path_of("gs://mine/a")
    with pytest.raises(
        ConfigError, match=r"^s3://mine/a is not a path; use a local one or gs://BUCKET/"
    ):
        files.path_of("s3://mine/a")


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


def test_a_folder_is_removed_with_what_is_in_it(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    files.write_text(tmp_path / "a" / "b" / "c", "d")
    for _ in range(2):  # where it is not there nothing is done
        files.remove_folder(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []
