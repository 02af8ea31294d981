"""Conversion of our detectors to torchvision's: the state dict and the arguments of the model."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from ioub_jax.configs.torchvision_models import SSDS, torchvision_config
from ioub_jax.errors import WeightsError
from ioub_jax.weights import mapping
from ioub_jax.weights.torchvision_detectors import KEYS

# The epsilon of torchvision's batch norms, except in its own RetinaNet for COCO.
_EPSILON = {"ssdlite320_mobilenet_v3_large": 1e-3}
_USUAL_EPSILON = 1e-5
# The largest pixel value: torchvision's detectors take images in [0, 1].
_WHITE = 255.0

# `model.name` -> the architectures of torchvision that may equal it.
_ARCHITECTURES = {
    "retinanet": ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"),
    "fcos": ("fcos_resnet50_fpn",),
    "ssd": ("ssd300_vgg16",),
    "ssdlite": ("ssdlite320_mobilenet_v3_large",),
}

# Keys that a trained model does not depend on, or that torchvision takes as arguments.
_FREE = {
    "model": {
        "dtype",
        "frozen_stages",
        "in_channels",
        "norm_epsilon",
        "norm_momentum",
        "pixel_mean",
        "pixel_std",
        "pretrained",
        "head.prior_probability",
    },
    "anchors": set(),
}
# The values for runs of earlier versions, which lack these keys.
_BEFORE_THERE_WAS_A_KEY = {"width": 64, "fpn.top_down": True}
# With fixed statistics, both compute the same.
_BATCH_NORMS = ("frozen_bn", "batch_norm")


@dataclasses.dataclass(frozen=True)
class TorchvisionDetector:
    """Parts from which torchvision builds a detector.

    Attributes:
      architecture: the function of `torchvision.models.detection` that builds it.
      arguments: the arguments of the function, besides `weights=None, weights_backbone=None`.
      state_dict: the argument of `load_state_dict` with `strict=True`; float32, except for the
        batch counts in int64.
    """

    architecture: str
    arguments: dict[str, Any]
    state_dict: dict[str, np.ndarray]

    @property
    def first_label(self) -> int:
        """The label of the first class: 1 in an SSD, whose label 0 is the background."""
        return int(self.architecture in SSDS)


def torchvision_export(
    variables: Any, settings: Mapping[str, Any], *, num_classes: int, name: str
) -> TorchvisionDetector:
    """The detector of torchvision that equals one of ours.

    Output k of a RetinaNet or FCOS is class k, since torchvision reserves no output for the
    background. In an SSD, output 0 is the background, so output k is class k - 1.

    If the epsilon of the batch norms differs from torchvision's, which is 1e-5, or 1e-3 in an
    SSDLite, their scales are changed so that the model computes the same.

    Args:
      variables: `params` and `batch_stats`.
      settings: its configuration, in types that JSON has. `model`, `anchors`, `evaluation`, `data`
        and `loss.quality` are used.
      num_classes: C.
      name: the name of the detector in errors, such as a workdir.

    Raises:
      WeightsError: torchvision has no such model; the message names the options that differ.
    """
    channels = settings["model"].get("in_channels", 3)
    if channels != 3:
        raise WeightsError(
            f"{name} has model.in_channels={channels}, but torchvision's detectors take only RGB "
            "images; export it as a program or as ONNX."
        )
    suppression = settings["evaluation"].get("suppression", "nms")
    if suppression != "nms":
        raise WeightsError(
            f"{name} has evaluation.suppression={suppression}, but torchvision's detectors have "
            "only NMS; export it as a program, or with --config.evaluation.suppression=nms."
        )
    if settings["evaluation"].get("class_agnostic", False):
        raise WeightsError(
            f"{name} has evaluation.class_agnostic=True, but torchvision's detectors suppress "
            "within classes; export it as a program, or set that to False."
        )
    architecture = _architecture(settings, name)
    if architecture == "fcos_resnet50_fpn":
        _check_scores(settings, name)
    variables = jax.device_get(variables)
    model = settings["model"]
    theirs = _EPSILON.get(architecture, _USUAL_EPSILON)
    ours = model.get("norm_epsilon", theirs)
    if ours != theirs and "batch_stats" in variables:
        params = _with_epsilon(variables["params"], variables["batch_stats"], ours, theirs)
        variables = {**variables, "params": params}
    state_dict = mapping.collect(variables, KEYS[architecture])
    # An SSDLite has all batch norms, whether they were trained or not.
    if model.get("norm") == "batch_norm" or architecture == "ssdlite320_mobilenet_v3_large":
        means = [key for key in state_dict if key.endswith("running_mean")]
        state_dict |= {
            key.replace("running_mean", "num_batches_tracked"): np.zeros((), np.int64)
            for key in means
        }
    outputs = num_classes + (architecture in SSDS)
    return TorchvisionDetector(
        architecture, _arguments(settings, architecture, outputs), state_dict
    )


def _architecture(settings: Mapping[str, Any], name: str) -> str:
    """Returns the architecture that fits the configuration; an error names other options."""
    candidates = _ARCHITECTURES.get(settings.get("model", {}).get("name"), ())
    if not candidates:
        raise WeightsError(
            f"{name} is not a detector that torchvision can build: it has RetinaNet, FCOS, SSD and "
            "SSDLite; "
            "export to StableHLO."
        )
    differences = {
        architecture: list(_differences(settings, torchvision_config(architecture)))
        for architecture in candidates
    }
    nearest = min(candidates, key=lambda architecture: len(differences[architecture]))
    if differences[nearest]:
        raise WeightsError(
            f"{name} is not a detector that torchvision can build; the nearest is {nearest}: "
            f"{'; '.join(differences[nearest])}. Train with configs/torchvision.py to load in "
            "torchvision, or export to StableHLO."
        )
    return nearest


def _differences(settings: Mapping[str, Any], published: dict[str, Any]) -> Iterator[str]:
    """Yields the keys in which a model differs, each with both values."""
    for part, free in _FREE.items():
        ours, theirs = (
            traverse_util.flatten_dict(values, sep=".")
            for values in (settings[part], published[part])
        )
        for key in theirs:
            mine = ours.get(key, _BEFORE_THERE_WAS_A_KEY.get(key))
            if key in free or _comparable(mine) == _comparable(theirs[key]):
                continue
            if key == "norm" and mine in _BATCH_NORMS and theirs[key] in _BATCH_NORMS:
                continue
            if key == "head.bias_before_norm" and ours["head.norm"] == "none":
                continue
            yield f"{part}.{key} is {mine!r}, there {theirs[key]!r}"


def _check_scores(settings: Mapping[str, Any], name: str) -> None:
    """Refuses an FCOS whose scores are not the square roots of torchvision's."""
    if settings["loss"].get("quality", {}).get("target", "none") == "none":
        raise WeightsError(
            f"{name} has loss.quality.target=none, so it has no centerness, which torchvision's "
            "FCOS has; export to StableHLO."
        )
    exponents = _comparable(settings["evaluation"]["score_exponents"])
    if exponents != (0.5, 0.5):
        raise WeightsError(
            f"{name} has evaluation.score_exponents={exponents}, but the scores of torchvision's "
            "FCOS are the square roots of class times centerness; export it as a program, or with "
            "--config.evaluation.score_exponents='(.5,.5)'."
        )


