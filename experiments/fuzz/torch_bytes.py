"""Pickles and files of torch, put together instruction by instruction without torch."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C


class Raw(bytes):
    """Instructions that push one value."""


def push(value: Any) -> bytes:
    """The instructions that push a value, in protocol 2."""
    if isinstance(value, Raw):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        encoded = pickle.encode_long(value)
        return b"\x8a" + bytes([len(encoded)]) + encoded
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(push, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(push, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(push(key) + push(item) for key, item in value.items()) + b"u"
    raise TypeError(type(value))


def name(dotted: str) -> Raw:
    """The instructions that push a class or function."""
    module, _, attribute = dotted.rpartition(".")
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(dotted: str, *arguments: Any) -> Raw:
    """The instructions that push the result of a call."""
    return Raw(name(dotted) + push(arguments) + b"R")


def build(value: Any, state: Any) -> Raw:
    """The instructions that push a value and set its state."""
    return Raw(push(value) + push(state) + b"b")


def storage(
    kind: str = "torch.FloatStorage",
    key: Any = "0",
    device: Any = "cpu",
    count: Any = 6,
    *more: Any,
) -> Raw:
    """The instructions that push a storage of the file."""
    return Raw(push(("storage", name(kind), key, device, count, *more)) + b"Q")


def tensor(
    numbers: Any = None, offset: Any = 0, size: Any = (2, 3), stride: Any = (3, 1), *more: Any
) -> Raw:
    """The instructions that push a tensor, by default 2x3 of the storage "0"."""
    hooks = call("collections.OrderedDict")
    numbers = storage() if numbers is None else numbers
    arguments = (numbers, offset, size, stride, False, hooks, *more)
    return call("torch._utils._rebuild_tensor_v2", *arguments)


def whole(value: Any) -> bytes:
    """A whole pickle of a value."""
    return b"\x80\x02" + push(value) + b"."


SIX_FLOATS = struct.pack("<6f", *range(6))


def archive(
    saved: Any,
    storages: Mapping[str, bytes] | None = None,
    *,
    top: str = "archive",
    compression: int = zipfile.ZIP_STORED,
    **members: str | bytes,
) -> bytes:
    """A file in the zip format; `saved` is a pickle, or a value to push."""
    saved = saved if type(saved) is bytes else whole(saved)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as result:
        result.writestr(f"{top}/data.pkl", saved)
        for key, numbers in (storages or {"0": SIX_FLOATS}).items():
            result.writestr(f"{top}/data/{key}", numbers)
        for member, content in members.items():
            result.writestr(f"{top}/{member}", content)
    return file.getvalue()


def stream(
    saved: Any,
    storages: Mapping[str, bytes] | None = None,
    *,
    magic: Any = MAGIC,
    protocol: Any = 1001,
) -> bytes:
    """A file in the stream format; the storages consist of 4-byte numbers."""
    saved = saved if type(saved) is bytes else whole(saved)
    storages = {"0": SIX_FLOATS} if storages is None else storages
    parts = [whole(magic), whole(protocol), whole({"little_endian": True}), saved]
    parts.append(whole(list(storages)))
    parts += [struct.pack("<q", len(numbers) // 4) + numbers for numbers in storages.values()]
    return b"".join(parts)
