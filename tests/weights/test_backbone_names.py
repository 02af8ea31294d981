import re

import jax
import jax.numpy as jnp
import pytest

from ioub_jax.models import efficientnet, resnet
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


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (resnet.ResNet("resnet18"), backbone_names.resnet_key),
        (resnet.ResNet("resnext101_64x4d"), backbone_names.resnet_key),
        (efficientnet.EfficientNetLite0(), backbone_names.efficientnet_key_timm),
        (efficientnet.EfficientNetLite0(), backbone_names.efficientnet_key_lukemelas),
    ],
)
def test_every_variable_has_a_key_of_its_own(model, key):
    variables = jax.eval_shape(
        lambda k: model.init(k, jnp.zeros((1, 32, 32, 3)), train=False), jax.random.key(0)
    )
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    keys = {key(tuple(entry.key for entry in path[1:])) for path, _ in leaves}
    assert len(keys) == len(leaves)
    assert all(re.search(r"\.(weight|bias|running_mean|running_var)$", name) for name in keys)


def test_what_is_no_block_is_refused():
    with pytest.raises(ValueError, match="'pyramid' is no block of a backbone"):
        backbone_names.resnet_key(("pyramid", "lateral3", "kernel"))
