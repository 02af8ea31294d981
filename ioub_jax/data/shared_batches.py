"""Transfer of batches from worker processes, with images in reusable shared memory.

The images of a batch have tens of megabytes. The system clears new shared memory page by page,
which takes a considerable part of the time for decoding and resizing the images. Each worker
therefore keeps a few pieces of shared memory, and reuses a piece after its batch was copied out.
"""

import dataclasses
import itertools
import secrets
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

# The first byte of a piece says whether it holds a batch. The images begin at the next cache line.
_FREE, _IN_USE = 0, 1
_HEADER = 64


@dataclasses.dataclass(frozen=True)
class SharedBatch:
    """A batch as it is sent to the main process, without its images.

    Attributes:
      name: the name of the shared memory with the images.
      shape: the shape of the images.
      others: the other arrays of the batch.
    """

    name: str
    shape: tuple[int, ...]
    others: dict[str, np.ndarray]


class SharedImageMemory:
    """The pieces of shared memory that worker processes write images into.

    Args:
      size: number of bytes of the largest batch of images.

    Attributes:
      prefix: the prefix of the names of all pieces.
    """

    def __init__(self, size: int) -> None:
        self.prefix = f"ioub{secrets.token_hex(4)}"
        self._size = size
        self._pieces: list[SharedMemory] = []

    def __getstate__(self) -> dict[str, Any]:
        """The state without the pieces of memory, since every process has its own pieces."""
        return self.__dict__ | {"_pieces": []}

    def take(self, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
        """Takes a free piece of memory.

        Args:
          shape: the shape of the images.

        Returns:
          the name of the piece, and a uint8 array of that shape in it.
        """
        piece = next((piece for piece in self._pieces if _bytes(piece)[0] == _FREE), None)
        if piece is None:
            name = _name(self.prefix, _worker_index, len(self._pieces))
            piece = SharedMemory(name, create=True, size=_HEADER + self._size)
            self._pieces.append(piece)
        _bytes(piece)[0] = _IN_USE
        return piece.name, _images(piece, shape)


class SharedBatchReader:
    """Reads batches from the shared memory of the workers.

    Args:
      prefix: the prefix of the `SharedImageMemory`.
      num_workers: the number of workers, each of which has its own pieces.
    """

    def __init__(self, prefix: str, num_workers: int) -> None:
        self._prefix = prefix
        self._num_workers = num_workers
        self._pieces: dict[str, SharedMemory] = {}

    def read(self, batch: SharedBatch) -> dict[str, np.ndarray]:
        """Copies a batch into the memory of this process, and frees the shared memory for reuse."""
        piece = self._pieces.get(batch.name)
        if piece is None:
            piece = self._pieces[batch.name] = SharedMemory(batch.name)
            # Without a name the memory is freed when both processes end, for whatever reason.
            piece.unlink()
        images = np.array(_images(piece, batch.shape))
        _bytes(piece)[0] = _FREE
        return {"image": images, **batch.others}

    def close(self) -> None:
        """Frees all pieces, including those of batches that were never read.

        It must be called after the workers have ended.
        """
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


# The number of this worker process.
_worker_index = 0


def set_worker_index(index: int) -> None:
    """Sets the number of this worker process, from 0; to be called before it takes a piece."""
    global _worker_index
    _worker_index = index


def _name(prefix: str, worker: int, number: int) -> str:
    return f"{prefix}_{worker}_{number}"


def _bytes(piece: SharedMemory) -> memoryview:
    assert piece.buf is not None, "the piece is closed"
    return piece.buf


def _images(piece: SharedMemory, shape: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, np.uint8, buffer=_bytes(piece), offset=_HEADER)
