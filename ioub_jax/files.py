"""Files that are either complete or absent, on this machine or in a bucket.

On this machine, a file is written under another name in the same folder and then renamed. In a
bucket, an object is always complete or absent; it can be overwritten, but not appended to.
"""

import contextlib
import errno
import importlib.util
import json
import os
import pathlib
import shutil
import socket
from collections.abc import Iterator
from typing import Any, cast

from ioub_jax.errors import ConfigError

_BUCKET = "gs://"


def path_of(text: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a user gives as text.

    Args:
      text: a path on this machine, or `gs://BUCKET/...` in Google's Cloud Storage.

    Returns:
      The path. One in a bucket is an `etils.epath.Path`, which has the methods of `pathlib.Path`
      that are used.

    Raises:
      ConfigError: the path is in a bucket for which a package is missing, or of another kind.
    """
    text = os.fspath(text)
    if not text.startswith(_BUCKET):
        if "://" in text:
            raise ConfigError(f"{text} is not a path; use a local one or {_BUCKET}BUCKET/...")
        return pathlib.Path(text)
    if importlib.util.find_spec("gcsfs") is None:
        raise ConfigError(
            f"{text} needs the package gcsfs, which is not installed: "
            "pip install 'ioub_jax[train,gcs]'."
        )
    import fsspec.config  # installed with gcsfs
    from etils import epath

    # A cache of listings would hide files that another process has written in the meantime.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    return cast(pathlib.Path, epath.Path(text))


def is_in_bucket(path: pathlib.Path) -> bool:
    """True if a path is in a bucket."""
    return not isinstance(path, pathlib.Path)


def absolute(path: pathlib.Path) -> pathlib.Path:
    """A path that does not depend on the current folder; one in a bucket never does."""
    return path if is_in_bucket(path) else path.absolute()


def remove_folder(path: pathlib.Path) -> None:
    """Removes a folder with its contents, if it exists."""
    if is_in_bucket(path):
        cast(Any, path).rmtree(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def local(path: pathlib.Path, use: str) -> pathlib.Path:
    """A path that must be on this machine.

    Args:
      path: the path.
      use: its purpose and the way to give another path, as the end of a sentence.

    Raises:
      ConfigError: the path is in a bucket.
    """
    if is_in_bucket(path):
        raise ConfigError(f"{path} is in a bucket, {use}.")
    return path


def check_can_write(folder: pathlib.Path) -> None:
    """Checks that files can be written into a folder, which may have to be created first.

    For a bucket, this becomes known only when the first file is written.

    Raises:
      OSError: files cannot be written; the message says where and why.
    """
    if is_in_bucket(folder):
        return
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    told = f"Nothing can be written into {folder}, choose another folder; "
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, told + "this is a file", str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, told + "there is no permission for", str(place))


def check_file(path: pathlib.Path, flag: str) -> None:
    """As `check_can_write`, for a file in a folder that must exist.

    Args:
      path: the file.
      flag: the name of the flag in errors.

    Raises:
      OSError: the file cannot be written.
    """
    if not path.absolute().parent.exists():
        raise NotADirectoryError(
            errno.ENOTDIR, f"There is no such folder for {flag}", str(path.absolute().parent)
        )
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{flag} must name a file", str(path))
    check_can_write(path.parent)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Adds a file's name to an `OSError` of the block, since that of a failed write has none.

    Args:
      path: the file that is written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: pathlib.Path, text: str) -> None:
    r"""Writes a text file such that a kill at any moment leaves either the old or the new file.

    Args:
      path: the file; its folder must exist.
      text: its content, written in UTF-8. Lone surrogates (bytes of a file name, a broken escape in
        JSON), which UTF-8 cannot encode, are written as `\udcff`, which JSON reads back.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: pathlib.Path, content: bytes | bytearray) -> None:
    """Writes a file completely or not at all; its folder must exist."""
    if is_in_bucket(path):
        path.write_bytes(content)
        return
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.partial")
    try:
        with naming(path), partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any, *, indent: int | None = None) -> None:
    """Writes a JSON file completely or not at all.

    Args:
      path: the file; its folder must exist.
      value: anything `json` can write; NaN and infinity are refused, since JSON has neither. Lone
        surrogates in strings become their escapes, as in `write_text`.
      indent: the number of spaces per level; None for the shortest file.
    """
    write_text(path, json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")
