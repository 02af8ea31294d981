"""MobileNetV3-Large as the feature extractor of a detector.

Howard et al., arXiv 1905.02244, as in torchvision's `mobilenet_v3_large`. The first convolution is
called the stem. Stages 1 to 6 are the blocks of table 1, grouped by their number of output
channels, and the 1x1 convolution after them is stage 7.
"""

from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models.layers import (
    GroupedConvolution,
    block_result,
    convolution,
    depthwise_init,
    norm_of,
)

#: The output features: C2 to C5, or the two that torchvision's SSDLite uses.
Features = Literal["c2_to_c5", "ssdlite"]


class Block(NamedTuple):
    """One inverted bottleneck, a row of table 1 of the paper.

    Attributes:
      kernel: kernel size of the depthwise convolution.
      expanded: channels of the depthwise convolution.
      channels: channels of the output.
      squeezes: whether squeeze-and-excitation follows the depthwise convolution.
      activation: 'relu' or 'hard_swish'.
      stride: stride of the depthwise convolution.
    """

    kernel: int
    expanded: int
    channels: int
    squeezes: bool
    activation: str
    stride: int = 1


STAGES: tuple[tuple[Block, ...], ...] = (
    (Block(3, 16, 16, False, "relu"),),
    (Block(3, 64, 24, False, "relu", 2), Block(3, 72, 24, False, "relu")),
    (Block(5, 72, 40, True, "relu", 2), *[Block(5, 120, 40, True, "relu")] * 2),
    (
        Block(3, 240, 80, False, "hard_swish", 2),
        Block(3, 200, 80, False, "hard_swish"),
        *[Block(3, 184, 80, False, "hard_swish")] * 2,
    ),
    (Block(3, 480, 112, True, "hard_swish"), Block(3, 672, 112, True, "hard_swish")),
    (
        Block(5, 672, 160, True, "hard_swish", 2),
        *[Block(5, 960, 160, True, "hard_swish")] * 2,
    ),
)

_STEM_CHANNELS = 16
# The last stages of strides 4, 8 and 16; C5 is the output of the convolution after all stages.
_OUTPUTS = (2, 3, 5)
# The stage whose stride dilation replaces, and whose channels a reduced tail halves.
_TAIL = len(STAGES)
# Channels of the last convolution divided by those of its input.
_LAST_EXPANSION = 6


