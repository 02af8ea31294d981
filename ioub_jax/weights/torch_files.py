"""Reads the files of `torch.save` without torch and without running any of their code.

Such a file contains a pickle of the saved object without the numbers of the tensors, and these
numbers as they were in memory. There are two formats: a zip archive (torch 1.6 and later), and a
stream (earlier versions, and still many published weights). `torch/serialization.py` describes
both. The pickle is not unpickled (see `pickled_data`): it can only create containers and tensors.
"""

import io
import mmap
import pathlib
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ioub_jax.errors import WeightsError
from ioub_jax.weights import pickled_data, torch_tensors
from ioub_jax.weights.pickled_data import Refusal, damaged
from ioub_jax.weights.torch_tensors import Arrays, Storage, StorageId

_STREAM_MAGIC, _STREAM_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# The memory for tensors that must be copied is limited to twice the size of the file plus this.
_SPARE_BYTES = 64 * 2**20


def read_torch_file(path: pathlib.Path) -> Any:
    """Reads the object that `torch.save` wrote into a file.

    Args:
      path: a file of any version of torch since 0.2.

    Returns:
      The saved dicts, lists, tuples, numbers and text. Each tensor or parameter is a read-only
      numpy array with its shape and dtype (bfloat16 is that of ml_dtypes), contiguous and in the
      machine's byte order. An array that is stored in this form is memory-mapped, so the file must
      not change while the array is in use. Command-line arguments, numpy's scalars and similar
      objects are returned as `LeftOut`.

    Raises:
      WeightsError: the file is damaged, was not written by torch, or contains other objects.
    """
    try:
        with path.open("rb") as file:
            return _read_file(file)
    except pickled_data.UnknownName as error:
        raise WeightsError(f"{path} {torch_tensors.reason_against(error.name)}") from None
    except Refusal as error:
        raise WeightsError(f"{path} {error}") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from None


def _read_file(file: io.BufferedReader) -> Any:
    if not file.peek(1):
        raise Refusal("is empty; get the file again.")
    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    arrays = Arrays(budget=2 * len(data) + _SPARE_BYTES)
    if data[:4] == b"PK\x03\x04":
        return _read_archive(_Archive(file, data), arrays)
    if data[:1] == b"\x80":
        return _read_stream(data, arrays)
    if data[257:262] == b"ustar":
        raise Refusal(
            "is in the tar format of torch 0.1, which cannot be read; load it with torch and save "
            "it again: torch.save(torch.load(path), path)."
        )
    raise Refusal("is not a file that torch.save wrote; give the file of a state dict.")


# --- The archive -----------------------------------------------------------------------------


class _Archive:
    """A zip archive whose members are viewed in place, so nothing is decompressed."""

    def __init__(self, file: io.BufferedReader, data: memoryview):
        self._data = data
        try:
            with zipfile.ZipFile(file) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}
        # All errors that zipfile raises for randomly changed bytes.
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise damaged(f"its zip archive cannot be opened, {type(error).__name__}") from None

    @property
    def names(self) -> Collection[str]:
        """The names of the members."""
        return self._entries.keys()

    def member(self, name: str) -> memoryview:
        """The bytes of a member."""
        entry = self._entries.get(name)
        if entry is None:
            raise damaged(f"it lacks its member {name[:200]!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Refusal(
                "is a compressed or encrypted zip archive, which torch.save never writes; unpack "
                "it, or get the original file."
            )
        # A member follows a header of 30 bytes, which includes the lengths of two more fields.
        header = entry.header_offset
        if header < 0 or self._data[header : header + 4] != b"PK\x03\x04":
            raise damaged("a member of its zip archive is not where it should be")
        name_length, extra_length = struct.unpack("<HH", self._data[header + 26 : header + 30])
        start = header + 30 + name_length + extra_length
        end = start + entry.file_size
        if entry.file_size != entry.compress_size or end > len(self._data):
            raise damaged("a member of its zip archive reaches beyond the file")
        return self._data[start:end]


