"""Torchvision's detectors: the names of their keys, and the configuration equal to each."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from ioub_jax import detectors
from ioub_jax.configs.torchvision_models import SSDS, torchvision_config
from ioub_jax.errors import WeightsError
from ioub_jax.models import mobilenet
from ioub_jax.weights import backbone_names, mapping
from ioub_jax.weights.imported_backbones import vgg_key

# Only an FCOS among these detectors has this key.
_CENTRENESS_KERNEL = "head.regression_head.bbox_ctrness.weight"
# The last convolution of the last stage of MobileNetV3 in an SSDLite.
_TAIL_KERNEL = "backbone.features.1.2.block.3.0.weight"
# Torchvision's detectors for COCO have an output for each category id up to 90, and for id 0.
COCO_OUTPUTS = 91


@dataclasses.dataclass(frozen=True)
class ImportedDetector:
    """A detector from another library.

    Attributes:
      architecture: 'retinanet_resnet50_fpn', 'retinanet_resnet50_fpn_v2', 'fcos_resnet50_fpn',
        'ssd300_vgg16' or 'ssdlite320_mobilenet_v3_large'.
      config: the part of a configuration that describes it: `model`, `anchors`, `matcher`, `loss`,
        `evaluation` and `data`.
      variables: `params` and `batch_stats`, float32 numpy arrays.
      category_ids: for each of our labels, the number of its output; for COCO, this is the category
        id.
    """

    architecture: str
    config: dict[str, Any]
    variables: dict[str, Any]
    category_ids: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.category_ids)

    @property
    def is_of_coco(self) -> bool:
        """True if its outputs are COCO's category ids up to 90."""
        return self.category_ids in (tuple(range(COCO_OUTPUTS)), tuple(range(1, COCO_OUTPUTS)))

    def with_classes(self, category_ids: Sequence[int]) -> "ImportedDetector":
        """The same detector restricted to some of its classes.

        Args:
          category_ids: the outputs to keep, in the order of the new labels.

        Raises:
          WeightsError: there is no such output.
        """
        unknown = set(category_ids) - set(self.category_ids)
        if unknown:
            raise WeightsError(f"The detector has no output for the classes {sorted(unknown)}.")
        rows = [self.category_ids.index(id_) for id_ in category_ids]
        if self.architecture in SSDS:
            rows = [0, *(row + 1 for row in rows)]  # column 0 is the background
        outputs = self.num_classes + (self.architecture in SSDS)
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                _columns(leaf, outputs, rows)
                if is_class_output(tuple(entry.key for entry in path))
                else leaf
            ),
            self.variables["params"],
        )
        return dataclasses.replace(
            self,
            variables={**self.variables, "params": params},
            category_ids=tuple(category_ids),
        )


def is_class_output(path: mapping.Path) -> bool:
    """True if a parameter belongs to the layer whose outputs are the classes.

    Args:
      path: the names from the root of a detector's parameters to the parameter.
    """
    if path[0].startswith("classification_heads"):
        # In an SSD, the head of a level is that layer; in an SSDLite, it is the head's last layer.
        return len(path) == 2 or path[1] == "output"
    return path[:2] == ("classification_head", "output")


def _columns(leaf: np.ndarray, outputs: int, rows: Sequence[int]) -> np.ndarray:
    """Returns some outputs of every anchor, from an array `[..., anchors * outputs]`."""
    by_anchor = leaf.reshape(*leaf.shape[:-1], -1, outputs)[..., list(rows)]
    return by_anchor.reshape(*leaf.shape[:-1], -1)


