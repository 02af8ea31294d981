"""Self-test of the machine: a convolution and its gradients, on which training depends."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.errors import ConfigError
from ioub_jax.models import convolutions

# Images, height, width and channels. oneDNN 3.12's kernels for CPUs with AMX, which torch also has
# and XLA has only with a flag, compute a wrong gradient with respect to the kernel if the number of
# images is small and even, and its product with the width is a multiple of 32.
_SHAPE = (4, 16, 16, 64)
# Relative to the norm. The error of rounding to bfloat16 is .003, that of a wrong gradient about 1.
_LARGEST_ERROR = 0.05


def check_convolution(dtype: Any, device: jax.Device) -> None:
    """Compares a small 3x3 convolution and its gradients with products of matrices by numpy.

    Args:
      dtype: the dtype of the network's computation.
      device: the device to test.

    Raises:
      ConfigError: the results differ by more than rounding.
    """
    random = np.random.default_rng(0)
    shapes = {"x": _SHAPE, "kernel": (3, 3, _SHAPE[-1], _SHAPE[-1]), "gradient": _SHAPE}
    given = {name: jnp.asarray(random.normal(size=shape), dtype) for name, shape in shapes.items()}
    found = _by_jax(**jax.device_put(given, device))
    expected = _by_matrices(**{name: np.asarray(a, np.float32) for name, a in given.items()})
    for name, right in expected.items():
        error = np.linalg.norm(np.asarray(found[name], np.float32) - right) / np.linalg.norm(right)
        if not error < _LARGEST_ERROR:
            raise ConfigError(
                f"jax {jax.__version__} computes {name} in {jnp.dtype(dtype)} wrongly on this "
                f"{device.device_kind} (it is off by {error:.0%}); set "
                "--config.model.dtype=float32, or remove --xla_cpu_experimental_onednn_custom_call "
                "from XLA_FLAGS, if it is there."
            )


@jax.jit
def _by_jax(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> dict[str, jax.Array]:
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolutions.spatial_convolution(x, kernel, stride=1, padding="symmetric")

    result, backward = jax.vjp(convolve, x, kernel)
    by_x, by_kernel = backward(gradient)
    return _named(result, by_x, by_kernel)


def _by_matrices(x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the same by matrix products, for each position of the kernel."""
    height, width = x.shape[1:3]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    result, by_kernel = np.zeros_like(x), np.zeros_like(kernel)
    by_padded = np.zeros_like(padded)
    for i, j in np.ndindex(3, 3):
        window = np.s_[:, i : i + height, j : j + width]
        result += padded[window] @ kernel[i, j]
        by_padded[window] += gradient @ kernel[i, j].T
        by_kernel[i, j] = np.tensordot(padded[window], gradient, axes=([0, 1, 2], [0, 1, 2]))
    return _named(result, by_padded[:, 1:-1, 1:-1], by_kernel)


def _named(result: Any, by_x: Any, by_kernel: Any) -> dict[str, Any]:
    return {
        "a convolution": result,
        "the gradient of a convolution with respect to its input": by_x,
        "the gradient of a convolution with respect to its kernel": by_kernel,
    }
