"""The tensors that a pickle of torch describes, as numpy arrays.

In the pickle, a tensor is a call with a storage (the numbers of one or more tensors), an offset,
sizes and strides. Each tensor is checked to be within its storage before it becomes an array.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ioub_jax.weights import pickled_data
from ioub_jax.weights.pickled_data import LeftOut, Name, Refusal, damaged

_MAX_DIMENSIONS = 32

_STORAGE_DTYPES: dict[str, np.dtype] = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.storage.UntypedStorage": np.dtype(np.uint8),
}
_DTYPES = (
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
)
# Objects that training scripts save beside the weights. Only their kind is kept.
_LEFT_OUT = (
    "argparse.Namespace",
    "collections.Counter",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
)
_UNREADABLE_TENSORS = {
    "torch._utils._rebuild_qtensor": "quantized",
    "torch.QInt8Storage": "quantized",
    "torch.QUInt8Storage": "quantized",
    "torch.QInt32Storage": "quantized",
    "torch.ComplexFloatStorage": "complex",
    "torch.ComplexDoubleStorage": "complex",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta",
    "torch._utils._rebuild_tensor_v3": "float8, complex32 or unsigned integer",
}
_MODULES = ("torch.nn.", "torchvision.", "timm.")


@dataclasses.dataclass(frozen=True)
class Storage:
    """The numbers of one or more tensors, as bytes in the machine's order."""

    data: memoryview
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class StorageId:
    """A storage in a pickle: `count` numbers; `view` is None or a part of them (first, number)."""

    key: str
    dtype: np.dtype
    count: int
    view: tuple[int, int] | None


class Arrays:
    """Makes arrays from storages, with a limit on the bytes of those that must be copied.

    A tensor in a malicious file can repeat one number 2**60 times.
    """

    def __init__(self, budget: int):
        self._budget = budget

    def spend(self, size: int) -> None:
        """Subtracts `size` bytes from the budget."""
        self._budget -= size
        if self._budget < 0:
            raise Refusal(
                "holds tensors that are many times as large as the file, so it was not read; save "
                "the state dict alone: torch.save(model.state_dict(), path)."
            )

    def tensor(self, arguments: tuple[Any, ...]) -> np.ndarray:
        """A tensor from torch's arguments: storage, offset, size, stride and some unused ones."""
        if not 4 <= len(arguments) <= 7 or type(arguments[0]) is not Storage:
            raise damaged("a tensor without numbers")
        storage, offset, size, stride = arguments[:4]
        # The type is checked first, since comparing an unknown value could take any time.
        metadata = arguments[6] if len(arguments) == 7 else None
        if metadata is not None and (type(metadata) is not dict or len(metadata)):
            raise Refusal("holds a tensor with pending operations; save `tensor.resolve_neg()`.")
        _check_within(len(storage.data) // storage.dtype.itemsize, offset, size, stride)
        itemsize = storage.dtype.itemsize
        if 0 in size:
            array = np.empty(size, storage.dtype)
        else:
            array = np.ndarray(
                size,
                storage.dtype,
                buffer=storage.data,
                offset=offset * itemsize,
                # A dimension of length 1 may have any stride.
                strides=[s * itemsize if n > 1 else 0 for n, s in zip(size, stride, strict=True)],
            )
        if not (array.flags.c_contiguous and array.flags.aligned):
            self.spend(array.nbytes)
            array = array.copy(order="C")
        array.flags.writeable = False
        return array

    def storage(self, data: memoryview, dtype: np.dtype, *, swapped: bool) -> Storage:
        """A storage from bytes of the file."""
        unsigned = np.dtype(f"u{dtype.itemsize}")
        numbers = np.frombuffer(data, unsigned.newbyteorder("S") if swapped else unsigned)
        if swapped or not numbers.flags.aligned:
            self.spend(numbers.nbytes)
            data = memoryview(numbers.astype(unsigned).view(np.uint8)).toreadonly()
        return Storage(data, dtype)


def _check_within(count: int, offset: Any, size: Any, stride: Any) -> None:
    """Refuses a tensor that is not within `count` numbers."""
    if (
        type(size) is not tuple
        or type(stride) is not tuple
        or not len(size) == len(stride) <= _MAX_DIMENSIONS
        or not all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    ):
        raise damaged("a tensor of no possible shape")
    if math.prod(n for n in size if n) >= 2**56:
        raise damaged("a tensor too large for any memory")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= count and 0 not in size:
        raise damaged("a tensor that reaches beyond its numbers")


def _parameter(arguments: tuple[Any, ...]) -> Any:
    if not arguments:
        raise damaged("a parameter without a tensor")
    return arguments[0]


def _left_out(kind: str, _: tuple[Any, ...]) -> LeftOut:
    return LeftOut(kind)


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise damaged("a size without dimensions")
    return arguments[0]


def read_object(
    stream: io.BytesIO,
    open_storage: Callable[[StorageId], Any],
    make_tensor: Callable[[tuple[Any, ...]], Any],
) -> Any:
    """The saved object; `make_tensor` makes its tensors from the storages of `open_storage`."""
    calls: dict[str, Callable[[tuple[Any, ...]], Any] | None] = {
        **dict.fromkeys((*_STORAGE_DTYPES, *(f"torch.{dtype}" for dtype in _DTYPES))),
        **{kind: functools.partial(_left_out, kind) for kind in _LEFT_OUT},
        "torch.Size": _size,
        "torch._utils._rebuild_tensor": make_tensor,
        "torch._utils._rebuild_tensor_v2": make_tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
    }
    return pickled_data.read(
        stream, calls, lambda identifier: open_storage(_storage_id(identifier))
    )


def _storage_id(identifier: Any) -> StorageId:
    """Parses `('storage', type, key, device, count)`, followed by None or a view in streams."""
    if type(identifier) is not tuple or not 5 <= len(identifier) <= 6:
        raise damaged("a storage without description")
    kind, storage_type, key, device, count = identifier[:5]
    view = identifier[5] if len(identifier) == 6 else None
    if (
        type(kind) is not str
        or kind != "storage"
        or type(storage_type) is not Name
        or storage_type.text not in _STORAGE_DTYPES
        or not all(type(text) is str for text in (key, device))
        or not _is_count(count)
    ):
        raise damaged("a storage of no known kind")
    if device == "meta":
        raise Refusal("holds a meta tensor, which has no numbers; save a model that has them.")
    if view is not None:
        if type(view) is not tuple or len(view) != 3 or not all(map(_is_count, view[1:])):
            raise damaged("a view of a storage without extent")
        view = view[1:]
        if sum(view) > count:
            raise damaged("a view that reaches beyond its storage")
    return StorageId(key, _STORAGE_DTYPES[storage_type.text], count, view)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**60


def reason_against(name: str) -> str:
    """The reason why a file with an unknown name is not read, as words that follow its path."""
    save = "Save the state dict alone: torch.save(model.state_dict(), path)."
    if name in _UNREADABLE_TENSORS:
        return (
            f"holds a {_UNREADABLE_TENSORS[name]} tensor ({name}), but only dense tensors of "
            "floats, signed integers, bytes and booleans can be read; convert it with torch first."
        )
    if name.startswith(_MODULES):
        return f"holds a whole model ({name[:200]!r}), which was not read. {save}"
    return (
        f"asks for {name[:200]!r}, which is not a tensor; a weights file has tensors only, so it "
        f"was not read. {save}"
    )
