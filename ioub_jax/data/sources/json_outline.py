"""Positions of the entries in the lists of a large JSON file, found without parsing it.

A file in COCO's format is an object of a few lists, one of which may have millions of entries. To
parse these a few thousand at a time, the file must be cut between entries. NumPy finds strings and
the depth of every bracket block by block, at one or two gigabytes a second. Whether the pieces are
valid JSON is left to the parser of each piece.
"""

import codecs
import dataclasses
import hashlib
import re
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

#: Number of bytes that are read at once; about the size of a piece.
BLOCK = 1 << 21
# The text before a list in an object. Nobody asks for keys longer than 40 characters.
_KEY = re.compile(rb'(?<!\\)"([A-Za-z_]{1,40})"[ \t\r\n]*:[ \t\r\n]*\Z')
_BEFORE = 256
_SPACE = b" \t\r\n"
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_OPEN_LIST, _CLOSE_LIST = ord("["), ord("]")


@dataclasses.dataclass(frozen=True)
class Outline:
    """Positions at which a file is cut into pieces.

    Attributes:
      pieces: for each list, by its name, the ranges of bytes `[start, end)` that hold its entries,
        in their order. Consecutive pieces are separated by nothing but a comma. Without its pieces,
        the file is JSON with empty lists in their place.
      size: size of the file in bytes.
      digest: SHA-256 of the file.
    """

    pieces: dict[str, list[tuple[int, int]]]
    size: int
    digest: str


def outline(file: BinaryIO, names: Collection[str], block: int = BLOCK) -> Outline | None:
    """Finds lists by their names in the object that a file holds.

    Args:
      file: a seekable file with JSON in UTF-8, at its beginning.
      names: the names of the lists.
      block: number of bytes that are read at once.

    Returns:
      the outline; None if the file is not an object whose brackets all match, or has one of the
      lists twice. A file with an outline is not necessarily valid JSON: it is if each piece and the
      rest of the file can be parsed.
    """
    scanner = _Scanner(file, names)
    digest = hashlib.sha256()
    buffer = bytearray(block)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(memoryview(buffer)[:count])
        if not scanner.read(np.frombuffer(buffer, np.uint8, count)):
            return None
    return Outline(scanner.pieces, scanner.start, digest.hexdigest()) if scanner.is_closed else None


class _Scanner:
    """State of the search at the beginning of a block of the file.

    Attributes:
      pieces: the pieces found so far.
      start: position in the file of the next block's beginning.
    """

    def __init__(self, file: BinaryIO, names: Collection[str]) -> None:
        self.pieces: dict[str, list[tuple[int, int]]] = {}
        self.start = 0
        self._file = file
        self._names = frozenset(names)
        self._depth = 0
        self._in_string = False
        self._is_escaped = False  # whether the last block ends in an odd number of backslashes
        self._list: str | None = None  # the open list; `_piece` is where its next piece begins
        self._piece = 0

    @property
    def is_closed(self) -> bool:
        """True if the brackets of exactly one object, and all strings, are closed."""
        return self.start > 0 and self._depth == 0 and not self._in_string

    def read(self, block: np.ndarray) -> bool:
        """Processes the next block, uint8 `[n]`; returns False if the object is malformed."""
        if self.start == 0:
            text = block.tobytes().removeprefix(codecs.BOM_UTF8)
            if not text.lstrip(_SPACE).startswith(b"{"):
                return False
        marks = self._find_marks(block)
        kinds = block[marks]
        is_quote = kinds == _QUOTE
        quotes = np.cumsum(is_quote, dtype=np.int32) + self._in_string
        # `|` and the backslash pass the test of `_find_marks`, too.
        brackets = (quotes & 1 == 0) & ~is_quote & ((kinds & 0x1F) != 0x1C)
        places, kinds = marks[brackets], kinds[brackets]
        # The second bit distinguishes [ and { (0x5B, 0x7B) from ] and } (0x5D, 0x7D).
        steps = (kinds & 2).astype(np.int32) - 1
        depths = self._depth + np.cumsum(steps, dtype=np.int32)
        fits = True
        if len(depths):
            is_inside = self._depth > 0 or self.start == 0
            fits = is_inside and self._follow(block, places, kinds, steps, depths)
        self._in_string = bool(quotes[-1] & 1) if len(quotes) else self._in_string
        self._depth = int(depths[-1]) if len(depths) else self._depth
        self.start += len(block)
        return fits

    def _find_marks(self, block: np.ndarray) -> np.ndarray:
        """Positions of brackets and of quotes that no backslash escapes."""
        is_mark = ((block | 0x20) - np.uint8(0x7B)) <= 2
        is_mark |= block == _QUOTE
        marks = np.flatnonzero(is_mark)
        if (block == _BACKSLASH).any() or self._is_escaped:
            text = block.tobytes()
            quotes = np.flatnonzero(block[marks] == _QUOTE)
            before = marks[quotes] - 1
            suspects = quotes[(before < 0) | (block[before] == _BACKSLASH)]
            escaped = [at for at in suspects if self._backslashes(text, int(marks[at])) % 2]
            self._is_escaped = self._backslashes(text, len(text)) % 2 == 1
            marks = np.delete(marks, escaped)
        return marks

    def _backslashes(self, text: bytes, end: int) -> int:
        """Number of backslashes directly before a position of a block, correct modulo two."""
        begin = end
        while begin and text[begin - 1] == _BACKSLASH:
            begin -= 1
        return end - begin + (self._is_escaped if begin == 0 else 0)

    def _follow(
        self,
        block: np.ndarray,
        places: np.ndarray,
        kinds: np.ndarray,
        steps: np.ndarray,
        depths: np.ndarray,
    ) -> bool:
        """Finds starts, ends and cuts of lists in a block; False if brackets do not match."""
        # No bracket may close more than was opened, and none may follow the end of the object.
        if depths.min() < 0 or np.any(depths[:-1] == 0):
            return False
        edges = np.flatnonzero(np.where(steps > 0, depths == 2, depths == 1))
        begin = 0
        for edge in edges:
            if steps[edge] > 0:
                if not self._open(int(places[edge]), int(kinds[edge])):
                    return False
                begin = int(edge) + 1
            elif self._list is not None:
                if kinds[edge] != _CLOSE_LIST:
                    return False
                self._cut(self.start + int(places[edge]))
                self._list = None
        if self._list is not None:
            ends = np.flatnonzero((steps[begin:] < 0) & (depths[begin:] == 2))
            if len(ends):
                after = int(places[begin + ends[-1]]) + 1
                rest = block[after:].tobytes().lstrip(_SPACE)
                if rest[:1] == b",":
                    comma = self.start + len(block) - len(rest)
                    self._cut(comma)
                    self._piece = comma + 1
        return True

    def _open(self, place: int, kind: int) -> bool:
        """Records the start of a list of the object; False if a list of this name came before."""
        at = self.start + place
        here = self._file.tell()
        self._file.seek(max(0, at - _BEFORE))
        before = self._file.read(min(at, _BEFORE))
        self._file.seek(here)
        key = _KEY.search(before)
        name = key[1].decode() if key else ""
        if kind == _OPEN_LIST and name in self._names:
            if name in self.pieces:
                return False
            self.pieces[name] = []
            self._list, self._piece = name, at + 1
        return True

    def _cut(self, end: int) -> None:
        assert self._list is not None
        self.pieces[self._list].append((self._piece, end))