def detector_of(state_dict: mapping.StateDict, *, name: str) -> ImportedDetector:
    """The detector whose weights a state dict holds, with all of its outputs.

    The epsilon of the batch norms is that of torchvision: 0 for `retinanet_resnet50_fpn` with
    COCO's 91 outputs, 1e-3 for an SSDLite, 1e-5 otherwise.

    Args:
      state_dict: the state dict of torchvision's `retinanet_resnet50_fpn`,
        `retinanet_resnet50_fpn_v2`, `fcos_resnet50_fpn`, `ssd300_vgg16` or
        `ssdlite320_mobilenet_v3_large`, with any number of classes.
      name: the name of the weights in errors, such as a file.

    Raises:
      WeightsError: it is none of these detectors, or keys are missing, unexpected or of another
        shape.
    """
    state_dict = _with_current_names(state_dict)
    architecture = _recognize(state_dict, name)
    config = torchvision_config(architecture)
    ids = _output_ids(state_dict, architecture, config["anchors"])
    if architecture == "retinanet_resnet50_fpn" and len(ids) == COCO_OUTPUTS:
        # Its statistics already include the epsilon of the network that they come from.
        config["model"]["norm_epsilon"] = 0.0
    if _TAIL_KERNEL in state_dict:
        # Torchvision's own weights have half of the channels in this layer. Detectors that were
        # trained from the weights of a classifier have all of them.
        tail = state_dict[_TAIL_KERNEL].shape[0]
        config["model"]["reduced_tail"] = tail < mobilenet.STAGES[-1][-1].channels
    network = detectors.create(ml_collections.ConfigDict(config), len(ids)).network
    images = jax.ShapeDtypeStruct((1, *config["data"]["canvases"][0], 3), jnp.float32)
    template = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), images)
    variables = mapping.fill(
        template, state_dict, KEYS[architecture], name=name, architecture=architecture
    )
    return ImportedDetector(architecture, config, variables, ids)


