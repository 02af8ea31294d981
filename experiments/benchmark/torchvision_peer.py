"""Torchvision's side of a comparison, in a separate environment (`make peers`).

`experiments.benchmark` starts it as a worker (see `worker.py`).
"""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from experiments.benchmark import timing, worker, workloads

#: Layers of a VGG16 before the first pooling.
_VGG_STAGE = 4


def _network(workload: workloads.Workload) -> nn.Module:
    """Returns the model on the workload's device, compiled if the workload says so.

    On a GPU, it has torch's fast settings: channels last, TensorFloat-32 for what is in float32,
    and cuDNN's algorithms chosen by trial. On a CPU, `torch.compile` only traces, which is enough
    to check a run.
    """
    model = create_model(workload)
    if workload.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        model = model.cuda().to(memory_format=torch.channels_last)
    if workload.compiled:
        backend = "inductor" if workload.device == "cuda" else "eager"
        for part in ("backbone", "head"):
            compiled = torch.compile(getattr(model, part), dynamic=False, backend=backend)
            setattr(model, part, compiled)
    return model


def _wait(workload: workloads.Workload) -> None:
    """Waits until the device has finished its work."""
    if workload.device == "cuda":
        torch.cuda.synchronize()


def create_model(workload: workloads.Workload) -> nn.Module:
    """A detector without weights, with those layers frozen that are with published weights.

    They are the stem and the first stage of a ResNet-50, with all its batch norms, and the first
    stage of a VGG16; a MobileNetV3 has none.
    """
    if _is_ssd(workload):
        builder = getattr(torchvision.models.detection, workloads.ARCHITECTURES[workload.detector])
        classes = workload.classes + 1  # with the background
        model: nn.Module = builder(
            weights=None, weights_backbone=None, num_classes=classes, score_thresh=0.0
        )
        if workload.detector == "ssd":
            model.backbone.features[:_VGG_STAGE].requires_grad_(False)
        return model
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=3,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    detector = {"retinanet": RetinaNet, "fcos": FCOS}[workload.detector]
    return detector(
        backbone,
        workload.classes,
        min_size=min(workload.height, workload.width),
        max_size=max(workload.height, workload.width),
        score_thresh=0.0,
    )


def _is_ssd(workload: workloads.Workload) -> bool:
    return workload.detector in workloads.SIZES


def _autocast(workload: workloads.Workload) -> torch.autocast:
    """Returns torch's automatic casts to bfloat16, enabled if the workload has this dtype."""
    return torch.autocast(workload.device, torch.bfloat16, enabled=workload.dtype == "bfloat16")


def _inputs(workload: workloads.Workload) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    images = torch.from_numpy(workload.images()).permute(0, 3, 1, 2).float() / 255.0
    images = images.to(workload.device)
    boxes, labels = (torch.from_numpy(part).to(workload.device) for part in workload.ground_truth())
    # Only torchvision's SSDs have a background, as their class 0.
    labels = labels.long() + _is_ssd(workload)
    targets = [{"boxes": b, "labels": c} for b, c in zip(boxes, labels, strict=True)]
    return list(images.contiguous()), targets


def train_step(workload: workloads.Workload) -> Callable[[], Any]:
    """Forward, matching, losses, backward and SGD."""
    model = _network(workload).train()
    images, targets = _inputs(workload)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = workload.device == "cuda" or None
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, weight_decay=1e-4, fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        with _autocast(workload):
            loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()
        _wait(workload)

    return step


def inference(workload: workloads.Workload) -> Callable[[], Any]:
    """Images to detections, with 1,000 candidates from every level."""
    model = _network(workload).eval()
    images, _ = _inputs(workload)

    def infer() -> None:
        with torch.no_grad(), _autocast(workload):
            model(images)
        _wait(workload)

    return infer


def objective(workload: workloads.Workload) -> Callable[[], Any]:
    """Matching, both losses and their gradients with respect to the predictions."""
    model = create_model(workload).train()
    _, targets = _inputs(workload)
    sides = [(-(-workload.height // s), -(-workload.width // s)) for s in (8, 16, 32, 64, 128)]
    images = ImageList(
        torch.zeros(workload.batch, 3, workload.height, workload.width, device=workload.device),
        [(workload.height, workload.width)] * workload.batch,
    )
    anchors = model.anchor_generator(
        images, [torch.zeros(1, 1, *side, device=workload.device) for side in sides]
    )
    logits, deltas = (
        torch.from_numpy(part).to(workload.device, getattr(torch, workload.dtype)).requires_grad_()
        for part in workload.predictions(len(anchors[0]))
    )

    def step() -> None:
        logits.grad = deltas.grad = None
        outputs = {"cls_logits": logits, "bbox_regression": deltas}
        sum(model.compute_loss(targets, outputs, anchors).values()).backward()
        _wait(workload)

    return step


def nms(workload: workloads.Workload) -> Callable[[], Any]:
    """Class-wise NMS of one image."""
    boxes, scores, labels = (torch.from_numpy(part) for part in workload.candidate_boxes())
    return lambda: torchvision.ops.batched_nms(boxes, scores, labels, 0.5)[:300]


def iou(workload: workloads.Workload) -> Callable[[], Any]:
    """IoUs of the candidates with the ground truth of the first image."""
    candidates = torch.from_numpy(workload.candidate_boxes()[0])
    boxes = torch.from_numpy(workload.ground_truth()[0][0])
    return functools.partial(torchvision.ops.box_iou, candidates, boxes)


def convolution(line: str) -> Callable[[], Any]:
    """A part of a convolution of maps with one kernel, as `layer_rates.Layer.ask` describes it."""
    asked = json.loads(line)
    dtype = getattr(torch, asked["dtype"])
    size, _, inputs, features = asked["kernel"]
    kernel = torch.randn(features, inputs, size, size, dtype=dtype)
    of_all = ([asked["stride"]] * 2, [size // 2] * 2, [1, 1], False, [0, 0], asked["groups"])
    maps = [torch.randn(b, c, h, w, dtype=dtype) for b, h, w, c in asked["maps"]]
    convolve = torch.ops.aten.convolution
    gradients = [torch.randn_like(convolve(x, kernel, None, *of_all)) for x in maps]
    wanted = [asked["part"] == part for part in ("by inputs", "by kernel", "by bias")]

    def work() -> None:
        for _ in range(asked["times"]):
            for x, gradient in zip(maps, gradients, strict=True):
                if asked["part"] == "forward":
                    convolve(x, kernel, None, *of_all)
                else:
                    torch.ops.aten.convolution_backward(gradient, x, kernel, None, *of_all, wanted)

    return work


MEASUREMENTS = {
    "step": train_step,
    "inference": inference,
    "objective": objective,
    "nms": nms,
    "iou": iou,
}


def main() -> None:
    """Answers every line with the seconds of one repetition."""
    measurement, workload = workloads.parse(sys.argv[1:])
    what = (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    if measurement == "layers":
        worker.serve(what, convolution, {})
        return
    work = MEASUREMENTS[measurement](workload)
    start = timing.now()
    work()
    before = {"first run": timing.now() - start}
    on_gpu = workload.device == "cuda"
    device = torch.cuda.max_memory_allocated if on_gpu else lambda: None
    where = f" on {torch.cuda.get_device_name()}" if on_gpu else ""
    worker.serve(what + where, lambda _: work, before, device)


if __name__ == "__main__":
    main()
