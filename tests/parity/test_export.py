"""What is trained here, in torchvision itself: needs the environment that `make peers` makes."""

import json
import re
import subprocess

import numpy as np
import pytest

import ioub_jax
from configs import torchvision
from ioub_jax import building
from tests import tiny
from tests.parity import synthetic
from tests.parity.comparison import pair_detections

PYTHON = tiny.ROOT / ".venv-peers" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="`make peers` has not been run"),
]

DETECT = """
import numpy as np
for i, pixels in enumerate(np.load("images.npy")):
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (found,) = model([image])
    np.savez(f"found_{i}.npz", **{name: value.numpy() for name, value in found.items()})
"""


def train(workdir, architecture, side):
    """A short run of the whole network on `shapes`."""
    config = torchvision.get_config(architecture)
    config.init_from = None
    config.batch_size = 2
    config.data.source = "shapes"
    config.data.canvases = ((side, side),)
    config.data.resize.update({"short_side": side, "long_side": side})
    config.data.shapes.update({"num_train": 8, "num_val": 2, "image_size": (side, side)})
    config.schedule.update({"images": 4, "warmup_images": 0})
    if not config.model.name.startswith("ssd"):
        config.model.update({"norm": "batch_norm", "norm_epsilon": 1e-4, "frozen_stages": -1})
    # After so few steps no score is far above the prior probability, and boxes are near their
    # anchors, many of which have an IoU of .5 with each other, but for rounding.
    config.evaluation.update({"every_images": 4, "batch_size": 2, "score_threshold": 0.0})
    config.evaluation.nms_iou = 0.437
    if config.model.name == "fcos":
        # Nearly half of its boxes have no area at first, and torchvision counts them.
        config.evaluation.max_detections = 300
    config.runtime.update({"devices": 1, "workers": 0, "checkpoint_every_images": 4})
    building.train_and_evaluate(config, workdir)


def with_area(found):
    """Torchvision keeps boxes that clipping to the image leaves without area, ours drops them."""
    left, top, right, bottom = found["boxes"].T
    return {name: value[(right > left) & (bottom > top)] for name, value in found.items()}


@pytest.mark.parametrize(
    ("architecture", "side"),
    [
        ("retinanet_resnet50_fpn", 64),
        ("retinanet_resnet50_fpn_v2", 64),
        ("fcos_resnet50_fpn", 64),
        ("ssd300_vgg16", 300),
        ("ssdlite320_mobilenet_v3_large", 320),
    ],
)
def test_a_run_detects_the_same_in_torchvision(architecture, side, tmp_path):
    train(tmp_path / "run", architecture, side)
    code, output = tiny.run(
        "export", f"--model={tmp_path / 'run'}", f"--output={tmp_path / 'exported'}",
        "--format=safetensors",
    )  # fmt: skip
    assert code == 0, output
    images = synthetic.images((2, side, side), seed=3)
    np.save(tmp_path / "images.npy", images)
    page = (tiny.ROOT / "docs" / "export.md").read_text()
    section = page.partition("## In torchvision\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    subprocess.run([PYTHON, "-c", program + DETECT], cwd=tmp_path, check=True, timeout=600)

    labels = {
        class_["name"]: class_["label"]
        for class_ in json.loads((tmp_path / "exported" / "torchvision.json").read_text())[
            "classes"
        ]
    }
    detector = ioub_jax.load(tmp_path / "run")
    for i, image in enumerate(images):
        ours = detector(image)
        ours = {
            "boxes": ours.boxes,
            "scores": ours.scores,
            "labels": np.array([labels[name] for name in ours.class_names]),
        }
        theirs = with_area(np.load(tmp_path / f"found_{i}.npz"))
        # Of the detections that are kept theirs had places for those without area.
        assert len(ours["scores"]) >= len(theirs["scores"]) > 50
        ours = {name: value[: len(theirs["scores"])] for name, value in ours.items()}
        pairs = pair_detections(theirs, ours)
        assert sorted(pairs) == list(range(len(pairs)))
        scores = np.abs(ours["scores"][pairs] - theirs["scores"]).max()
        boxes = np.abs(ours["boxes"][pairs] - theirs["boxes"]).max()
        print(f"{architecture}: {len(pairs)} detections, scores {scores:.1e}, boxes {boxes:.1e} px")
        assert scores < 1e-5
        assert boxes < 1e-4 * side
