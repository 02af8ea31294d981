import re

import jax
import jax.numpy as jnp
import pytest

from ioub_jax.models import convnext, efficientnet, mobilenet, resnet
from ioub_jax.weights import backbone_names


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("stem_conv/kernel", "conv1.weight"),
        ("stem_norm/scale", "bn1.weight"),
        ("stem_norm/bias", "bn1.bias"),
        ("stem_norm/mean", "bn1.running_mean"),
        ("stem_norm/var", "bn1.running_var"),
        ("stage1_block1/conv1/kernel", "layer1.0.conv1.weight"),
        ("stage1_block2/norm1/mean", "layer1.1.bn1.running_mean"),
        ("stage2_block1/shortcut_conv/kernel", "layer2.0.downsample.0.weight"),
        ("stage2_block1/shortcut_norm/var", "layer2.0.downsample.1.running_var"),
        ("stage3_block23/norm3/bias", "layer3.22.bn3.bias"),
        ("stage4_block3/conv3/kernel", "layer4.2.conv3.weight"),
    ],
)
def test_resnet_key(path, key):
    assert backbone_names.resnet_key(tuple(path.split("/"))) == key


# Our path, timm's key and that of efficientnet_pytorch.
EFFICIENTNET = [
    ("stem_conv/kernel", "conv_stem.weight", "_conv_stem.weight"),
    ("stem_norm/scale", "bn1.weight", "_bn0.weight"),
    ("stem_norm/mean", "bn1.running_mean", "_bn0.running_mean"),
    # Stage 1 expands nothing.
    (
        "stage1_block1/depthwise_conv/kernel",
        "blocks.0.0.conv_dw.weight",
        "_blocks.0._depthwise_conv.weight",
    ),
    ("stage1_block1/depthwise_norm/bias", "blocks.0.0.bn1.bias", "_blocks.0._bn1.bias"),
    (
        "stage1_block1/project_conv/kernel",
        "blocks.0.0.conv_pw.weight",
        "_blocks.0._project_conv.weight",
    ),
    (
        "stage1_block1/project_norm/var",
        "blocks.0.0.bn2.running_var",
        "_blocks.0._bn2.running_var",
    ),
    (
        "stage2_block1/expand_conv/kernel",
        "blocks.1.0.conv_pw.weight",
        "_blocks.1._expand_conv.weight",
    ),
    ("stage2_block1/expand_norm/scale", "blocks.1.0.bn1.weight", "_blocks.1._bn0.weight"),
    (
        "stage2_block2/depthwise_conv/kernel",
        "blocks.1.1.conv_dw.weight",
        "_blocks.2._depthwise_conv.weight",
    ),
    ("stage2_block2/depthwise_norm/bias", "blocks.1.1.bn2.bias", "_blocks.2._bn1.bias"),
    # 1 + 2 + 2 + 3 + 3 = 11 blocks before stage 6, 15 before stage 7.
    (
        "stage6_block4/project_conv/kernel",
        "blocks.5.3.conv_pwl.weight",
        "_blocks.14._project_conv.weight",
    ),
    (
        "stage7_block1/project_norm/mean",
        "blocks.6.0.bn3.running_mean",
        "_blocks.15._bn2.running_mean",
    ),
]


@pytest.mark.parametrize(("path", "timm", "lukemelas"), EFFICIENTNET)
def test_efficientnet_keys(path, timm, lukemelas):
    names = tuple(path.split("/"))
    assert backbone_names.efficientnet_key_timm(names) == timm
    assert backbone_names.efficientnet_key_lukemelas(names) == lukemelas


