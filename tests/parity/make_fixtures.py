"""Writes what torchvision and timm compute into `fixtures/`, for tests that run without them.

In a virtual environment of its own, from the root of the repository:

    pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy
    python -m tests.parity.make_fixtures            # all, or the names of some

Every model is the library's own, with the weights of `synthetic.py`, in float32 on one thread. A
detector is built as if the published weights were asked for, and is given ours in their place, so
it has everything that comes with them: frozen layers, frozen batch norms and their epsilon.
"""

import argparse
import contextlib
import copy
import functools
import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import timm
import torch
import torchvision
from timm.models import vision_transformer
from torch import nn
from torchvision.models import _api, detection
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import misc

from tests.parity import synthetic
from tests.parity.comparison import FOLDER, pair_detections

SEED = 1

#: Values that are kept of a large tensor.
SAMPLES = 200

IMAGENET = {"pixel_mean": (123.675, 116.28, 103.53), "pixel_std": (58.395, 57.12, 57.375)}
INCEPTION = {"pixel_mean": (127.5, 127.5, 127.5), "pixel_std": (127.5, 127.5, 127.5)}

#: name -> (library, count, height and width of the images, how their pixels are normalized). The
#: name ends in a dot and the library if the other library's network has the fixture without.
BACKBONES: dict[str, tuple[str, tuple[int, int, int], dict[str, Any]]] = {
    # An odd size: whoever pads the wrong side is found out.
    "resnet18": ("torchvision", (1, 75, 101), IMAGENET),
    "resnet34": ("torchvision", (1, 64, 96), IMAGENET),
    "resnet50": ("torchvision", (1, 64, 96), IMAGENET),
    "resnet101": ("torchvision", (1, 64, 96), IMAGENET),
    "resnext101_64x4d": ("torchvision", (1, 64, 96), IMAGENET),
    "resnext101_32x4d": ("timm", (1, 64, 96), IMAGENET),
    "tf_efficientnet_lite0": ("timm", (1, 75, 102), INCEPTION),
    "mobilenet_v3_large": ("torchvision", (1, 75, 102), IMAGENET),
    "mobilenetv3_large_100": ("timm", (1, 75, 102), IMAGENET),
    "convnext_tiny": ("torchvision", (1, 64, 96), IMAGENET),
    "convnext_small": ("timm", (1, 64, 96), IMAGENET),
    "convnext_tiny.timm": ("timm", (1, 64, 96), IMAGENET),
    "convnext_small.torchvision": ("torchvision", (1, 64, 96), IMAGENET),
    # More patches than the 14 x 14 that there are positions of, and fewer than the 37 x 37.
    "vit_small_patch16_224": ("timm", (1, 240, 256), INCEPTION),
    "vit_small_patch14_dinov2": ("timm", (1, 64, 96), IMAGENET),
    "vit_base_patch16_224": ("timm", (1, 240, 256), INCEPTION),
    "vit_base_patch14_dinov2": ("timm", (1, 64, 96), IMAGENET),
}

# The modules of torchvision that put out C2 to C5, each with the place of its output.
RESNET_LAYERS = {f"layer{i}": f"{i}" for i in range(1, 5)}
#: Network -> the module in which they are, and they.
LAYERS = {
    "mobilenet_v3_large": ("features", {"3": "1", "6": "2", "12": "3", "16": "4"}),
    **dict.fromkeys(
        ("convnext_tiny", "convnext_small"),
        ("features", {"1": "1", "3": "2", "5": "3", "7": "4"}),
    ),
}

# Networks of timm that put out features only when asked, and which they are by their level.
INTERMEDIATES = {
    **{name: {2: 0, 3: 1, 4: 2, 5: 3} for name in ("convnext_tiny", "convnext_small")},
    **{name: {4: 11} for name in BACKBONES if name.startswith("vit")},
}

