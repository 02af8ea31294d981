"""SSDs go through the commands that a RetinaNet goes through."""

import json

import numpy as np
import pytest

from tests import tiny

SMALL = [
    "model.width=4",
    "data.source=shapes",
    "data.shapes.image_size=(90, 120)",
    "data.shapes.num_train=12",
    "data.shapes.num_val=6",
    "data.max_boxes=16",
    "batch_size=4",
    "schedule.images=12",
    "schedule.warmup_images=4",
    "schedule.base_learning_rate=0.01",
    "evaluation.batch_size=4",
    "evaluation.score_threshold=0.0",
    "loss.calibration_batches=1",
    "runtime.devices=1",
    "runtime.log_every_steps=1",
]


#: An SSDLite of 64 pixels, whose levels have 4, 2, 1, 1, 1 and 1 cells a side.
SMALL_LITE = [
    "model.width=8",
    "model.input_size=64",
    "data.canvases=((64, 64),)",
    "anchors.sizes=(12.8, 22.4, 32.0, 41.6, 51.2, 60.8, 64.0)",
]


def train(family, workdir, *overrides):
    arguments = [f"--config=ioub_jax/configs/{family}_defaults.py:both", f"--workdir={workdir}"]
    chosen = [*SMALL, *(SMALL_LITE if family == "ssdlite" else ()), *overrides]
    return tiny.run("train", *arguments, *(f"--config.{override}" for override in chosen))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ssd", "ssdlite"])
def test_train_evaluate_draw_and_export(family, tmp_path):
    workdir = tmp_path / "run"
    code, output = train(family, workdir)
    assert code == 0, output
    records = [json.loads(line) for line in (workdir / "train.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert all(record["positives_per_image"] > 0 for record in records)
    # Measured before the first step, and then a constant.
    assert len({record["w_loc"] for record in records}) == 1
    assert records[0]["w_loc"] > 1
    evaluation = json.loads((workdir / "evaluation.jsonl").read_text())
    assert evaluation["step"] == 3 and 0 <= evaluation["AP"] <= 1
    code, output = tiny.run("evaluate", f"--workdir={workdir}")
    assert code == 0 and "COCO, 6 images" in output, output
    code, output = tiny.run("draw", f"--workdir={workdir}", "--images=2", "--score=0.1")
    assert code == 0, output
    assert (workdir / "pictures" / "positive_anchors.png").stat().st_size > 10_000
    if family == "ssd":
        return
    exported = tmp_path / "exported"
    code, output = tiny.run("export", f"--model={workdir}", f"--output={exported}")
    assert code == 0, output
    assert (exported / "detector_64x64.stablehlo").stat().st_size > 100_000


@pytest.mark.slow
def test_the_norms_of_an_ssdlite_go_on_where_they_were(tmp_path):
    constant = ("schedule.name=constant", "runtime.checkpoint_every_images=8")
    at_once, in_two = tmp_path / "at_once", tmp_path / "in_two"
    for workdir, images in ((at_once, 24), (in_two, 12), (in_two, 24)):
        code, output = train("ssdlite", workdir, *constant, f"schedule.images={images}")
        assert code == 0, output
    one, other = (
        [json.loads(line) for line in (workdir / "train.jsonl").read_text().splitlines()]
        for workdir in (at_once, in_two)
    )
    assert [record["step"] for record in one] == [record["step"] for record in other]
    for name in ("loss", "w_loc", "mean_positive_iou"):
        values = [[record[name] for record in records] for records in (one, other)]
        np.testing.assert_array_equal(*values, err_msg=name)
    evaluations = [
        json.loads((workdir / "evaluation.jsonl").read_text().splitlines()[-1])
        for workdir in (at_once, in_two)
    ]
    # Which sees the running statistics.
    assert evaluations[0]["loss"] == evaluations[1]["loss"]


def test_a_canvas_of_another_size_is_refused(tmp_path):
    arguments = ["--config=ioub_jax/configs/ssd_defaults.py:both", f"--workdir={tmp_path / 'run'}"]
    code, output = tiny.run("train", *arguments, "--config.data.canvases=((320, 320),)")
    assert code == 1
    assert "model.input_size is 300, but data.canvases is ((320, 320),)" in output
    assert "Traceback" not in output