def _output_ids(
    state_dict: mapping.StateDict, architecture: str, anchors: dict[str, Any]
) -> tuple[int, ...]:
    """Returns the numbers of the outputs that are classes."""
    outputs = state_dict[_FIRST_OUTPUT_KERNEL[architecture]].shape[0]
    if architecture in SSDS:
        # The first output is the background.
        return tuple(range(1, outputs // (2 * (1 + len(anchors["ratios"][0])))))
    return tuple(range(outputs // (anchors["scales_per_octave"] * len(anchors["ratios"]))))


def _recognize(state_dict: mapping.StateDict, name: str) -> str:
    if "backbone.scale_weight" in state_dict:
        return "ssd300_vgg16"
    if _FIRST_OUTPUT_KERNEL["ssdlite320_mobilenet_v3_large"] in state_dict:
        return "ssdlite320_mobilenet_v3_large"
    if _FIRST_OUTPUT_KERNEL["retinanet_resnet50_fpn"] in state_dict:
        if _CENTRENESS_KERNEL in state_dict:
            return "fcos_resnet50_fpn"
        second = "head.classification_head.conv.0.1.weight" in state_dict
        return "retinanet_resnet50_fpn" + "_v2" * second
    *others, last = KEYS
    raise WeightsError(
        f"{name} is not one of torchvision's {', '.join(others)} and {last}; set weights of a "
        "backbone alone as config.model.pretrained."
    )


def _with_current_names(state_dict: mapping.StateDict) -> dict[str, np.ndarray]:
    """Renames keys to torchvision's current ones; its published RetinaNet predates version 0.13."""

    def current(key: str) -> str:
        key = re.sub(r"((?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)
        if _CENTRENESS_KERNEL in state_dict:
            return key  # all layers of an FCOS tower are still in one list
        old = re.match(r"(head\.\w+\.conv)\.(\d+)\.(weight|bias)$", key)
        # A convolution and its ReLU used to be two entries of one list.
        return f"{old[1]}.{int(old[2]) // 2}.0.{old[3]}" if old else key

    return {current(key): value for key, value in state_dict.items()}


_SUFFIXES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def _retinanet_key(path: mapping.Path) -> str:
    part, layer, *_ = path
    if part == "backbone":
        return "backbone.body." + backbone_names.resnet_key(path[1:])
    suffix = _SUFFIXES[path[-1]]
    if part == "pyramid":
        kind, level = layer[:-1], int(layer[-1])
        if level > 5:
            return f"backbone.fpn.extra_blocks.p{level}.{suffix}"
        blocks = "inner_blocks" if kind == "lateral" else "layer_blocks"
        return f"backbone.fpn.{blocks}.{level - 3}.0.{suffix}"
    head, output = {
        "classification_head": ("classification_head", "cls_logits"),
        "localization_head": ("regression_head", "bbox_reg"),
    }[part]
    if layer == "output":
        return f"head.{head}.{output}.{suffix}"
    kind, number = layer.split("_")
    return f"head.{head}.conv.{number}.{'0' if kind == 'tower' else '1'}.{suffix}"


def _fcos_key(path: mapping.Path) -> str:
    part, layer, *_ = path
    if part in ("backbone", "pyramid") or layer == "output":
        return _retinanet_key(path)
    suffix = _SUFFIXES[path[-1]]
    if layer == "quality_output":
        return _CENTRENESS_KERNEL.replace("weight", suffix)
    head = "classification_head" if part == "classification_head" else "regression_head"
    kind, number = layer.split("_")
    # The list repeats a convolution, its norm and a ReLU.
    return f"head.{head}.conv.{3 * int(number) + (kind == 'norms')}.{suffix}"


def _ssd_key(path: mapping.Path) -> str:
    part, suffix = path[0], _SUFFIXES[path[-1]]
    if part == "l2_norm":
        return "backbone.scale_weight"
    if part == "backbone":
        return f"backbone.{_ssd_backbone_module(path[1])}.{suffix}"
    if part == "extra_layers":
        block, place = (int(number) for number in path[1].removeprefix("conv").split("_"))
        # A block has a convolution, a ReLU and a convolution; conv8 is the second extra block.
        return f"backbone.extra.{block - 7}.{2 * (place - 1)}.{suffix}"
    head = {"classification": "classification_head", "localization": "regression_head"}
    kind, _, level = part.split("_")
    return f"head.{head[kind]}.module_list.{level}.{suffix}"


def _ssdlite_key(path: mapping.Path) -> str:
    part, layer, *_ = path
    if part == "backbone":
        return "backbone." + _ssdlite_backbone(backbone_names.mobilenet_key(path[1:]))
    suffix = _SUFFIXES[path[-1]]
    kind, _, number = part.rpartition("_")
    if kind == "extra_blocks":
        name, module = layer.split("_")
        place = ("reduce", "depthwise", "expand").index(name)
        return f"backbone.extra.{number}.{place}.{('conv', 'norm').index(module)}.{suffix}"
    head = {"classification_heads": "classification_head", "localization_heads": "regression_head"}
    places = {"depthwise_conv": "0.0", "depthwise_norm": "0.1", "output": "1"}
    return f"head.{head[kind]}.module_list.{number}.{places[layer]}.{suffix}"


def _ssdlite_backbone(key: str) -> str:
    """Converts a key of MobileNetV3 to two lists, split in the block with the first level."""
    _, index, rest = key.split(".", 2)
    number = int(index)
    cut = sum(map(len, mobilenet.STAGES[:-1])) + 1
    if number < cut:
        return f"features.0.{key.removeprefix('features.')}"
    if number > cut:
        return f"features.1.{number - cut}.{rest}"
    _, place, rest = rest.split(".", 2)
    return f"features.0.{cut}.{rest}" if place == "0" else f"features.1.0.{place}.{rest}"


def _ssd_backbone_module(layer: str) -> str:
    """Returns a module's name; modules after conv4_3 are in torchvision's first extra block."""
    if layer in ("fc6", "fc7"):
        return f"extra.0.7.{'1' if layer == 'fc6' else '3'}"
    if layer.startswith("stage5"):
        return f"extra.0.{2 * int(layer[-1]) - 1}"
    return vgg_key((layer, "kernel")).removesuffix(".weight")


#: Architecture -> function from the path of a variable of ours, without its collection, to its key.
KEYS: dict[str, Callable[[mapping.Path], str]] = {
    "retinanet_resnet50_fpn": _retinanet_key,
    "retinanet_resnet50_fpn_v2": _retinanet_key,
    "fcos_resnet50_fpn": _fcos_key,
    "ssd300_vgg16": _ssd_key,
    "ssdlite320_mobilenet_v3_large": _ssdlite_key,
}
_FIRST_OUTPUT_KERNEL = {
    "retinanet_resnet50_fpn": "head.classification_head.cls_logits.weight",
    "retinanet_resnet50_fpn_v2": "head.classification_head.cls_logits.weight",
    "fcos_resnet50_fpn": "head.classification_head.cls_logits.weight",
    "ssd300_vgg16": "head.classification_head.module_list.0.weight",
    "ssdlite320_mobilenet_v3_large": "head.classification_head.module_list.0.1.weight",
}
