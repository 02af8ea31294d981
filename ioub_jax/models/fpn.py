"""Feature pyramid P3 to P7 (Lin et al., arXiv 1612.03144; RetinaNet, arXiv 1708.02002).

Without the top-down path and with layer norms it is the simple pyramid of ViTDet (arXiv
2203.16527).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models import layers, patches

# torch's kaiming_uniform_(a=1), as torchvision initializes its pyramid: U(+-sqrt(3 / fan_in)).
_kernel_init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def upsample_to(x: jax.Array, height: int, width: int) -> jax.Array:
    """Nearest-neighbor doubling of `[B, h, w, C]`, cut to `[B, height, width, C]`."""
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return x[:, :height, :width]


class FeaturePyramid(nn.Module):
    """P3 to P7 from C3 to C5.

    Attributes:
      channels: channels of every level.
      p6_from: 'c5' (the paper) or 'p5' (torchvision's first RetinaNet).
      relu_before_p7: True for a ReLU between P6 and P7 (detectron2, torchvision).
      norm: 'none', 'group_norm' or 'layer_norm'; the norm after every convolution.
      top_down: True to add the features of the level above to P3 and P4; False if all levels come
        from one map, such as a vision transformer's.
      dtype: dtype of the computation.
    """

    channels: int = 256
    p6_from: str = "c5"
    relu_before_p7: bool = False
    norm: str = "none"
    top_down: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Maps (C3, C4, C5) to (P3, P4, P5, P6, P7), each `[B, h, w, channels]`.

        Raises:
          ValueError: `p6_from` or `norm` is unknown.
        """
        if self.p6_from not in ("c5", "p5"):
            raise ValueError(f"p6_from is {self.p6_from!r}; it must be 'c5' or 'p5'.")
        c5 = features[-1]
        top_down = self._convolution(c5, 1, "lateral5")
        levels = [self._convolution(top_down, 3, "output5")]
        for level, feature in zip((4, 3), features[-2::-1], strict=True):
            lateral = self._convolution(feature, 1, f"lateral{level}")
            if self.top_down:
                lateral = lateral + upsample_to(top_down, *lateral.shape[1:3])
            top_down = lateral
            levels.insert(0, self._convolution(top_down, 3, f"output{level}"))
        p6 = self._convolution(c5 if self.p6_from == "c5" else levels[-1], 3, "output6", stride=2)
        p7_input = nn.relu(p6) if self.relu_before_p7 else p6
        return (*levels, p6, self._convolution(p7_input, 3, "output7", stride=2))

    def _convolution(self, x: jax.Array, kernel: int, name: str, stride: int = 1) -> jax.Array:
        x = layers.convolution(
            self.channels,
            kernel,
            stride=stride,
            use_bias=True,
            kernel_init=_kernel_init,
            dtype=self.dtype,
            name=name,
        )(x)
        if self.norm == "none":
            return x
        if self.norm == "group_norm":
            return layers.group_norm(self.channels, dtype=self.dtype, name=f"{name}_norm")(x)
        if self.norm == "layer_norm":
            return patches.layer_norm(dtype=self.dtype, name=f"{name}_norm")(x)
        raise ValueError(
            f"norm of a pyramid is {self.norm!r}; it must be 'none', 'group_norm' or 'layer_norm'."
        )
