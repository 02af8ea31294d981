"""Reading of COCO's JSON in pieces of a few thousand entries, to save memory.

A file may have 25 million boxes, too many to be Python objects at the same time.
"""

import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar

import msgspec

from ioub_jax.coco_outlines import has_no_box
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import json_outline
from ioub_jax.data.sources.json_outline import Outline

_T = TypeVar("_T")
_LISTS = ("images", "annotations")
# Number of entries per piece if a file was read as a whole.
_ENTRIES = 1 << 16
_ANYTHING = msgspec.json.Decoder(list[msgspec.Raw])


class _NoJsonError(Exception):
    """A piece that is not JSON; the fault can only be found by reading the file as a whole."""


class Piece:
    """Consecutive entries of a list in the file.

    Args:
      text: the JSON text of a list of the entries, or the parsed entries themselves.
    """

    def __init__(self, text: bytes | list[Any]) -> None:
        self._text = text
        self._entries: list[Any] = text if isinstance(text, list) else []

    def entries(self) -> list[Any]:
        """The entries as the Python values that `json` returns."""
        if not self._entries and isinstance(self._text, bytes):
            try:
                self._entries = json.loads(self._text, object_hook=without_segmentation)
            except (ValueError, RecursionError) as error:
                raise _NoJsonError from error
            if not self._entries:  # a superfluous comma
                raise _NoJsonError
        return self._entries

    def decode(self, decoder: msgspec.json.Decoder[list[_T]]) -> list[_T] | None:
        """The entries read by a decoder; None if an entry does not match the decoder's type."""
        if isinstance(self._text, list):
            return None
        try:
            entries = decoder.decode(self._text)
            # msgspec does not check that the strings that it skips are UTF-8.
            if entries and (self._text.isascii() or self._text.decode()):
                return entries
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        return None


class Document:
    """The content of a file.

    Args:
      head: the object in the file, but with at most the first entry of the lists of images and of
        annotations.
      pieces: functions that iterate over the pieces of these lists; they can be called repeatedly.
      digest: SHA-256 of the file; None if it is not known.

    Attributes:
      head: as given.
      digest: as given.
    """

    def __init__(
        self,
        head: Any,
        pieces: Mapping[str, Callable[[], Iterator[Piece]]],
        digest: str | None = None,
    ) -> None:
        self.head = head
        self.digest = digest
        self._pieces = pieces

    def pieces(self, name: str) -> Iterator[Piece]:
        """The pieces of 'images' or 'annotations', in their order."""
        return self._pieces[name]() if name in self._pieces else iter(())

    def check(self) -> None:
        """Raises an exception, which `read_document` handles, if a piece is not JSON."""
        for name in self._pieces:
            for piece in self.pieces(name):
                if piece.decode(_ANYTHING) is None:
                    piece.entries()


def read_document(
    path: pathlib.Path, load: Callable[[], Any], read: Callable[[Document], _T]
) -> _T:
    """Reads a file piece by piece, or as a whole if it cannot be cut.

    Args:
      path: the file.
      load: reads the file as a whole; raises `DataError` if that is impossible.
      read: computes the result from the document; it may be called twice.

    Returns:
      the result of `read`.

    Raises:
      DataError: the error of `load`, or else that of `read`: faults of the file as a whole are
        reported before faults of an entry.
    """
    # A pipe can be read only once.
    try:
        file = path.open("rb") if os.path.isfile(path) else None
    except OSError:
        file = None
    if file is None:
        return read(_as_a_whole(load()))
    with file:
        try:
            document = _by_pieces(file)
            if document is not None:
                try:
                    return read(document)
                except DataError:
                    document.check()
                    raise
        except _NoJsonError:
            pass
    return read(_as_a_whole(load()))


def _by_pieces(file: BinaryIO) -> Document | None:
    """A document that reads the file piece by piece; None if the file has no outline."""
    found = json_outline.outline(file, _LISTS, json_outline.BLOCK)
    if found is None:
        return None
    try:
        head = json.loads(_rest(file, found), object_hook=without_segmentation)
    except (ValueError, RecursionError):
        return None

    def pieces(name: str) -> Iterator[Piece]:
        places = found.pieces[name]
        for start, end in places:
            file.seek(start)
            text = file.read(end - start)
            if len(places) > 1 or text.strip():
                yield Piece(b"[%b]" % text)

    for name in _LISTS:
        # Otherwise the key occurs twice, or is written with an escape.
        if head.get(name) != ([] if name in found.pieces else None):
            return None
    for name in found.pieces:
        first = next(pieces(name), None)
        try:
            head[name] = first.entries()[:1] if first else []
        except _NoJsonError:
            return None
    every = {name: functools.partial(pieces, name) for name in found.pieces}
    return Document(head, every, found.digest)


def _rest(file: BinaryIO, found: Outline) -> bytes:
    """The file without its pieces."""
    parts = []
    end = 0
    for places in sorted(found.pieces.values()):
        file.seek(end)
        parts.append(file.read(places[0][0] - end))
        end = places[-1][1]
    file.seek(end)
    return b"".join([*parts, file.read()])


def _as_a_whole(content: Any) -> Document:
    """A document whose entries are in memory; `content` is cut down to its head."""
    lists = {
        name: content[name]
        for name in _LISTS
        if isinstance(content, dict) and isinstance(content.get(name), list)
    }

    def pieces(name: str) -> Iterator[Piece]:
        for start in range(0, len(lists[name]), _ENTRIES):
            yield Piece(lists[name][start : start + _ENTRIES])

    head = content | {name: entries[:1] for name, entries in lists.items()} if lists else content
    return Document(head, {name: functools.partial(pieces, name) for name in lists})


def without_segmentation(entry: dict) -> dict:
    """Removes the segmentation from a parsed annotation with a box; it takes 90 % of the memory."""
    if "segmentation" in entry and not has_no_box(entry.get("bbox")):
        del entry["segmentation"]
    return entry
