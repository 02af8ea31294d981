"""Weights of networks for RGB images, adapted to images with other channels."""

from typing import Any

import jax
import numpy as np

#: The first convolution of a backbone, whose kernels are `[height, width, channels, outputs]`.
_STEMS = ("stem_conv", "stage1_conv1")
_RGB = 3


def of_rgb(template: Any) -> Any:
    """The shapes of a backbone's variables for RGB images.

    Args:
      template: `{'params': ..., 'batch_stats': ...}` of a backbone; shapes are sufficient.

    Returns:
      the same tree, with three channels in the first convolution.
    """

    def with_three(path: tuple[Any, ...], leaf: Any) -> Any:
        if not _is_stem(path) or leaf.shape[2] == _RGB:
            return leaf
        height, width, _, outputs = leaf.shape
        return jax.ShapeDtypeStruct((height, width, _RGB, outputs), leaf.dtype)

    return jax.tree_util.tree_map_with_path(with_three, template)


def adapted_inputs(theirs: Any, ours: Any) -> Any:
    """Variables whose first convolution has as many input channels as that of our network.

    The kernel is converted such that an image with equal channels has the same outputs as it has in
    RGB, so that later layers see the values that they expect. For one channel, the kernel is the
    sum of the three kernels. For two channels, each gets half of the sum. For n > 3 channels, the
    first three (red, green and blue) keep their kernels, each further one gets their mean, and all
    are multiplied by 3 / n.

    timm's `adapt_input_conv` has the same sums, but repeats red, green, blue, red, ... for the
    channels after the third. Zeros for new channels would ignore these channels permanently if the
    first layers are frozen.

    Args:
      theirs: variables of a detector or of a backbone, by `params` and `batch_stats`.
      ours: the variables of our network; shapes are sufficient.

    Returns:
      `theirs`, with a converted kernel if theirs has three channels and ours another number.
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
    """A float32 kernel for `channels`, from one for RGB, `[height, width, 3, outputs]`."""
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
