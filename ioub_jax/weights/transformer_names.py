"""Names of vision transformers in timm, DINOv2's own code and Hugging Face's transformers."""

import logging
import math
import re

import numpy as np

from ioub_jax.models.vision_transformer import PATCH, resizing_matrix
from ioub_jax.weights.mapping import StateDict

logger = logging.getLogger("ioub_jax")

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_MODULES = {
    ("norm1",): "norm1",
    ("attention", "qkv"): "attn.qkv",
    ("attention", "project"): "attn.proj",
    ("norm2",): "norm2",
    ("expand",): "mlp.fc1",
    ("project",): "mlp.fc2",
}

# Names in Dinov2Model of transformers -> names in timm and in DINOv2's own code.
_OF_TRANSFORMERS = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
_SEPARATE = re.compile(r"^(.*)\.attention\.attention\.query\.(weight|bias)$")


def transformer_key(path: tuple[str, ...]) -> str:
    """The key of a variable of `VisionTransformer` in timm's ViT and in DINOv2's own files.

    ('stage3_block1', 'attention', 'qkv', 'kernel') -> 'blocks.2.attn.qkv.weight'.
    """
    whole = {"stem_class_token": "cls_token", "stem_position": "pos_embed"}
    if path[0] in whole:
        return whole[path[0]]
    if path[0] == "stem_conv":
        return f"patch_embed.proj.{_LEAVES[path[1]]}"
    match = re.fullmatch(r"stage(\d+)_block1", path[0])
    if match is None:
        raise ValueError(f"{path[0]!r} is not a block of a transformer.")
    block = f"blocks.{int(match[1]) - 1}"
    if path[1].startswith("layer_scale"):
        return f"{block}.ls{path[1][-1]}.gamma"
    return f"{block}.{_MODULES[path[1:-1]]}.{_LEAVES[path[-1]]}"


def as_ours(state_dict: StateDict, grid: int) -> dict[str, np.ndarray]:
    """A state dict with timm's names, and with patches, positions and class token in our form.

    Args:
      state_dict: a state dict saved by timm, DINOv2's own code or transformers.
      grid: the number of rows, and of columns, of our network's position embeddings.

    Returns:
      The state dict. Patches of another size than 16 and positions of another grid are resampled as
      in timm, and the position of the class token is added to the token.
    """
    state = {key: np.asarray(value) for key, value in state_dict.items()}
    if any(key.startswith("embeddings.") for key in state):
        state = _of_transformers(state)
    position, patch = state.get("pos_embed"), state.get("patch_embed.proj.weight")
    if position is not None and position.ndim == 3 and "cls_token" in state:
        count = position.shape[1]
        if math.isqrt(count - 1) ** 2 == count - 1:
            state["cls_token"] = state["cls_token"] + position[:, :1]
            state["pos_embed"] = resized_position(position[:, 1:], grid)
    if patch is not None and patch.ndim == 4 and patch.shape[2] == patch.shape[3] != PATCH:
        logger.info("The patches of %dx%d pixels are resampled to %d.", *patch.shape[2:], PATCH)
        state["patch_embed.proj.weight"] = resampled_patches(patch, PATCH)
    return state


def resized_position(position: np.ndarray, grid: int) -> np.ndarray:
    """Position embeddings of a square `[1, n * n, C]` as `[1, grid * grid, C]`, float32."""
    _, count, channels = position.shape
    side = math.isqrt(count)
    if side == grid:
        return position
    logger.info("The position embeddings of %dx%d patches are resized to %d.", side, side, grid)
    matrix = resizing_matrix(side, grid)
    square = position.astype(np.float64).reshape(side, side, channels)
    resized = np.einsum("yi,xj,ijc->yxc", matrix, matrix, square)
    return resized.reshape(1, grid * grid, channels).astype(np.float32)


def resampled_patches(kernel: np.ndarray, size: int) -> np.ndarray:
    """A kernel `[out, in, n, n]` as `[out, in, size, size]`, float32.

    Applied to a resized patch, the new kernel yields as closely as possible what the given kernel
    yields for the original patch (FlexiViT, arXiv 2212.08013, section 3.4: the pseudoinverse of
    resizing).
    """
    inverse = np.linalg.pinv(resizing_matrix(kernel.shape[-1], size))
    resampled = np.einsum("ay,bx,oiab->oiyx", inverse, inverse, kernel.astype(np.float64))
    return resampled.astype(np.float32)


def _of_transformers(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the keys of transformers to timm's; joins queries, keys and values in one tensor."""
    state = dict(state)
    for key in list(state):
        separate = _SEPARATE.match(key)
        parts = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if separate and all(part in state for part in parts):
            joined = np.concatenate([state.pop(part) for part in parts])
            state[f"{separate[1]}.attn.qkv.{separate[2]}"] = joined
    return {_of_timm(key): value for key, value in state.items()}


def _of_timm(key: str) -> str:
    for theirs, of_timm in _OF_TRANSFORMERS:
        key = re.sub(theirs, of_timm, key)
    return key
