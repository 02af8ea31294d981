"""Weights and pictures made from a seed and a name, bit for bit the same wherever numpy runs.

Both sides of a comparison make their own copy, so a fixture holds names, shapes and outputs, and no
weights. The raw integers of numpy's bit generators never change between versions (unlike the
distributions drawn from them), and a uniform value is an exact function of such an integer.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

# Mean 0 and variance 1 (a uniform value has the variance (high - low)^2 / 12).
_UNIT = (-math.sqrt(3.0), math.sqrt(3.0))

#: Ranges of vectors, by the end of their name; the first that fits counts.
_VECTORS = (
    (r"running_mean", (-0.1, 0.1)),
    (r"running_var", (0.5, 1.5)),
    # conv4_3 of SSD is normalized to length 1 over its 512 channels, and starts with factors of 20.
    (r"scale_weight", (10.0, 30.0)),
    # The last norm of a residual block: without a smaller weight 33 blocks would explode.
    (r"layer\d\.\d+\.bn3\.weight", (0.15, 0.45)),
    (r"layer\d\.\d+\.bn2\.weight", (0.35, 1.05)),
    (r"weight", (0.5, 1.5)),
    (r"gamma", (0.1, 0.5)),
    # Of some 100,000 scores a few hundred lie above the threshold of 0.05.
    (r"classification_head\.cls_logits\.bias", (-6.5, -5.5)),
    (r"bias", (-0.1, 0.1)),
)

#: Factors of kernels, by a part of their name; the others are He's.
_KERNELS = (
    # What comes out of a ResNet without a last normalization is of the order of 10.
    (r"fpn\.inner_blocks\.\d\.0\.weight", 0.1),
    (r"regression_head\.bbox_reg\.weight", 0.2),
    # The inputs of these are large, and most of their outputs would be cut off at 0 and 1.
    (r"blocks\.\d\.\d\.se\.conv_expand\.weight", 0.01),
    (r"layer_scale", 0.25),
    # Of the order of a tenth, so that where a patch is makes a difference.
    (r"pos_embed", 60.0),
    (r"cls_token", 10.0),
    # The last convolution of a block of an SSDLite, which no activation follows: else levels are of
    # the order of 1000, and what ReLU6 cuts at 6 would be their rounding.
    (r"backbone\.features\.[01]\.\d+\.(block\.)?[23]\.0\.weight", 0.6),
    # The images of SSD are not divided by a deviation: pixels of +-100.
    (r"backbone\.features\.0\.weight", 1.0 / 64.0),
    (r"regression_head\.module_list\.\d(\.1)?\.weight", 0.5),
)


def parameter(name: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """One entry of a state dict in the layout of torch.

    Args:
      name: its name; `num_batches_tracked` is int64, all others are float32.
      shape: its shape: `(O, I / groups, h, w)` of a convolution, `(O, I)` of a linear layer.
      seed: of the whole model.

    Returns:
      Kernels with the variance 2 / fan_in (He et al.), times a factor for the last layers; vectors
      in a range that suits what they are, so that the activations stay of the order of 1.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    size = math.prod(shape)
    if len(shape) == 1:
        low, high = next(bounds for end, bounds in _VECTORS if re.search(end + "$", name))
    else:
        low, high = (_deviation(name, shape) * bound for bound in _UNIT)
    integers = _raw(name, seed, size) >> 8
    # 24 bits are exact in float32, and so is every operation below but its one rounding.
    unit = integers.astype(np.float32) * np.float32(2.0**-24)
    values = (np.float32(low) + np.float32(high - low) * unit).reshape(shape)
    if re.search(r"classification_head\.module_list\.\d(\.1)?\.bias", name):
        # The first of every 91 outputs is the background, which wins almost everywhere.
        values[::91] += np.float32(10.0)
    return values


