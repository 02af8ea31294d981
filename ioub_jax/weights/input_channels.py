"""Weights of networks for RGB images, in a network whose images have other channels."""

from typing import Any

import jax
import numpy as np

#: The first convolution of a backbone, whose kernels are `[height, width, channels, outputs]`.
_STEMS = ("stem_conv", "stage1_conv1")
_RGB = 3


def of_rgb(template: Any) -> Any:
    """The shapes of a backbone's variables for RGB images.

    Args:
      template: `{'params': ..., 'batch_stats': ...}` of a backbone; shapes are enough.

    Returns:
      the same tree, its first convolution of three channels.
    """

    def with_three(path: tuple[Any, ...], leaf: Any) -> Any:
        if not _is_stem(path) or leaf.shape[2] == _RGB:
            return leaf
        height, width, _, outputs = leaf.shape
        return jax.ShapeDtypeStruct((height, width, _RGB, outputs), leaf.dtype)

    return jax.tree_util.tree_map_with_path(with_three, template)


def adapted_inputs(theirs: Any, ours: Any) -> Any:
    """Variables whose first convolution takes as many channels as that of our network.

    Of kernels for RGB the ones for other channels are made so that an image whose channels are all
    the same gives what it gave as RGB, and so goes on through layers that expect that. One channel
    gets the sum of the three kernels. More keep the three for their first three, red, green and
    blue, and get the mean of them for each of the others, all divided by what that makes them
    larger: of four channels they are multiplied by 3/4. Two get half of the sum each.

    timm's `adapt_input_conv` has the same sums, but repeats red, green, blue, red, ... for what
    comes after the third. Zeros for new channels would leave them out for good where the first
    layers are frozen.

    Args:
      theirs: variables of a detector or of a backbone, by `params` and `batch_stats`.
      ours: those of our network; shapes are enough.

    Returns:
      `theirs`, another kernel in it where they have three channels and ours have others.
    """
    wanted = {
        _names(path): leaf.shape[2]
        for path, leaf in jax.tree_util.tree_leaves_with_path(ours)
        if _is_stem(path)
    }

    def adapted(path: tuple[Any, ...], leaf: Any) -> Any:
        channels = wanted.get(_names(path))
        if channels in (None, _RGB) or leaf.shape[2] != _RGB:
            return leaf
        return kernel_for(np.asarray(leaf), channels)

    return jax.tree_util.tree_map_with_path(adapted, theirs)


def kernel_for(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A float32 kernel for that many channels from one for RGB, `[height, width, 3, outputs]`."""
    mean = kernel.mean(axis=2, keepdims=True)
    if channels < _RGB:
        parts = np.repeat(mean, channels, axis=2)
    else:
        parts = np.concatenate([kernel, np.repeat(mean, channels - _RGB, axis=2)], axis=2)
    return (parts * np.float32(_RGB / channels)).astype(np.float32)


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    is_key = jax.tree_util.DictKey
    return tuple(str(entry.key) if isinstance(entry, is_key) else "" for entry in path)


def _is_stem(path: tuple[Any, ...]) -> bool:
    names = _names(path)
    is_kernel = len(names) > 1 and names[0] == "params" and names[-1] == "kernel"
    return is_kernel and names[-2] in _STEMS
