"""Names from users' data, made printable for terminals, tables and pictures."""

import unicodedata
from collections.abc import Sequence

# Characters that join or separate letters in some scripts; they are not control characters.
_HARMLESS = {"\u200c", "\u200d"}


def printable(text: str) -> str:
    r"""A text in one line that shows its content and has no other effect on a terminal.

    Control characters (line breaks, cursor movements, changes of the writing direction) and lone
    surrogates (bytes of a file name that are not UTF-8) become escapes as in strings of Python and
    JSON: `\n`, `\x1b`, `\u202e`, `\udcff`.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable, text))


def _printable(letter: str) -> str:
    if letter.isprintable() or letter in _HARMLESS or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def listed(names: Sequence[str], most: int) -> str:
    """The names in one line, after the first `most` of them only their number."""
    told = ", ".join(names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most:,} more"


def printable_lines(text: str) -> str:
    """As `printable`, for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))
