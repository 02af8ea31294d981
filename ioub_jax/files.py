"""Files that are whole or not there: written beside their place, then moved into it."""

import json
import os
import pathlib
from typing import Any


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file so that a kill at any moment leaves the old one or the new one.

    Args:
      path: the file; its folder must exist.
      text: what it shall hold, in UTF-8.
    """
    write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes | bytearray) -> None:
    """Writes a file, whole or not at all; its folder must exist."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
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
      value: anything `json` can write; NaN and infinity are refused, since JSON has neither.
      indent: spaces a level; None for the shortest file.
    """
    write_text(path, json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")
