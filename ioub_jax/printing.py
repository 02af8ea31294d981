"""Names from users' data on terminals, in tables and in pictures."""

import unicodedata

# Spaces of other scripts, and what joins letters in some of them: they are no control characters.
_HARMLESS = {"\u200c", "\u200d"}


def printable(text: str) -> str:
    r"""A text of one line that shows its content and has no other effect on a terminal.

    Control characters (line breaks, cursor movements, changes of the writing direction) and lone
    surrogates (bytes of a file name that are not UTF-8) become escapes as in Python's and JSON's
    strings: `\n`, `\x1b`, `\u202e`, `\udcff`.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable, text))


def _printable(letter: str) -> str:
    if letter.isprintable() or letter in _HARMLESS or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def printable_lines(text: str) -> str:
    """As `printable`, for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))
