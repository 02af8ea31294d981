"""An SSD goes through the commands that a RetinaNet goes through."""

import json

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


@pytest.mark.slow
def test_train_evaluate_and_draw(tmp_path):
    workdir = tmp_path / "run"
    overrides = [f"--config.{override}" for override in SMALL]
    code, output = tiny.run(
        "train",
        "--config=ioub_jax/configs/ssd_defaults.py:both",
        f"--workdir={workdir}",
        *overrides,
    )
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


def test_a_canvas_of_another_size_is_refused(tmp_path):
    arguments = ["--config=ioub_jax/configs/ssd_defaults.py:both", f"--workdir={tmp_path / 'run'}"]
    code, output = tiny.run("train", *arguments, "--config.data.canvases=((320, 320),)")
    assert code == 1
    assert "model.input_size is 300, but data.canvases is ((320, 320),)" in output
    assert "Traceback" not in output
