#!/usr/bin/env bash
# One expects: torchvision's batched_nms keeps what nms of each class alone keeps.
# What happens: on a CPU, up to 1,000 boxes, torchvision 0.29.1 moves each class by class number * (largest coordinate + 1) and
# does one nms of all in float32. With 1,203 classes (LVIS) in an image of 20,000 pixels (aerial) that is 24 million,
# where float32 has steps of 2 pixels: other boxes are kept. With more boxes it goes class by class and is right.
# Why it matters: the same detections are suppressed or not by how many others there are, how large the image is and how
# far down the list of names their class stands; a test with few classes cannot see it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/suppress.py" <<'PYTHON'
import torch
import torchvision
from torchvision.ops import batched_nms, nms


def differing(classes, side, count, threshold=0.5):
    """How many of 2 * count boxes only one of the two ways keeps: boxes in pairs, of 10 to 30 pixels."""
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
assert [bool(number) for number in found.values()] == [False, False, True, False], "otherwise than told above"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6" 2>/dev/null
"$folder/environment/bin/python" "$folder/suppress.py"