def whole_channels(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, but at least 8 and nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation, 1x1 projection.

    The result is added to the input if the block has stride 1 and as many output as input channels.
    Modules: `expand_conv` and `expand_norm` (absent if nothing is expanded), `depthwise_conv`,
    `depthwise_norm`, `squeeze_conv` and `excite_conv` (if `block.squeezes`), `project_conv`,
    `project_norm`.

    Attributes:
      block: the parameters of the block.
      dilation: dilation of the depthwise convolution, whose stride is 1 if this is above 1.
      norm: name of the normalization.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation.
    """

    block: Block
    dilation: int
    norm: str
    norm_epsilon: float
    norm_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps `[B, H, W, C]` to the output of the block and the output of its expansion.

        These are `[B, ceil(H/stride), ceil(W/stride), channels]` and `[B, H, W, expanded]`.
        """
        activation = {"relu": nn.relu, "hard_swish": nn.hard_swish}[self.block.activation]
        inner, y = self.block.expanded, x
        if inner != x.shape[-1]:
            y = convolution(inner, 1, dtype=self.dtype, name="expand_conv")(y)
            y = activation(norm_of(self, inner, train=train, name="expand_norm")(y))
        expanded = y
        y = GroupedConvolution(
            inner,
            self.block.kernel,
            groups=inner,
            stride=1 if self.dilation > 1 else self.block.stride,
            dilation=self.dilation,
            kernel_init=depthwise_init,
            dtype=self.dtype,
            name="depthwise_conv",
        )(y)
        y = activation(norm_of(self, inner, train=train, name="depthwise_norm")(y))
        if self.block.squeezes:
            y = y * self._excitation(y)
        channels = self.block.channels
        y = convolution(channels, 1, dtype=self.dtype, name="project_conv")(y)
        y = norm_of(self, channels, train=train, name="project_norm")(y)
        # A block whose stride dilation replaces has no residual connection, although its output is
        # as large as its input.
        is_residual = self.block.stride == 1 and x.shape[-1] == channels
        return x + y if is_residual else y, expanded

    def _excitation(self, y: jax.Array) -> jax.Array:
        """A factor from 0 to 1 for every channel, `[B, 1, 1, C]`."""
        factor = jnp.mean(y, (1, 2), keepdims=True, dtype=jnp.float32).astype(self.dtype)
        squeezed = whole_channels(y.shape[-1] // 4)
        factor = nn.relu(self._with_bias(squeezed, "squeeze_conv")(factor))
        return nn.hard_sigmoid(self._with_bias(y.shape[-1], "excite_conv")(factor))

    def _with_bias(self, channels: int, name: str) -> nn.Conv:
        return convolution(channels, 1, use_bias=True, dtype=self.dtype, name=name)


class MobileNetV3Large(nn.Module):
    """MobileNetV3-Large up to its last convolution, without its two fully connected layers.

    torchvision's weights require `norm_epsilon` 1e-3, timm's `mobilenetv3_large_100` 1e-5.

    Attributes:
      multiplier: factor of the numbers of channels, which are then rounded to multiples of 8.
      reduced_tail: whether the stage of stride 32 has half its channels (section 6.3 of the paper),
        as in torchvision's SSDLite.
      dilated: whether the stage of stride 32 has stride 16 and a dilation of 2.
      features: 'c2_to_c5' or 'ssdlite'.
      norm: 'frozen_bn', 'batch_norm' or 'group_norm'.
      frozen_stages: the parameters of the stem and of the first `frozen_stages` of seven stages
        get no gradient and their batch norms use the running statistics; 0 freezes only the stem,
        -1 nothing.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation; parameters are float32.
    """

    multiplier: float = 1.0
    reduced_tail: bool = False
    dilated: bool = False
    features: Features = "c2_to_c5"
    norm: str = "batch_norm"
    frozen_stages: int = -1
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalized images.
          train: whether batch norm uses (and updates) the statistics of the batch.

        Returns:
          C2, C3, C4, C5 with strides 4, 8, 16, 32 (16 if dilated), each `[B, ceil(H/stride),
          ceil(W/stride), C]` with 24, 40, 112 and 960 channels. For SSDLite there are two: the
          expansion of the first block of stride 32 (672 channels, stride 16), and C5.

        Raises:
          ValueError: `norm` or `features` is unknown.
        """
        if self.features not in get_args(Features):
            raise ValueError(
                f"features is {self.features!r}; it must be one of {', '.join(get_args(Features))}."
            )
        x = self._convolved(x, _STEM_CHANNELS * self.multiplier, 3, 2, "stem", 0, train)
        outputs, tap = [], x
        for number, stage in enumerate(STAGES, start=1):
            frozen = number <= self.frozen_stages
            for i, block in enumerate(self._blocks(stage, number), start=1):
                x, expanded = InvertedBottleneck(
                    block=block,
                    dilation=2 if self.dilated and number == _TAIL else 1,
                    norm=self.norm,
                    norm_epsilon=self.norm_epsilon,
                    norm_momentum=self.norm_momentum,
                    dtype=self.dtype,
                    name=f"stage{number}_block{i}",
                )(x, train=train and not frozen)
                x = block_result(x)
                if (number, i) == (_TAIL, 1):
                    tap = expanded
            if frozen:
                x, tap = jax.lax.stop_gradient((x, tap))
            if number in _OUTPUTS:
                outputs.append(x)
        last = _TAIL + 1
        x = self._convolved(x, _LAST_EXPANSION * x.shape[-1], 1, 1, f"stage{last}", last, train)
        return (*outputs, x) if self.features == "c2_to_c5" else (tap, x)

    def _blocks(self, stage: tuple[Block, ...], number: int) -> tuple[Block, ...]:
        """The blocks of a stage with the channels of this network."""
        in_tail = self.reduced_tail and number == _TAIL

        def channels(count: int, halved: bool) -> int:
            return whole_channels((count // 2 if halved else count) * self.multiplier)

        return tuple(
            # The expansion of the first block still has stride 16, and so is not halved.
            block._replace(
                expanded=channels(block.expanded, in_tail and i > 0),
                channels=channels(block.channels, in_tail),
            )
            for i, block in enumerate(stage)
        )

    def _convolved(
        self,
        x: jax.Array,
        channels: float,
        kernel: int,
        stride: int,
        name: str,
        stage: int,
        train: bool,
    ) -> jax.Array:
        """The first or the last convolution, with its norm and activation."""
        frozen = stage <= self.frozen_stages
        count = whole_channels(channels)
        x = convolution(count, kernel, stride=stride, dtype=self.dtype, name=f"{name}_conv")(x)
        norm = norm_of(
            self,
            count,
            train=train and not frozen,
            name=f"{name}_norm",
        )
        x = nn.hard_swish(norm(x))
        return jax.lax.stop_gradient(x) if frozen else x