def state_dict(
    names_and_shapes: Iterable[tuple[str, Sequence[int]]], seed: int
) -> dict[str, np.ndarray]:
    """All entries of a state dict, in order.

    The convolutions of a head that a group norm follows (`conv.N.0` before `conv.N.1`, in an FCOS
    `conv.N` before `conv.N+1`) are a tenth of what they are without, so that the epsilon of the
    norm makes a difference. The distances of an FCOS are some strides, and a few of them 0; its
    scores are higher, since it has a ninth of the anchors and a higher threshold.
    """
    state = {name: parameter(name, shape, seed) for name, shape in names_and_shapes}
    for name, value in state.items():
        tower = re.fullmatch(r"(head\.\w+\.conv(?:\.\d)?)\.(\d+)\.weight", name)
        norm = f"{tower[1]}.{int(tower[2]) + 1}.weight" if tower else None
        if norm in state and value.ndim == 4 and state[norm].ndim == 1:
            value *= np.float32(0.1)
    if "head.regression_head.bbox_ctrness.bias" in state:
        state["head.regression_head.bbox_reg.bias"] += np.float32(2.0)
        state["head.regression_head.bbox_reg.weight"] *= np.float32(5.0)
        state["head.classification_head.cls_logits.bias"] += np.float32(1.5)
    return state


def untrained_heads(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights with the heads of a detector as torchvision starts them.

    Kernels with a deviation of 0.01, in an SSDLite 0.03, norms of 1 and biases of 0, but for every
    score of a RetinaNet or an FCOS 0.01.
    """
    state = dict(state)
    wanted = 0.03 if any(".module_list." in name for name in state) else 0.01
    for name in [name for name in state if name.startswith("head.")]:
        if "running_" in name or name.endswith("num_batches_tracked"):
            continue
        if name.endswith("bias"):
            score = "cls_logits" in name
            state[name] = np.full(state[name].shape, -4.5951 if score else 0.0, np.float32)
        elif state[name].ndim == 1:
            state[name] = np.ones_like(state[name])
        else:
            state[name] = state[name] * np.float32(wanted / _deviation(name, state[name].shape))
    return state


def images(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Smooth random pictures with some grain.

    Args:
      shape: how many, height, width.
      seed: of all of them.

    Returns:
      uint8 `[count, height, width, 3]`. Bilinear between random knots 16 pixels apart, in integers.
    """
    count, height, width = shape
    rows, columns = height // 16 + 2, width // 16 + 2
    knots = _raw("knots", seed, count * rows * columns * 3).reshape(count, rows, columns, 3) >> 24
    y, x = np.arange(height), np.arange(width)
    down, right = (y % 16)[:, None, None], (x % 16)[None, :, None]
    top, bottom = (
        (16 - right) * knots[:, y // 16 + i][:, :, x // 16]
        + right * knots[:, y // 16 + i][:, :, x // 16 + 1]
        for i in (0, 1)
    )
    smooth = ((16 - down) * top + down * bottom) // 256
    grain = (_raw("grain", seed, smooth.size) >> 27).reshape(smooth.shape)
    return ((smooth * 7 + grain * 8) // 8).astype(np.uint8)


def positions(name: str, size: int, count: int) -> np.ndarray:
    """Which of the `size` values of a tensor a fixture keeps: all, or `count` random ones."""
    return np.arange(size) if size <= count else _raw(name, 0, count).astype(np.int64) % size


def _deviation(name: str, shape: Sequence[int]) -> float:
    """Standard deviation of a kernel."""
    factor = next((factor for part, factor in _KERNELS if re.search(part, name)), 1.0)
    return factor * math.sqrt(2.0 / math.prod(shape[1:]))


def _raw(name: str, seed: int, size: int) -> np.ndarray:
    """Uniform uint32 `[size]` that belong to a name and a seed."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    words = np.random.PCG64(int.from_bytes(digest, "little")).random_raw((size + 1) // 2)
    return words.astype("<u8", copy=False).view("<u4")[:size]
