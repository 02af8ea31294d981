"""COCO's JSON a few thousand entries at a time: 25 million boxes are never objects all at once."""

import functools
import json
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
# Entries of a piece of a file that was read as a whole.
_ENTRIES = 1 << 16
_ANYTHING = msgspec.json.Decoder(list[msgspec.Raw])


class _NoJsonError(Exception):
    """A piece that is not JSON; the fault can only be found by reading the file as a whole."""


class Piece:
    """Consecutive entries of a list in the file.

    Args:
      text: JSON of a list of them, or else the entries themselves.
    """

    def __init__(self, text: bytes | list[Any]) -> None:
        self._text = text
        self._entries: list[Any] = text if isinstance(text, list) else []

    def entries(self) -> list[Any]:
        """The entries as Python values, as `json` reads them."""
        if not self._entries and isinstance(self._text, bytes):
            try:
                self._entries = json.loads(self._text, object_hook=without_segmentation)
            except (ValueError, RecursionError) as error:
                raise _NoJsonError from error
            if not self._entries:  # one comma too many
                raise _NoJsonError
        return self._entries

    def decode(self, decoder: msgspec.json.Decoder[list[_T]]) -> list[_T] | None:
        """The entries through a decoder; None if one of them does not match it."""
        if isinstance(self._text, list):
            return None
        try:
            entries = decoder.decode(self._text)
            # msgspec does not look into the strings that it leaves out.
            if entries and (self._text.isascii() or self._text.decode()):
                return entries
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        return None


class Document:
    """The content of a file.

    Args:
      head: its object; of its lists of images and of annotations the first entry, if any.
      pieces: those of these lists, as often as they are asked for.
      digest: SHA-256 of the file; None where it is not known.

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
        """The entries of 'images' or 'annotations', in their order."""
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
      load: reads it as a whole; raises `DataError` where that cannot be done.
      read: what is made of it; it may be called twice.

    Returns:
      what `read` does.

    Raises:
      DataError: what `load` raises, and else what `read` does: what is wrong with a file as a
        whole comes before what is wrong with an entry.
    """
    # What comes through a pipe comes once.
    try:
        file = path.open("rb") if path.is_file() else None
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
        # Otherwise the key is there again, or written with an escape.
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
    """Drops segmentations, nine tenths of the memory, once an annotation with a box is parsed."""
    if "segmentation" in entry and not has_no_box(entry.get("bbox")):
        del entry["segmentation"]
    return entry