#: Ground truth of an image: boxes (xyxy in pixels) and torchvision's labels (0 is the background).
#: Boxes that overlap each other, one without an anchor of IoU 0.5, an image without objects.
RETINANET_TARGETS = (
    (((8.0, 10.0, 61.0, 52.5), (40.0, 30.0, 95.0, 88.0), (130.25, 5.0, 143.0, 15.0)), (18, 1, 90)),
    ((), ()),
    (
        (
            (3.0, 3.0, 157.0, 93.0),
            (20.0, 15.0, 60.0, 80.0),
            (24.0, 11.0, 66.0, 82.0),
            (100.5, 40.0, 150.0, 70.0),
            (112.0, 20.0, 128.0, 60.0),
        ),
        (62, 3, 3, 44, 1),
    ),
)
SSD_TARGETS = (
    (
        ((8.0, 10.0, 121.0, 152.5), (60.0, 30.0, 285.0, 188.0), (215.9, 201.1, 246.9, 214.1)),
        (18, 1, 90),
    ),
    ((), ()),
    (
        (
            (3.0, 3.0, 297.0, 293.0),
            (40.0, 30.0, 120.0, 160.0),
            (44.0, 26.0, 126.0, 158.0),
            (200.5, 180.0, 280.0, 240.0),
            (223.0, 200.0, 247.0, 219.5),
        ),
        (62, 3, 3, 44, 1),
    ),
)
#: The smallest boxes of `SSD_TARGETS` are inside of several boxes of an SSDLite, which are then
#: equally good; of these the flat one has no anchor of IoU 0.5.
SSDLITE_TARGETS = (
    (
        ((8.0, 10.0, 121.0, 152.5), (60.0, 30.0, 285.0, 188.0), (20.0, 140.0, 300.0, 180.0)),
        (18, 1, 90),
    ),
    ((), ()),
    (
        (
            (3.0, 3.0, 297.0, 293.0),
            (40.0, 30.0, 120.0, 160.0),
            (44.0, 26.0, 126.0, 158.0),
            (200.5, 180.0, 280.0, 240.0),
            (203.0, 190.0, 257.0, 239.5),
        ),
        (62, 3, 3, 44, 1),
    ),
)
RETINANET_GRADIENTS = (
    "backbone.body.layer2.0.conv1.weight",
    "backbone.body.layer3.5.conv2.weight",
    "backbone.body.layer4.0.downsample.0.weight",
    "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.layer_blocks.2.0.bias",
    "backbone.fpn.extra_blocks.p6.weight",
    "backbone.fpn.extra_blocks.p7.weight",
    "head.classification_head.conv.0.0.weight",
    "head.classification_head.cls_logits.weight",
    "head.classification_head.cls_logits.bias",
    "head.regression_head.conv.3.0.weight",
    "head.regression_head.bbox_reg.weight",
    "head.regression_head.bbox_reg.bias",
)
GROUP_NORM_GRADIENTS = (
    "head.classification_head.conv.1.1.weight",
    "head.regression_head.conv.2.1.bias",
    "backbone.body.layer3.0.bn2.weight",
    "backbone.body.layer4.2.bn3.bias",
)
FCOS_GRADIENTS = (
    *RETINANET_GRADIENTS[:7],
    # The layers of a tower are a convolution, its norm and a ReLU after each other.
    "head.classification_head.conv.0.weight",
    "head.classification_head.conv.4.weight",
    "head.classification_head.cls_logits.weight",
    "head.classification_head.cls_logits.bias",
    "head.regression_head.conv.9.weight",
    "head.regression_head.conv.9.bias",
    "head.regression_head.conv.7.bias",
    "head.regression_head.bbox_reg.weight",
    "head.regression_head.bbox_reg.bias",
    "head.regression_head.bbox_ctrness.weight",
    "head.regression_head.bbox_ctrness.bias",
)
SSD_GRADIENTS = (
    "backbone.scale_weight",
    "backbone.features.5.weight",
    "backbone.features.21.bias",
    "backbone.extra.0.5.weight",
    "backbone.extra.0.7.1.weight",
    "backbone.extra.2.2.weight",
    "backbone.extra.4.2.bias",
    "head.classification_head.module_list.0.weight",
    "head.classification_head.module_list.5.bias",
    "head.regression_head.module_list.1.weight",
)