def _read_archive(archive: _Archive, arrays: Arrays) -> Any:
    tops = [name[:-8] for name in archive.names if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(tops) != 1:
        raise Refusal("is a zip archive that torch.save did not write; give a state dict's file.")
    top = tops[0]
    if f"{top}constants.pkl" in archive.names:
        raise Refusal(
            "is a TorchScript archive; load it with torch.jit.load and save its state dict: "
            "torch.save(model.state_dict(), path)."
        )
    swapped = _byte_order(archive, top) != sys.byteorder
    # The cache by key and type lets tied tensors share their memory.
    opened: dict[tuple[str, np.dtype], Storage] = {}

    def open_storage(storage_id: StorageId) -> Storage:
        key, dtype = storage_id.key, storage_id.dtype
        if (key, dtype) not in opened:
            member = archive.member(f"{top}data/{key}")
            if len(member) != storage_id.count * dtype.itemsize:
                raise damaged("a storage has another size than its tensors say")
            opened[key, dtype] = arrays.storage(member, dtype, swapped=swapped)
        return opened[key, dtype]

    pickle = archive.member(f"{top}data.pkl")
    if len(pickle) > pickled_data.MAX_BYTES:
        raise Refusal("holds far more than tensors; save the state dict alone.")
    return torch_tensors.read_object(io.BytesIO(pickle), open_storage, arrays.tensor)


def _byte_order(archive: _Archive, top: str) -> str:
    """Returns 'little' or 'big'; torch 1 wrote no order, but ran on little-endian machines."""
    if f"{top}byteorder" not in archive.names:
        return "little"
    order = bytes(archive.member(f"{top}byteorder")[:10])
    if order not in (b"little", b"big"):
        raise damaged("its byte order is neither little nor big")
    return order.decode()


# --- The stream ------------------------------------------------------------------------------


class _Cursor:
    """Reads the parts of a stream one after another."""

    def __init__(self, data: memoryview, position: int = 0):
        self._data = data
        self.position = position

    def pickle(self, read: Callable[[io.BytesIO], Any]) -> Any:
        """Returns the result of `read` for the next pickle."""
        end = self.position + pickled_data.MAX_BYTES
        stream = io.BytesIO(self._data[self.position : end])
        value = read(stream)
        self.position += stream.tell()
        return value

    def take(self, size: int) -> memoryview:
        """Returns the next `size` bytes."""
        part = self._data[self.position : self.position + size]
        if len(part) < size:
            raise damaged("it ends within its numbers")
        self.position += size
        return part


def _read_stream(data: memoryview, arrays: Arrays) -> Any:
    """Reads magic number, version, machine, object, keys of the storages and their numbers."""
    cursor = _Cursor(data)
    if cursor.pickle(pickled_data.read) != _STREAM_MAGIC:
        raise Refusal(
            "is a pickle that torch.save did not write, and no other pickle is read; save the "
            "state dict: torch.save(model.state_dict(), path)."
        )
    if cursor.pickle(pickled_data.read) != _STREAM_PROTOCOL:
        raise Refusal("is of an unknown version of torch's format; save it again with torch.")
    cursor.pickle(pickled_data.read)
    # The storages follow the object that refers to them. The object is therefore read twice: first
    # for the descriptions of the storages, then for its contents.
    object_start = cursor.position
    described: dict[str, StorageId] = {}

    def describe(storage_id: StorageId) -> None:
        known = described.setdefault(storage_id.key, storage_id)
        if (known.dtype, known.count) != (storage_id.dtype, storage_id.count):
            raise damaged("a storage of two kinds")

    cursor.pickle(lambda stream: torch_tensors.read_object(stream, describe, lambda _: None))
    storages = _stream_storages(cursor, described, arrays)

    def open_storage(storage_id: StorageId) -> Storage:
        storage = storages[storage_id.key]
        if storage_id.view is None:
            return storage
        start, count = (n * storage.dtype.itemsize for n in storage_id.view)
        return Storage(storage.data[start : start + count], storage.dtype)

    again = _Cursor(data, object_start)
    return again.pickle(
        lambda stream: torch_tensors.read_object(stream, open_storage, arrays.tensor)
    )


def _stream_storages(
    cursor: _Cursor, described: dict[str, StorageId], arrays: Arrays
) -> dict[str, Storage]:
    keys = cursor.pickle(pickled_data.read)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise damaged("its list of storages")
    if len(keys) != len(described) or set(keys) != described.keys():
        raise damaged("its list of storages differs from its tensors'")
    storages = {}
    for key in keys:
        storage_id = described[key]
        # The numbers of a stream are little-endian, whatever machine wrote it.
        (count,) = struct.unpack("<q", cursor.take(8))
        if count != storage_id.count:
            raise damaged("a storage has another size than its tensors say")
        part = cursor.take(count * storage_id.dtype.itemsize)
        storages[key] = arrays.storage(part, storage_id.dtype, swapped=sys.byteorder != "little")
    return storages
