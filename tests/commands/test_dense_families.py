"""The families that came after RetinaNet go through all the commands of a run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_train import assert_bit_identical, records, state_in

pytestmark = pytest.mark.slow  # every step and every detection is compiled

#: Four steps of four images.
SMALL = (
    "batch_size=4",
    "model.width=8",
    "data.canvases=((64, 64),)",
    "data.shapes.image_size=(64, 64)",
    "data.shapes.num_train=16",
    "data.shapes.num_val=6",
    "schedule.images=16",
    "schedule.warmup_images=4",
    "schedule.base_learning_rate=0.01",
    "evaluation.every_images=8",
    "evaluation.batch_size=6",
    "evaluation.score_threshold=0.0",
    "evaluation.pictures=0",
    "loss.calibration_batches=1",
    "runtime.devices=1",
    "runtime.log_every_steps=1",
    "runtime.checkpoint_every_images=8",
)
DENSE = ("model.fpn.channels=16", "model.head.width=16", "model.head.depth=1")
#: An SSDLite of 64 pixels, whose levels have 4, 2, 1, 1, 1 and 1 cells a side.
SSDLITE = (
    "model.input_size=64",
    "anchors.sizes=(12.8, 22.4, 32.0, 41.6, 51.2, 60.8, 64.0)",
    "data.source=shapes",
    "data.max_boxes=16",
)
#: What a family's step tells besides what every step tells.
OWN_METRICS = {
    "gfl": {"loss_distribution"},
    "fcos": {"loss_quality"},
    "atss": {"loss_quality"},
    "iou_aware_retinanet": {"loss_quality"},
    "ssdlite": set(),
}


def arguments_of(family, *, arm="both"):
    """The flags of a configuration of a family."""
    config, own = f"configs/shapes_dense.py:{family},{arm}", DENSE
    if family == "ssdlite":
        config, own = f"ioub_jax/configs/ssdlite_defaults.py:{arm}", SSDLITE
    return [f"--config={config}", *(f"--config.{override}" for override in (*SMALL, *own))]


@pytest.fixture(scope="module", params=OWN_METRICS)
def finished(request, commands, tmp_path_factory):
    """A family, the workdir of a run of it, and what the training printed."""
    workdir = tmp_path_factory.mktemp(request.param) / "run"
    code, output = commands("train", *arguments_of(request.param), f"--workdir={workdir}")
    assert code == 0, output
    return request.param, workdir, output


def test_a_run_compiles_once_and_goes_on_to_the_same_bits(finished, commands, tmp_path):
    family, workdir, output = finished
    assert output.count("Step compiled") == 1
    steps = records(workdir)
    assert [record["step"] for record in steps] == [1, 2, 3, 4]
    assert all(OWN_METRICS[family] <= record.keys() for record in steps)
    assert all(record["positives_per_image"] > 0 for record in steps)
    again = shutil.copytree(workdir, tmp_path / "run")
    for kept in ("last", "best"):
        shutil.rmtree(again / "checkpoints" / kept / "4", ignore_errors=True)
    assert state_in(again)[0] == 2
    code, output = commands("train", *arguments_of(family), f"--workdir={again}")
    assert code == 0, output
    assert_bit_identical(state_in(again), state_in(workdir))
    assert [record["step"] for record in records(again)] == [1, 2, 3, 4]
    assert records(again, "evaluation") == records(workdir, "evaluation")


def test_what_comes_after_a_training_knows_the_family(finished, commands, tmp_path):
    _, workdir, _ = finished
    last = (f"--workdir={workdir}", "--checkpoint=last")
    code, output = commands("evaluate", *last)
    assert code == 0, output
    measured = [
        json.loads((workdir / "evaluation" / f"val_{name}_metrics.json").read_text())
        for name in ("4", "last")
    ]
    assert measured[0] == measured[1]

    code, output = commands("diagnose", *last)
    assert code == 0, output
    report = json.loads((workdir / "diagnostics" / "diagnostics.json").read_text())
    assert report["runs"][workdir.name]["metrics"]["AP"] == measured[0]["AP"]
    drawn = {path.name for path in (workdir / "diagnostics").glob("*.png")}
    assert {"suppression.png", "positives.png", "score_against_iou.png"} <= drawn

    code, output = commands("draw", *last, "--images=2")
    assert code == 0, output
    pictures = {path.name for path in (workdir / "pictures").iterdir()}
    assert pictures == {"detections.png", "learning_curves.png", "positive_anchors.png"}

    code, output = commands("report", *last, "--detect", "--pictures=2")
    assert code == 0, output
    assert "before NMS" in (workdir / "report.html").read_text()

    image = np.random.default_rng(0).integers(0, 255, (50, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    found = (f"--model={workdir}", tmp_path / "image.png", f"--output={tmp_path / 'found'}")
    code, output = commands("predict", *found, "--score=0")
    assert code == 0, output
    assert json.loads((tmp_path / "found" / "predictions.json").read_text())["annotations"]


def test_arms_of_a_family_are_compared(finished, commands, tmp_path):
    family, _, _ = finished
    code, output = commands(
        "compare",
        *arguments_of(family, arm="baseline"),
        f"--workdir={tmp_path}",
        "--arms=baseline,both",
        "--seeds=1",
        "--resamplings=20",
    )
    assert code == 0, output
    assert "| both | 1 |" in output
    losses = [records(tmp_path / arm / "seed_0")[-1]["loss"] for arm in ("baseline", "both")]
    assert losses[0] != losses[1]
