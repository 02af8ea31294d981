#!/usr/bin/env bash
# Expected: of boxes that are equal, NMS keeps one.
# Actual: torchvision 0.29.1's nms and batched_nms keep every one of them if the width or height is 0: the IoU is 0 / 0,
# and NaN is not above the threshold. box_iou and generalized_box_iou return NaN. RetinaNet clips boxes to the image
# before NMS and does not remove those that become flat.
# Why it matters: boxes beyond the border become flat by clipping, boxes of small objects by rounding. Detectors return
# many of them; they take places among the 100 to 300 best of an image, and make a mean of IoUs NaN.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/flat.py" <<'PYTHON'
import torch
import torchvision
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.ops import batched_nms, box_iou, generalized_box_iou, nms

COPIES = 5
print(f"torchvision {torchvision.__version__}, torch {torch.__version__}: {COPIES} equal boxes")
scores = torch.linspace(0.9, 0.5, COPIES)
kept = {}
for right in (10.0, 10.01, 20.0):
    boxes = torch.tensor([[10.0, 10.0, right, 20.0]]).repeat(COPIES, 1)
    kept[right] = len(nms(boxes, scores, 0.5)), len(batched_nms(boxes, scores, torch.ones(COPIES), 0.5))
    overlap, generalized = float(box_iou(boxes, boxes)[0, 1]), float(generalized_box_iou(boxes, boxes)[0, 1])
    print(
        f"  {right - 10:.2f} pixels wide: nms keeps {kept[right][0]}, batched_nms {kept[right][1]}; "
        f"IoU {overlap}, GIoU {generalized}"
    )
    assert (overlap != overlap) == (generalized != generalized) == (right == 10), "the behavior has changed"
assert kept == {10.0: (COPIES, COPIES), 10.01: (1, 1), 20.0: (1, 1)}, "the behavior has changed"

torch.manual_seed(0)
model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2, min_size=128, max_size=128).eval()
with torch.no_grad():
    model.head.classification_head.cls_logits.bias.zero_()
    regression = model.head.regression_head.bbox_reg
    regression.weight.zero_()
    regression.bias.zero_()
    regression.bias[0::4] = 1  # moves every anchor to the right by its width
    boxes = model([torch.rand(3, 128, 128)])[0]["boxes"]
flat = boxes[(boxes[:, 2:] <= boxes[:, :2]).any(dim=1)]
different = len(torch.unique(flat, dim=0))
print(f"  RetinaNet: {len(boxes)} detections, {len(flat)} without area, at {different} places along the border")
assert len(flat) > different > 0, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
"$folder/environment/bin/python" "$folder/flat.py"