SSDLITE_GRADIENTS = (
    "backbone.features.0.0.0.weight",
    "backbone.features.0.4.block.1.0.weight",
    "backbone.features.0.4.block.2.fc2.bias",
    "backbone.features.0.13.0.weight",
    "backbone.features.0.13.1.bias",
    "backbone.features.1.0.1.0.weight",
    "backbone.features.1.2.block.3.1.weight",
    "backbone.features.1.3.0.weight",
    "backbone.extra.0.0.0.weight",
    "backbone.extra.1.1.1.weight",
    "backbone.extra.3.2.0.weight",
    "head.classification_head.module_list.0.0.0.weight",
    "head.classification_head.module_list.0.0.1.bias",
    "head.classification_head.module_list.1.1.weight",
    "head.classification_head.module_list.5.1.bias",
    "head.regression_head.module_list.1.1.weight",
    "head.regression_head.module_list.2.0.1.weight",
)


class Fixture:
    """What is kept of one model: names and shapes of its weights, settings, and tensors."""

    def __init__(self, name: str, settings: Mapping[str, Any]):
        self.name = name
        self.names_and_shapes: list[tuple[str, list[int]]] = []
        self.settings = dict(settings)
        self.tensors: dict[str, tuple[list[int], float]] = {}
        self.values: dict[str, np.ndarray] = {}

    def weights_of(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Our weights for a model, as its `load_state_dict` takes them."""
        # A frozen batch norm has no count of batches.
        frozen = any(isinstance(m, misc.FrozenBatchNorm2d) for m in model.modules())
        self.names_and_shapes = [
            (name, list(value.shape))
            for name, value in model.state_dict().items()
            if not (frozen and name.endswith("num_batches_tracked"))
        ]
        state = synthetic.state_dict(self.names_and_shapes, self.settings["seed"])
        return {name: torch.from_numpy(value) for name, value in state.items()}

    def add(self, name: str, tensor: torch.Tensor | np.ndarray, *, samples: int = SAMPLES) -> None:
        """Keeps a tensor, or so many of its values."""
        array = np.asarray(tensor.detach() if isinstance(tensor, torch.Tensor) else tensor)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{self.name}: {name} is not finite.")
        scale = float(np.abs(array).max(initial=0.0))
        self.tensors[name] = (list(array.shape), scale)
        self.values[name] = array.reshape(-1)[synthetic.positions(name, array.size, samples)]

    def write(self) -> None:
        """Writes `NAME.json` and `NAME.npz`."""
        FOLDER.mkdir(exist_ok=True)
        parts = []
        for key in ("settings", "tensors"):
            entries = getattr(self, key).items()
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entries)
            parts.append(f'"{key}": {{\n{lines}\n}}')
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in self.names_and_shapes)
        parts.append(f'"state_dict": [\n{lines}\n]')
        (FOLDER / f"{self.name}.json").write_text("{" + ",\n".join(parts) + "}\n")
        np.savez_compressed(FOLDER / f"{self.name}.npz", **self.values)
        sizes = [(FOLDER / f"{self.name}.{end}").stat().st_size for end in ("json", "npz")]
        print(f"{self.name}: {len(self.tensors)} tensors, {sizes[0]} + {sizes[1]} bytes")


def normalized(images: np.ndarray, settings: Mapping[str, Any]) -> torch.Tensor:
    """uint8 `[B, H, W, 3]` to what a backbone takes, `[B, 3, H, W]`."""
    mean, std = (np.asarray(settings[key], np.float32) for key in ("pixel_mean", "pixel_std"))
    return torch.from_numpy((images.astype(np.float32) - mean) / std).permute(0, 3, 1, 2)


def make_backbone(name: str) -> None:
    """The features of C2 to C5 of a classification network."""
    library, shape, pixels = BACKBONES[name]
    fixture = Fixture(name, {"library": library, "seed": SEED, "images": shape, **pixels})
    name = name.partition(".")[0]
    network: Callable[[torch.Tensor], Any]
    levels: tuple[int, ...] = (2, 3, 4, 5)
    if library == "timm" and name in INTERMEDIATES:
        whole = timm.create_model(name, pretrained=False)
        state = fixture.weights_of(whole)
        if name.startswith("vit"):
            # As timm takes weights for other patches and another size of the images.
            whole = timm.create_model(name, pretrained=False, patch_size=16, img_size=shape[1:])
            state = vision_transformer.checkpoint_filter_fn(state, whole)
        whole.load_state_dict(state)
        indices = INTERMEDIATES[name]
        network = functools.partial(
            whole.forward_intermediates, indices=[*indices.values()], intermediates_only=True
        )
        levels = tuple(indices)
    elif library == "timm":
        whole = timm.create_model(name, pretrained=False)
        state = fixture.weights_of(whole)
        network = timm.create_model(name, pretrained=False, features_only=True)
        missing, _ = network.load_state_dict(state, strict=False)
        if missing:
            raise ValueError(f"{name} has no weights for {missing}.")
        levels = (1, *levels)  # it puts out stride 2, too
    else:
        whole = torchvision.models.get_model(name, weights=None)
        whole.load_state_dict(fixture.weights_of(whole))
        body, outputs = LAYERS.get(name, ("", RESNET_LAYERS))
        network = IntermediateLayerGetter(whole.get_submodule(body), outputs)
    epsilons = {m.eps for m in whole.modules() if isinstance(m, nn.BatchNorm2d)}
    fixture.settings["norm"] = "batch_norm" if epsilons else "layer_norm"
    if epsilons:
        (fixture.settings["norm_epsilon"],) = epsilons
    whole.eval()
    if isinstance(network, nn.Module):
        network.eval()
    with torch.no_grad():
        features = network(normalized(synthetic.images(shape, SEED), fixture.settings))
    features = list(features.values()) if isinstance(features, dict) else features
    for level, feature in zip(levels, features, strict=True):
        if level > 1:
            fixture.add(f"c{level}", feature.permute(0, 2, 3, 1))
    fixture.write()


@contextlib.contextmanager
def weights_served(state: dict[str, torch.Tensor]) -> Iterator[None]:
    """Whoever asks torchvision for published weights gets these."""
    serve = mock.patch.object(_api.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    with serve:
        yield


#: Those of any size: what builds them, and the weights that are asked for.
PYRAMIDS: dict[str, tuple[Callable[..., nn.Module], Any]] = {
    "retinanet_resnet50_fpn": (
        detection.retinanet_resnet50_fpn,
        detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1,
    ),
    "retinanet_resnet50_fpn_v2": (
        detection.retinanet_resnet50_fpn_v2,
        detection.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1,
    ),
    "fcos_resnet50_fpn": (
        detection.fcos_resnet50_fpn,
        detection.FCOS_ResNet50_FPN_Weights.COCO_V1,
    ),
}


def build_pyramid(fixture: Fixture, name: str, *, untrained: bool = False) -> nn.Module:
    """One of `PYRAMIDS` with our weights, taking images as they are."""
    builder, weights = PYRAMIDS[name]
    _, height, width = fixture.settings["images"]
    sizes = {"min_size": min(height, width), "max_size": max(height, width)}
    # Built once for the names and once for the weights.
    with mock.patch.object(nn.Module, "load_state_dict"), weights_served({}):
        state = fixture.weights_of(builder(weights=weights))
    if untrained:
        arrays = synthetic.untrained_heads({k: v.numpy() for k, v in state.items()})
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with weights_served(state):
        model = builder(weights=weights, **sizes)
    describe_norms(fixture, model)
    return model.eval()


def describe_norms(fixture: Fixture, model: nn.Module) -> None:
    """Notes what the backbone is made of and what of it is trained."""
    kinds = (nn.BatchNorm2d, misc.FrozenBatchNorm2d)
    norms = {(type(m).__name__, m.eps) for m in model.modules() if isinstance(m, kinds)}
    if norms:
        ((kind, epsilon),) = norms
        fixture.settings.update(norm=kind, norm_epsilon=epsilon)
    fixture.settings["frozen"] = [
        name for name, value in model.named_parameters() if not value.requires_grad
    ]


def as_inputs(images: np.ndarray) -> list[torch.Tensor]:
    """uint8 `[B, H, W, 3]` to what a detector takes: `[3, H, W]` in 0..1 each."""
    return list(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0)


def as_targets(targets: Any) -> list[dict[str, torch.Tensor]]:
    """Boxes and labels as a detector takes them."""
    return [
        {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }
        for boxes, labels in targets
    ]


def add_inference(fixture: Fixture, model: nn.Module, inputs: list[torch.Tensor]) -> None:
    """Features, predictions, anchors, decoded boxes and detections."""
    with torch.no_grad():
        images, _ = model.transform(inputs)
        if any(tuple(image.shape) != tuple(images.tensors.shape[1:]) for image in inputs):
            raise ValueError("The images were resized.")
        features = list(model.backbone(images.tensors).values())
        outputs = model.head(features)
        anchors = model.anchor_generator(images, features)
        detections = model(inputs)
    sizes = [f.shape[2] * f.shape[3] for f in features]
    is_fcos = isinstance(model, detection.fcos.FCOS)
    # The anchors that share a location differ between the levels of an SSD.
    shared = model.anchor_generator.num_anchors_per_location()
    sizes = [size * count for size, count in zip(sizes, shared, strict=True)]
    logits = outputs["cls_logits"].split(sizes, dim=1)
    deltas = outputs["bbox_regression"].split(sizes, dim=1)
    for i, level in enumerate(features):
        fixture.add(f"features/{i}", level.permute(0, 2, 3, 1))
        fixture.add(f"logits/{i}", logits[i])
        fixture.add(f"deltas/{i}", deltas[i])
        fixture.add(f"anchors/{i}", anchors[0].split(sizes)[i])
        decode = model.box_coder.decode if is_fcos else model.box_coder.decode_single
        boxes = [decode(d, a.split(sizes)[i]) for d, a in zip(deltas[i], anchors, strict=True)]
        fixture.add(f"decoded/{i}", torch.stack(boxes))
        if is_fcos:
            fixture.add(f"centreness/{i}", outputs["bbox_ctrness"].split(sizes, dim=1)[i])
    for i, found in enumerate(detections):
        for key, value in found.items():
            kept = value if value.is_floating_point() else value.to(torch.int16)
            fixture.add(f"detections/{i}/{key}", kept, samples=10**6)
    if isinstance(model, detection.ssd.SSD):
        scores = outputs["cls_logits"].softmax(-1)[..., 1:]
    else:
        scores = outputs["cls_logits"].sigmoid()
    if is_fcos:
        scores = (scores * outputs["bbox_ctrness"].sigmoid()).sqrt()
    above = [int(n) for n in (scores > model.score_thresh).sum(dim=(1, 2))]
    print(
        f"  {above} scores above {model.score_thresh}, {[len(d['boxes']) for d in detections]} kept"
    )
    check_margins(model, outputs, anchors, sizes, images, detections)


def check_margins(
    model: nn.Module,
    outputs: dict[str, torch.Tensor],
    anchors: list[torch.Tensor],
    sizes: list[int],
    images: ImageList,
    detections: list[dict[str, torch.Tensor]],
) -> None:
    """Detections must not hang on the last bits: noise on the predictions leaves them alike."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        noisy: Any = {
            key: value + 3e-6 * value.abs().max() * torch.randn(value.shape, generator=generator)
            for key, value in outputs.items()
        }
        split_anchors: Any = anchors
        if not isinstance(model, detection.ssd.SSD):
            noisy = {key: list(value.split(sizes, dim=1)) for key, value in noisy.items()}
            split_anchors = [list(a.split(sizes)) for a in anchors]
        again = model.postprocess_detections(noisy, split_anchors, images.image_sizes)
        for image in zip(detections, again, strict=True):
            one, other = ({key: value.numpy() for key, value in found.items()} for found in image)
            if len(one["labels"]) != len(other["labels"]):
                raise ValueError("Some detections hang on rounding; choose another seed.")
            pairs = pair_detections(one, other)
            if sorted(pairs) != list(range(len(pairs))):
                raise ValueError("Some detections hang on rounding; choose another seed.")
            np.testing.assert_allclose(one["boxes"], other["boxes"][pairs], rtol=0, atol=0.05)


