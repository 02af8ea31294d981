#!/usr/bin/env bash
# Expected: torchvision's batched_nms keeps the same boxes as nms of each class alone.
# Actual: on a CPU and for up to 1,000 boxes, torchvision 0.29.1 shifts each class by class number * (largest coordinate
# + 1) and calls nms once, in float32. With 1,203 classes (LVIS) in an aerial image of 20,000 pixels, coordinates reach
# 24 million, where float32 has steps of 2 pixels: other boxes are kept. More boxes are processed per class, correctly.
# Why it matters: whether a detection is suppressed depends on the number of other detections, the size of the image and
# the position of its class in the list of names. A test with few classes cannot detect this.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/suppress.py" <<'PYTHON'
import torch
import torchvision
from torchvision.ops import batched_nms, nms


def differing(classes, side, count, threshold=0.5):
    """Counts the boxes that only one of the two ways keeps, of 2 * count boxes in pairs, of 10 to 30 pixels."""
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=random) * (side - 60)
    first = torch.cat([corner, corner + 10 + 20 * torch.rand(count, 2, generator=random)], 1)
    boxes = torch.cat([first, first + 2 * torch.randn(count, 4, generator=random)])
    scores = torch.rand(2 * count, generator=random)
    labels = torch.randint(classes, (count,), generator=random).repeat(2)
    together = set(batched_nms(boxes, scores, labels, threshold).tolist())
    alone = set()
    for label in labels.unique():
        members = torch.where(labels == label)[0]
        alone |= set(members[nms(boxes[members], scores[members], threshold)].tolist())
    return len(together ^ alone)


print(f"torchvision {torchvision.__version__}, torch {torch.__version__}")
found = {}
for classes, side, count in ((80, 640, 490), (1203, 1333, 490), (1203, 20_000, 490), (1203, 20_000, 510)):
    found[classes, side, count] = differing(classes, side, count)
    print(f"  {classes} classes, {side} pixels, {2 * count} boxes: {found[classes, side, count]} kept by one way only")
assert [bool(number) for number in found.values()] == [False, False, True, False], "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
"$folder/environment/bin/python" "$folder/suppress.py"
