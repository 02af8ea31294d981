"""Pickles and files of torch, put together instruction by instruction without torch."""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C


class Raw(bytes):
    """Instructions that push one value."""


def push(value):
    """The instructions that push a value; protocol 2."""
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


def name(dotted):
    """Pushes a class or function."""
    module, _, attribute = dotted.rpartition(".")
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(dotted, *arguments):
    """Pushes what calling a function gives."""
    return Raw(name(dotted) + push(arguments) + b"R")


def build(value, state):
    """Pushes a value after setting its state."""
    return Raw(push(value) + push(state) + b"b")


def storage(kind="torch.FloatStorage", key="0", device="cpu", count=6, *more):
    """Pushes a storage of the file."""
    return Raw(push(("storage", name(kind), key, device, count, *more)) + b"Q")


def tensor(numbers=None, offset=0, size=(2, 3), stride=(3, 1), *more):
    """Pushes a tensor, by default 2x3 of the storage "0"."""
    hooks = call("collections.OrderedDict")
    numbers = storage() if numbers is None else numbers
    arguments = (numbers, offset, size, stride, False, hooks, *more)
    return call("torch._utils._rebuild_tensor_v2", *arguments)


def whole(value):
    """A whole pickle."""
    return b"\x80\x02" + push(value) + b"."


SIX_FLOATS = struct.pack("<6f", *range(6))


def archive(saved, storages=None, *, top="archive", compression=zipfile.ZIP_STORED, **members):
    """The zip format; `saved` is a pickle or a value to push."""
    saved = saved if type(saved) is bytes else whole(saved)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as result:
        result.writestr(f"{top}/data.pkl", saved)
        for key, numbers in (storages or {"0": SIX_FLOATS}).items():
            result.writestr(f"{top}/data/{key}", numbers)
        for member, content in members.items():
            result.writestr(f"{top}/{member}", content)
    return file.getvalue()


def stream(saved, storages=None, *, magic=MAGIC, protocol=1001):
    """The stream format; `storages` are of 4-byte numbers."""
    saved = saved if type(saved) is bytes else whole(saved)
    storages = {"0": SIX_FLOATS} if storages is None else storages
    parts = [whole(magic), whole(protocol), whole({"little_endian": True}), saved]
    parts.append(whole(list(storages)))
    parts += [struct.pack("<q", len(numbers) // 4) + numbers for numbers in storages.values()]
    return b"".join(parts)
