"""Files that are whole or not there: written beside their place, then moved into it."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any


def check_can_write(folder: pathlib.Path) -> None:
    """Checks that files can be written into a folder, which may have to be made first.

    Raises:
      OSError: they cannot; it says where and why.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    told = f"Nothing can be written into {folder}, choose another folder; "
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, told + "this is a file", str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, told + "there is no permission for", str(place))


def check_file(path: pathlib.Path, flag: str) -> None:
    """As `check_can_write`, for one file in a folder that must be there.

    Args:
      path: the file.
      flag: what names it, for the sentence.

    Raises:
      OSError: it cannot be written.
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
    """Lets an `OSError` from within name a file: that of a failed write names none.

    Args:
      path: what is written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: pathlib.Path, text: str) -> None:
    r"""Writes a text file so that a kill at any moment leaves the old one or the new one.

    Args:
      path: the file; its folder must exist.
      text: what it shall hold, in UTF-8; lone surrogates, which UTF-8 does not have (bytes of a
        file name, a broken escape in JSON), are written as `\udcff`, which JSON reads back.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: pathlib.Path, content: bytes | bytearray) -> None:
    """Writes a file, whole or not at all; its folder must exist."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path), partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any, *, indent: int | None = None) -> None:
    """Writes JSON, whole or not at all.

    Args:
      path: the file; its folder must exist.
      value: anything `json` can write; NaN and infinity are refused, since JSON has neither. Lone
        surrogates in strings become their escapes, as in `write_text`.
      indent: spaces a level; None for the shortest file.
    """
    write_text(path, json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")
