"""Reading of text files in the encodings that tools on several systems write."""

import codecs
import os
import pathlib

from ioub_jax.data.checks import DataError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: str | os.PathLike[str], way_out: str) -> str:
    """The text of a file in UTF-8, or in the encoding of its byte order mark.

    Args:
      path: the file.
      way_out: the end of the error message, which says what to do; without a full stop.

    Raises:
      DataError: the file cannot be read, or is not text.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); {way_out}.", "broken_annotation"
        ) from error
    try:
        return decoded(data)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}); {way_out}.", "broken_annotation"
        ) from error


def decoded(data: bytes) -> str:
    """The text of some bytes; raises `UnicodeDecodeError` if they are not text."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding)
