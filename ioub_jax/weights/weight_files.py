"""State dicts from files, of safetensors or of `torch.save`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ioub_jax.errors import WeightsError
from ioub_jax.weights.torch_files import read_torch_file

# Keys under which training scripts save a state dict, beside the epoch, the optimizer and so on.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_DATA_PARALLEL = "module."


def read_state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a file of weights, by torch's names.

    A state dict under 'state_dict', 'model_state_dict' or 'model' is extracted, values that are not
    tensors are dropped, and the prefix 'module.' that DataParallel adds to every name is removed.

    Args:
      path: a file of safetensors or of `torch.save`. The format is recognized by its content, not
        by its name.

    Returns:
      Names to arrays, in the file's order and with its shapes and dtypes (bfloat16 is that of
      ml_dtypes). The arrays may be read-only and backed by the file.

    Raises:
      WeightsError: the file does not exist, is damaged, has neither format, or holds no tensors.
    """
    head = _head(path)
    if _is_safetensors(head, path):
        saved: Any = _read_safetensors(path)
    elif head.lstrip()[:1] == b"<":
        raise WeightsError(
            f"{path} is a web page, not weights; open its address in a browser, then download the "
            "file itself."
        )
    else:
        saved = read_torch_file(path)
    tensors = _tensors_of(_unwrapped(saved))
    if not tensors:
        raise WeightsError(
            f"{path} has no state dict; save one: torch.save(model.state_dict(), path)."
        )
    if all(name.startswith(_DATA_PARALLEL) for name in tensors):
        return {name.removeprefix(_DATA_PARALLEL): array for name, array in tensors.items()}
    return tensors


def _head(path: pathlib.Path) -> bytes:
    if not path.exists():
        raise WeightsError(f"{path} does not exist; give the path of a file of weights.")
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; give the path of a file of weights.")
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from None


def _unwrapped(saved: Any) -> Any:
    if isinstance(saved, Mapping):
        for key in _WRAPPERS:
            if isinstance(saved.get(key), Mapping) and _tensors_of(saved[key]):
                return saved[key]
    return saved


def _tensors_of(saved: Any) -> dict[str, np.ndarray]:
    if not isinstance(saved, Mapping):
        return {}
    return {
        name: value
        for name, value in saved.items()
        if isinstance(name, str) and isinstance(value, np.ndarray)
    }


def _is_safetensors(head: bytes, path: pathlib.Path) -> bool:
    """True if a file begins with a plausible header length, followed by a brace."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 8 + length <= path.stat().st_size


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise WeightsError(
            f"{path} is a safetensors file, and the library that reads it is not installed: "
            "pip install safetensors."
        ) from None
    try:
        # numpy knows the name bfloat16 because ml_dtypes, which jax imports, has registered it.
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged ({error}); get the file again.") from None
    except (TypeError, AttributeError, KeyError):
        raise WeightsError(
            f"{path} has tensors of a type that numpy does not have; save them as float32."
        ) from None
