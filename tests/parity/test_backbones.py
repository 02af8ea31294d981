"""Every backbone puts out the features of its counterpart in torchvision or timm."""

import jax
import numpy as np
import pytest

from ioub_jax import weights
from ioub_jax.models import create_backbone, interface
from tests.parity import imported, synthetic
from tests.parity.comparison import Reference

#: Of the fixture, which is named as torchvision or timm names the network -> ours.
BACKBONES = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnext101_64x4d": "resnext101_64x4d",
    "resnext101_32x4d": "resnext101_32x4d",
    "tf_efficientnet_lite0": "efficientnet_lite0",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "convnext_tiny": "convnext_tiny",
    "convnext_small": "convnext_small",
    "convnext_tiny.timm": "convnext_tiny",
    "convnext_small.torchvision": "convnext_small",
    "vit_small_patch16_224": "vit_small",
    "vit_small_patch14_dinov2": "dinov2_small",
    "vit_base_patch16_224": "vit_base",
    "vit_base_patch14_dinov2": "dinov2_base",
}


# One of each kind is quick enough for every day.
_OF_EVERY_DAY = ("resnet18", "tf_efficientnet_lite0", "mobilenet_v3_large", "convnext_tiny")
_OF_EVERY_DAY += ("vit_small_patch16_224",)
_NAMES = [
    name if name in _OF_EVERY_DAY else pytest.param(name, marks=pytest.mark.slow)
    for name in BACKBONES
]


@pytest.mark.parametrize("name", _NAMES)
def test_features(name):
    reference = Reference(name)
    settings = reference.settings
    images = synthetic.images(settings["images"], settings["seed"])
    inputs = interface.normalize_images(images, settings["pixel_mean"], settings["pixel_std"])
    # Fixtures of before there were networks with other norms do not say which they have.
    norms = {"norm": settings.get("norm", "batch_norm")}
    if "norm_epsilon" in settings:
        norms["norm_epsilon"] = settings["norm_epsilon"]
    backbone = create_backbone(BACKBONES[name], **norms)
    key = jax.eval_shape(lambda: jax.random.key(0))
    template = jax.eval_shape(lambda key: backbone.init(key, inputs, train=False), key)
    variables = weights.backbone_variables(
        reference.state_dict(), template, backbone=BACKBONES[name], name=name
    )
    # What no file has, as the pyramid of a transformer.
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template["params"])
    variables["params"] = zeros | variables["params"]
    apply = jax.jit(
        lambda v, x: backbone.apply(v, x, train=False), compiler_options=imported.COMPILED_ONCE
    )
    features = apply(variables, inputs)
    found = {f"c{i}": np.asarray(level) for i, level in enumerate(features, start=2)}
    reference.check({name: found[name] for name in reference.names("c")})
