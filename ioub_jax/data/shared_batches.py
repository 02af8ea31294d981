"""Batches on their way from a worker process, their images in memory that is used again.

The images of a batch are tens of megabytes. Fresh shared memory has to be cleared by the system page
by page, which takes a good part of the time that decoding and resizing them does; here a worker
keeps a few pieces of it and writes the next batch where an old one was, once that was copied out.
"""

import atexit
import contextlib
import dataclasses
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

# The first byte of a piece says whether it holds a batch; the images begin at a cache line.
_FREE, _IN_USE = 0, 1
_HEADER = 64


@dataclasses.dataclass(frozen=True)
class SharedBatch:
    """A batch as it is sent: small, whatever the size of its images.

    Attributes:
        name: Of the shared memory with the images.
        shape: Of the images.
        others: The batch's other arrays.
    """

    name: str
    shape: tuple[int, ...]
    others: dict[str, np.ndarray]


class SharedImageMemory:
    """The pieces of shared memory that one worker process writes images into.

    Args:
        size: Bytes of the largest batch of images.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: list[SharedMemory] = []

    def __getstate__(self) -> dict[str, Any]:
        """Another process has pieces of its own."""
        return {"_size": self._size, "_pieces": []}

    def take(self, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
        """The name of a piece that nobody reads any more, and uint8 images of a shape in it."""
        piece = next((piece for piece in self._pieces if _bytes(piece)[0] == _FREE), None)
        if piece is None:
            piece = SharedMemory(create=True, size=_HEADER + self._size)
            self._pieces.append(piece)
            atexit.register(_unlink, piece)
        _bytes(piece)[0] = _IN_USE
        return piece.name, _images(piece, shape)


class SharedBatchReader:
    """Takes batches out of the workers' shared memory."""

    def __init__(self) -> None:
        self._pieces: dict[str, SharedMemory] = {}

    def read(self, batch: SharedBatch) -> dict[str, np.ndarray]:
        """The batch in memory of this process; its worker may use the shared memory again."""
        piece = self._pieces.get(batch.name)
        if piece is None:
            piece = self._pieces[batch.name] = SharedMemory(batch.name)
            # Without its name the memory ends with the two processes, however they end.
            _unlink(piece)
        images = np.array(_images(piece, batch.shape))
        _bytes(piece)[0] = _FREE
        return {"image": images, **batch.others}

    def close(self) -> None:
        """Lets go of the shared memory."""
        for piece in self._pieces.values():
            piece.close()
        self._pieces.clear()


def _bytes(piece: SharedMemory) -> memoryview:
    assert piece.buf is not None, "the piece is closed"
    return piece.buf


def _images(piece: SharedMemory, shape: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, np.uint8, buffer=_bytes(piece), offset=_HEADER)


def _unlink(piece: SharedMemory) -> None:
    with contextlib.suppress(FileNotFoundError):  # the other process was first
        piece.unlink()