# Our path, torchvision's key and timm's.
MOBILENET = [
    ("stem_conv/kernel", "features.0.0.weight", "conv_stem.weight"),
    ("stem_norm/var", "features.0.1.running_var", "bn1.running_var"),
    # The first block expands nothing: depthwise, projection.
    (
        "stage1_block1/depthwise_conv/kernel",
        "features.1.block.0.0.weight",
        "blocks.0.0.conv_dw.weight",
    ),
    ("stage1_block1/project_norm/mean", "features.1.block.1.1.running_mean", None),
    # Expansion, depthwise, projection, in block 2 of all.
    ("stage2_block1/project_conv/kernel", "features.2.block.2.0.weight", None),
    # Expansion, depthwise, squeeze, projection, in block 1 + 2 + 1 of all.
    (
        "stage3_block1/squeeze_conv/bias",
        "features.4.block.2.fc1.bias",
        "blocks.2.0.se.conv_reduce.bias",
    ),
    (
        "stage3_block1/excite_conv/kernel",
        "features.4.block.2.fc2.weight",
        "blocks.2.0.se.conv_expand.weight",
    ),
    ("stage3_block1/project_norm/scale", "features.4.block.3.1.weight", "blocks.2.0.bn3.weight"),
    # 1 + 2 + 3 + 4 + 2 = 12 blocks before stage 6, 15 in all.
    ("stage6_block3/expand_norm/bias", "features.15.block.0.1.bias", "blocks.5.2.bn1.bias"),
    ("stage7_conv/kernel", "features.16.0.weight", "blocks.6.0.conv.weight"),
    ("stage7_norm/scale", "features.16.1.weight", "blocks.6.0.bn1.weight"),
]


@pytest.mark.parametrize(("path", "torchvision", "timm"), MOBILENET)
def test_mobilenet_keys(path, torchvision, timm):
    names = tuple(path.split("/"))
    assert backbone_names.mobilenet_key(names) == torchvision
    if timm is not None:
        assert backbone_names.mobilenet_key_timm(names) == timm


# Our path, torchvision's key and timm's.
CONVNEXT = [
    ("stem_conv/kernel", "features.0.0.weight", "stem.0.weight"),
    ("stem_norm/bias", "features.0.1.bias", "stem.1.bias"),
    (
        "stage1_block3/depthwise_conv/bias",
        "features.1.2.block.0.bias",
        "stages.0.blocks.2.conv_dw.bias",
    ),
    # Between stages the norm comes first.
    ("stage2_downsample_norm/scale", "features.2.0.weight", "stages.1.downsample.0.weight"),
    ("stage2_downsample_conv/kernel", "features.2.1.weight", "stages.1.downsample.1.weight"),
    ("stage3_block9/norm/scale", "features.5.8.block.2.weight", "stages.2.blocks.8.norm.weight"),
    (
        "stage4_block1/expand_conv/kernel",
        "features.7.0.block.3.weight",
        "stages.3.blocks.0.mlp.fc1.weight",
    ),
    (
        "stage4_block1/project_conv/bias",
        "features.7.0.block.5.bias",
        "stages.3.blocks.0.mlp.fc2.bias",
    ),
    ("stage4_block3/layer_scale", "features.7.2.layer_scale", "stages.3.blocks.2.gamma"),
]


@pytest.mark.parametrize(("path", "torchvision", "timm"), CONVNEXT)
def test_convnext_keys(path, torchvision, timm):
    names = tuple(path.split("/"))
    assert backbone_names.convnext_key(names) == torchvision
    assert backbone_names.convnext_key_timm(names) == timm


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (resnet.ResNet("resnet18"), backbone_names.resnet_key),
        (resnet.ResNet("resnext101_64x4d"), backbone_names.resnet_key),
        (efficientnet.EfficientNetLite0(), backbone_names.efficientnet_key_timm),
        (efficientnet.EfficientNetLite0(), backbone_names.efficientnet_key_lukemelas),
        (mobilenet.MobileNetV3Large(), backbone_names.mobilenet_key),
        (mobilenet.MobileNetV3Large(), backbone_names.mobilenet_key_timm),
        (convnext.ConvNeXt(), backbone_names.convnext_key),
        (convnext.ConvNeXt(), backbone_names.convnext_key_timm),
    ],
)
def test_every_variable_has_a_key_of_its_own(model, key):
    variables = jax.eval_shape(
        lambda k: model.init(k, jnp.zeros((1, 32, 32, 3)), train=False), jax.random.key(0)
    )
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    keys = {key(tuple(entry.key for entry in path[1:])) for path, _ in leaves}
    assert len(keys) == len(leaves)
    last = r"\.(weight|bias|running_mean|running_var|layer_scale|gamma)$"
    assert all(re.search(last, name) for name in keys)


def test_what_is_no_block_is_refused():
    with pytest.raises(ValueError, match="'pyramid' is not a block of a backbone"):
        backbone_names.resnet_key(("pyramid", "lateral3", "kernel"))
    with pytest.raises(ValueError, match="'stage2_conv' is not a module of a backbone"):
        backbone_names.convnext_key(("stage2_conv", "kernel"))