def _comparable(value: Any) -> Any:
    """Converts lists, such as those from JSON, to tuples."""
    return tuple(map(_comparable, value)) if isinstance(value, list | tuple) else value


def _with_epsilon(params: Any, batch_stats: Any, ours: float, theirs: float) -> Any:
    """Changes the scales of batch norms so that they are equal with torchvision's epsilon."""
    if "mean" not in batch_stats:
        return {
            key: (
                _with_epsilon(value, batch_stats[key], ours, theirs)
                if key in batch_stats
                else value
            )
            for key, value in params.items()
        }
    variance = np.asarray(batch_stats["var"], np.float64)
    scale = params["scale"] * np.sqrt((variance + theirs) / (variance + ours))
    return {**params, "scale": scale.astype(np.float32)}


def _arguments(settings: Mapping[str, Any], architecture: str, outputs: int) -> dict[str, Any]:
    """Returns the arguments of torchvision's function."""
    model, evaluation, data = (settings[part] for part in ("model", "evaluation", "data"))
    has_one_size = architecture in SSDS
    candidates = "candidates_per_class" if has_one_size else "candidates_per_level"
    arguments = {
        "num_classes": outputs,
        "image_mean": [mean / _WHITE for mean in model["pixel_mean"]],
        "image_std": [std / _WHITE for std in model["pixel_std"]],
        "score_thresh": evaluation["score_threshold"],
        "nms_thresh": evaluation["nms_iou"],
        "detections_per_img": evaluation["max_detections"],
        "topk_candidates": evaluation[candidates],
    }
    if has_one_size:
        return arguments
    canvas, resize = data["canvases"][0], data["resize"]
    sides = (min(canvas), max(canvas))
    if resize["mode"] == "short_side":
        sides = (resize["short_side"], resize["long_side"])
    return {**arguments, "min_size": sides[0], "max_size": sides[1]}
