"""Transfer of batches from worker processes, with images in reusable shared memory.

The images of a batch are tens of megabytes. Fresh shared memory has to be cleared by the system,
page by page, which takes a good part of the time that decoding and resizing them does; here a
worker keeps a few pieces of it and writes the next batch where an old one was, once that was copied
out.
"""

import dataclasses
import itertools
import secrets
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

# The first byte of a piece says whether it holds a batch; the images begin at a cache line.
_FREE, _IN_USE = 0, 1
_HEADER = 64


@dataclasses.dataclass(frozen=True)
class SharedBatch:
    """A batch as it is sent, small whatever the size of its images.

    Attributes:
      name: of the shared memory with the images.
      shape: of the images.
      others: the batch's other arrays.
    """

    name: str
    shape: tuple[int, ...]
    others: dict[str, np.ndarray]


class SharedImageMemory:
    """The pieces of shared memory that worker processes write images into.

    Args:
      size: bytes of the largest batch of images.

    Attributes:
      prefix: what the names of all pieces begin with.
    """

    def __init__(self, size: int) -> None:
        self.prefix = f"ioub{secrets.token_hex(4)}"
        self._size = size
        self._pieces: list[SharedMemory] = []

    def __getstate__(self) -> dict[str, Any]:
        """State without the pieces of memory, since another process has its own."""
        return self.__dict__ | {"_pieces": []}

    def take(self, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
        """The name of a piece that is no longer read, and uint8 images of a shape in it."""
        piece = next((piece for piece in self._pieces if _bytes(piece)[0] == _FREE), None)
        if piece is None:
            name = _name(self.prefix, _worker_index, len(self._pieces))
            piece = SharedMemory(name, create=True, size=_HEADER + self._size)
            self._pieces.append(piece)
        _bytes(piece)[0] = _IN_USE
        return piece.name, _images(piece, shape)


class SharedBatchReader:
    """Takes batches out of the workers' shared memory.

    Args:
      prefix: of the `SharedImageMemory`.
      num_workers: how many workers have pieces of it.
    """

    def __init__(self, prefix: str, num_workers: int) -> None:
        self._prefix = prefix
        self._num_workers = num_workers
        self._pieces: dict[str, SharedMemory] = {}

    def read(self, batch: SharedBatch) -> dict[str, np.ndarray]:
        """The batch in memory of this process; its worker may use the shared memory again."""
        piece = self._pieces.get(batch.name)
        if piece is None:
            piece = self._pieces[batch.name] = SharedMemory(batch.name)
            # Without its name the memory ends with the two processes, however they end.
            piece.unlink()
        images = np.array(_images(piece, batch.shape))
        _bytes(piece)[0] = _FREE
        return {"image": images, **batch.others}

    def close(self) -> None:
        """Frees all pieces, including those of batches never read; the workers have ended."""
        for worker in range(self._num_workers):
            for number in itertools.count():
                name = _name(self._prefix, worker, number)
                if name in self._pieces:
                    continue
                try:
                    piece = SharedMemory(name)
                except FileNotFoundError:
                    break
                piece.unlink()
                piece.close()
        for piece in self._pieces.values():
            piece.close()
        self._pieces.clear()


# Which of the workers this process is.
_worker_index = 0


def set_worker_index(index: int) -> None:
    """Tells a worker process its number, from 0, before it takes a piece."""
    global _worker_index
    _worker_index = index


def _name(prefix: str, worker: int, number: int) -> str:
    return f"{prefix}_{worker}_{number}"


def _bytes(piece: SharedMemory) -> memoryview:
    assert piece.buf is not None, "the piece is closed"
    return piece.buf


def _images(piece: SharedMemory, shape: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, np.uint8, buffer=_bytes(piece), offset=_HEADER)