def add_training(
    fixture: Fixture,
    model: nn.Module,
    inputs: list[torch.Tensor],
    targets: Any,
    gradients: tuple[str, ...],
) -> None:
    """Matches, losses and gradients of the sum of the losses."""
    model.train()
    # The statistics of three small images are no base for a comparison.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with matches_of(model) as matches:
        losses = model(inputs, as_targets(targets))
    sum(losses.values()).backward()
    for i, (boxes, _) in enumerate(targets):
        if boxes:
            fixture.add(f"matches/{i}", matches.pop(0).to(torch.int16), samples=10**6)
    for name, value in losses.items():
        fixture.add(f"losses/{name}", value)
        print(f"  {name} {value.item():.4f}")
    parameters = dict(model.named_parameters())
    for name in gradients:
        fixture.add(f"gradients/{name}", parameters[name].grad)
    fixture.settings["targets"] = targets


@contextlib.contextmanager
def matches_of(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What the anchors of each image that has boxes are matched to while this is entered."""
    matches: list[torch.Tensor] = []
    if isinstance(model, detection.fcos.FCOS):
        compute_loss = model.head.compute_loss

        def watch(targets: Any, outputs: Any, anchors: Any, matched: list[torch.Tensor]) -> Any:
            pairs = zip(targets, matched, strict=True)
            matches.extend(found for target, found in pairs if len(target["boxes"]))
            return compute_loss(targets, outputs, anchors, matched)

        with mock.patch.object(model.head, "compute_loss", watch):
            yield matches
        return
    matcher = model.proposal_matcher

    def match(ious: torch.Tensor) -> torch.Tensor:
        best = ious.topk(2).values
        # All anchors around a small box have one IoU with it, and rounding would choose.
        if isinstance(model, detection.ssd.SSD) and (best[:, 0] - best[:, 1] < 1e-4).any():
            raise ValueError("Two anchors are equally good for a box; move it.")
        matches.append(matcher(ious))
        return matches[-1]

    model.proposal_matcher = match
    yield matches
    model.proposal_matcher = matcher


def make_pyramid(name: str, seed: int, gradients: tuple[str, ...]) -> None:
    """Everything of one of `PYRAMIDS`."""
    fixture = Fixture(name, {"library": "torchvision", "seed": seed, "images": (3, 96, 160)})
    model = build_pyramid(fixture, name)
    inputs = as_inputs(synthetic.images(fixture.settings["images"], seed))
    add_inference(fixture, model, inputs)
    add_training(fixture, model, inputs, RETINANET_TARGETS, gradients)
    if name == "retinanet_resnet50_fpn":
        add_large_anchors(fixture, model)
    fixture.write()


def add_large_anchors(fixture: Fixture, model: nn.Module) -> None:
    """Anchors of a usual canvas, where the strides of P6 and P7 are 61, 64, 114 and 120 pixels."""
    height, width = 800, 1088
    sides = [(math.ceil(height / s), math.ceil(width / s)) for s in (8, 16, 32, 64, 128)]
    image = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
    (anchors,) = model.anchor_generator(image, [torch.zeros(1, 1, *side) for side in sides])
    for i, level in enumerate(anchors.split([9 * h * w for h, w in sides])):
        fixture.add(f"anchors_800x1088/{i}", level)


#: Those of one size: what builds them, the weights that are asked for, and the size.
SSDS: dict[str, tuple[Callable[..., nn.Module], Any, int]] = {
    "ssd300_vgg16": (detection.ssd300_vgg16, detection.SSD300_VGG16_Weights.COCO_V1, 300),
    "ssdlite320_mobilenet_v3_large": (
        detection.ssdlite320_mobilenet_v3_large,
        detection.SSDLite320_MobileNet_V3_Large_Weights.COCO_V1,
        320,
    ),
}


def build_ssd(fixture: Fixture, name: str, *, untrained: bool = False) -> nn.Module:
    """One of `SSDS` with our weights."""
    builder, weights, _ = SSDS[name]
    state = fixture.weights_of(builder(weights=None, weights_backbone=None))
    if untrained:
        arrays = synthetic.untrained_heads({k: v.numpy() for k, v in state.items()})
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with weights_served(state):
        model = builder(weights=weights)
    describe_norms(fixture, model)
    return model.eval()


def make_ssd(name: str, seed: int, targets: Any, gradients: tuple[str, ...]) -> None:
    """Everything of one of `SSDS`."""
    side = SSDS[name][2]
    fixture = Fixture(name, {"library": "torchvision", "seed": seed, "images": (3, side, side)})
    model = build_ssd(fixture, name)
    inputs = as_inputs(synthetic.images(fixture.settings["images"], seed))
    add_inference(fixture, model, inputs)
    add_training(fixture, model, inputs, targets, gradients)
    fixture.write()


#: Ground truth of the four batches of two images that the trajectory repeats.
TRAJECTORY_TARGETS = (
    (
        (((8.0, 10.0, 61.0, 52.5), (70.0, 30.0, 125.0, 88.0)), (18, 1)),
        (((20.0, 15.0, 60.0, 80.0),), (3,)),
    ),
    ((((30.0, 20.0, 110.0, 90.0),), (7,)), ((), ())),
    (
        (((3.0, 3.0, 124.0, 93.0),), (62,)),
        (((50.0, 40.0, 90.0, 70.0), (5.0, 50.0, 45.0, 90.0)), (1, 1)),
    ),
    (
        (((12.0, 20.0, 28.0, 60.0), (64.0, 8.0, 120.0, 60.0)), (44, 18)),
        (((33.0, 5.0, 80.0, 60.0),), (90,)),
    ),
)


def enlarged(targets: Any, factor: float) -> Any:
    """The ground truth of images that are as many times as large, all batches in one."""
    return (
        tuple(
            (tuple(tuple(factor * side for side in box) for box in boxes), labels)
            for batch in targets
            for boxes, labels in batch
        ),
    )


#: Largest relative change of the weights of a second training: about one rounding.
PERTURBATION = 1e-7

#: Of running statistics after the twenty steps of an SSDLite, whose norms learn.
SSDLITE_STATISTICS = (
    "backbone.features.0.0.1.running_mean",
    "backbone.features.1.3.1.running_mean",
    "backbone.extra.0.1.1.running_mean",
    "head.classification_head.module_list.1.0.1.running_mean",
)


def make_trajectory(name: str, detector: str, *, learning_rate: float) -> None:
    """The losses of twenty steps of SGD of a detector.

    An SSDLite that is trained from scratch amplifies rounding errors: with four images and a rate
    of 0.002, two trainings of torchvision whose initial weights differ by 1e-7 are 1e-2 apart after
    twenty steps. An SSD therefore has eight images and a small rate here, and the losses of the
    second training are stored as well.
    """
    is_ssd = detector in SSDS
    settings: dict[str, Any] = {
        "library": "torchvision",
        "seed": SEED,
        "images": (8, SSDS[detector][2], SSDS[detector][2]) if is_ssd else (2, 96, 128),
        "learning_rate": learning_rate,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "steps": 20,
        "targets": enlarged(TRAJECTORY_TARGETS, 2.5) if is_ssd else TRAJECTORY_TARGETS,
    }
    fixture = Fixture(name, settings)
    build = build_ssd if is_ssd else build_pyramid
    model = build(fixture, detector, untrained=True)
    fixture.names_and_shapes = []  # those of the detector's own fixture
    perturbed = copy.deepcopy(model)
    fixture.add("losses", losses_of_steps(model, settings))
    if is_ssd:
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for weight in perturbed.parameters():
                noise = 2 * torch.rand(weight.shape, generator=generator) - 1
                weight.mul_(1 + PERTURBATION * noise)
        fixture.add("perturbed_losses", losses_of_steps(perturbed, settings))
        for key in SSDLITE_STATISTICS:
            fixture.add(f"statistics/{key}", model.state_dict()[key])
            fixture.add(f"perturbed_statistics/{key}", perturbed.state_dict()[key], samples=512)
    fixture.write()


def losses_of_steps(model: torch.nn.Module, settings: Mapping[str, Any]) -> np.ndarray:
    """Every step's losses of the class, of the box, and of an FCOS' centreness."""
    model.train()
    optimizer = torch.optim.SGD(
        [value for value in model.parameters() if value.requires_grad],
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
    )
    losses = []
    for step in range(settings["steps"]):
        index = step % len(settings["targets"])
        images = synthetic.images(settings["images"], settings["seed"] + 10 * index)
        result = model(as_inputs(images), as_targets(settings["targets"][index]))
        optimizer.zero_grad()
        sum(result.values()).backward()
        optimizer.step()
        losses.append([value.item() for value in result.values()])
        print(f"  step {step}: {' '.join(f'{value:.5f}' for value in losses[-1])}")
    return np.asarray(losses, np.float32)


def main() -> None:
    """Makes the fixtures that are named, or all."""
    makers: dict[str, Callable[[], None]] = {
        **{name: lambda name=name: make_backbone(name) for name in BACKBONES},
        "retinanet_resnet50_fpn": lambda: make_pyramid(
            "retinanet_resnet50_fpn", SEED, RETINANET_GRADIENTS
        ),
        "retinanet_resnet50_fpn_v2": lambda: make_pyramid(
            "retinanet_resnet50_fpn_v2", 2, RETINANET_GRADIENTS + GROUP_NORM_GRADIENTS
        ),
        "fcos_resnet50_fpn": lambda: make_pyramid("fcos_resnet50_fpn", SEED, FCOS_GRADIENTS),
        "ssd300_vgg16": lambda: make_ssd("ssd300_vgg16", SEED, SSD_TARGETS, SSD_GRADIENTS),
        "ssdlite320_mobilenet_v3_large": lambda: make_ssd(
            "ssdlite320_mobilenet_v3_large", SEED, SSDLITE_TARGETS, SSDLITE_GRADIENTS
        ),
        "trajectory": lambda: make_trajectory(
            "trajectory", "retinanet_resnet50_fpn", learning_rate=0.002
        ),
        "trajectory_fcos": lambda: make_trajectory(
            "trajectory_fcos", "fcos_resnet50_fpn", learning_rate=0.001
        ),
        "trajectory_ssdlite": lambda: make_trajectory(
            "trajectory_ssdlite", "ssdlite320_mobilenet_v3_large", learning_rate=1e-4
        ),
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(makers)}; none: all")
    names = parser.parse_args().names or list(makers)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in names:
        makers[name]()
    if len(names) == len(makers):
        modules = {"torch": torch, "torchvision": torchvision, "timm": timm, "numpy": np}
        versions = {key: module.__version__ for key, module in modules.items()}
        versions["python"] = platform.python_version()
        (FOLDER / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
