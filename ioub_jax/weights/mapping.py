"""Conversion between torch state dicts and Flax variables, with every key accounted for."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ioub_jax.errors import WeightsError
from ioub_jax.printing import listed

StateDict = Mapping[str, np.ndarray]
Path = tuple[str, ...]

# Keys of each kind that an error names.
_NAMED = 5


def fill(
    template: Any,
    state_dict: StateDict,
    torch_key: Callable[[Path], str],
    *,
    ignored: Sequence[str] = (),
    name: str,
    architecture: str,
) -> dict[str, Any]:
    """Variables with the values of a state dict.

    Args:
      template: `{'params': ..., 'batch_stats': ...}` of arrays or `jax.ShapeDtypeStruct`.
      state_dict: torch's names to arrays; kernels are `[out, in, height, width]` or `[out, in]`.
      torch_key: maps the path of one of our variables, without its collection, to torch's name.
      ignored: regular expressions for keys without a counterpart here, such as a classifier's.
      name: the name of the weights in errors, such as a file.
      architecture: the name of the model in errors.

    Returns:
      The template's tree with float32 numpy arrays; kernels are `[height, width, in, out]` or
      `[in, out]`.

    Raises:
      WeightsError: keys are missing, unexpected or of another shape; the message names the first
        ones of each kind.
    """
    missing, misshaped, used = [], [], set()

    def value_of(path: tuple[Any, ...], leaf: Any) -> np.ndarray | None:
        key = torch_key(tuple(entry.key for entry in path[1:]))
        if key not in state_dict:
            missing.append(key)
            return None
        used.add(key)
        value = _as_ours(np.asarray(state_dict[key]))
        if value.shape != leaf.shape:
            misshaped.append(f"{key} {value.shape} instead of {leaf.shape}")
        return value

    variables = jax.tree_util.tree_map_with_path(value_of, dict(template))
    # In torch, batch norms also count their batches.
    known = re.compile("|".join((*ignored, r".*num_batches_tracked$")))
    unexpected = [key for key in state_dict if key not in used and not known.match(key)]
    problems = [
        f"{kind}: {listed(keys, _NAMED)}"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape (here in our order of axes)", misshaped),
        )
        if keys
    ]
    if problems:
        raise WeightsError(
            f"{name} does not have the weights of {architecture}; give the file of the model that "
            f"the configuration describes. Keys {'; '.join(problems)}."
        )
    return variables


def _as_ours(value: np.ndarray) -> np.ndarray:
    value = value.astype(np.float32, copy=False)
    if value.ndim == 2:  # a fully connected layer
        return value.T
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def collect(variables: Any, torch_key: Callable[[Path], str]) -> dict[str, np.ndarray]:
    """The state dict that `fill` converts to these variables.

    Args:
      variables: `{'params': ..., 'batch_stats': ...}` of arrays.
      torch_key: as in `fill`.

    Returns:
      Torch's names to float32 arrays; kernels are `[out, in, height, width]` or `[out, in]`.
    """
    state_dict = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        value = np.asarray(leaf, np.float32)
        if value.ndim == 2:
            value = value.T
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        key = torch_key(tuple(entry.key for entry in path[1:]))
        state_dict[key] = np.ascontiguousarray(value)
    return state_dict
