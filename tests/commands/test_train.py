"""Whole commands, as a user runs them: train, kill, resume, stop, evaluate, diagnose, draw."""

import json
import os
import pathlib
import shutil
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from experiments.soak import process_groups
from ioub_jax.workdirs import checkpoints, lock
from tests import tiny


def state_in(workdir):
    """Every array of a workdir's last checkpoint."""
    newest = checkpoints.to_read(workdir, "last")
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(newest.path.absolute() / "state")
    return newest.step, jax.tree.map(np.asarray, tree)


def assert_bit_identical(first, second):
    assert first[0] == second[0]
    jax.tree.map(np.testing.assert_array_equal, first[1], second[1])


def records(workdir, name="train"):
    return [json.loads(line) for line in (workdir / f"{name}.jsonl").read_text().splitlines()]


def living_processes(group):
    """Processes of a group that are not zombies waiting for their parent."""
    if not pathlib.Path("/proc/self/stat").exists():
        pytest.skip("this system has no /proc to look for workers in")
    return process_groups.living(group)


def wait_for_step(process, workdir, step):
    """Waits until the run has logged a step; fails if it ends before that."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        path = workdir / "train.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= step:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    raise TimeoutError(f"step {step} was not reached")


def train_arguments(workdir, *overrides):
    """The flags of a run like `finished`."""
    return tiny.train_arguments(workdir, "optimizer.ema_decay=0.5", *overrides)


#: What differs between runs of the same bits.
TIMING = ("seconds", "images_per_second", "data_wait_share", "checkpoint_wait_share")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """The workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    code, output = tiny.run("train", *train_arguments(workdir))
    assert code == 0, output
    assert "Measured w_loc" in output
    return workdir


def test_a_run_leaves_its_records(finished):
    train = records(finished)
    assert [record["step"] for record in train] == list(range(1, 25))
    expected = {
        "loss", "loss_classification", "loss_localization", "positives_per_image",
        "mean_positive_iou", "w_loc", "loss_normalizer", "gradient_norm", "learning_rate",
        "seconds",
    }  # fmt: skip
    assert expected <= train[0].keys()
    # The first step compiles and has no rate.
    for record in train:
        assert (record["step"] > 1) == (set(TIMING[1:]) <= record.keys())
    seconds = [record["seconds"] for record in train]
    assert seconds[0] > 0 and seconds == sorted(seconds)
    assert train[0]["w_loc"] == train[-1]["w_loc"] != 1.0
    histograms = records(finished, "histograms")
    for record, counts in zip(train, histograms, strict=True):
        positives = 8 * record["positives_per_image"]
        assert counts.pop("step") == record["step"]
        assert [sum(bins) for bins in counts.values()] == [positives] * 3
    assert [record["step"] for record in records(finished, "evaluation")] == [12, 24]
    averaged, last = (
        json.loads((finished / "evaluation" / f"val_24{suffix}_detections.json").read_text())
        for suffix in ("", "_without_ema")
    )
    assert averaged != last
    assert records(finished, "evaluation")[-1].keys() >= {"AP", "voc_AP", "without_ema_voc_AP"}
    assert averaged[0].keys() == {"image_id", "category_id", "bbox", "score"}
    assert {path.name for path in (finished / "checkpoints" / "last").iterdir()} == {"20", "24"}
    assert list((finished / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=pytest.mark.slow) for step in (3, 8, 14)]
)
def test_killed_and_started_again_ends_with_the_same_bits(finished, tmp_path, step):
    workdir = tmp_path / "run"
    process = tiny.start("train", *train_arguments(workdir))
    wait_for_step(process, workdir, step)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    code, output = tiny.run("train", *train_arguments(workdir))
    assert code == 0, output
    assert_bit_identical(state_in(workdir), state_in(finished))
    for first, second in zip(records(workdir), records(finished), strict=True):
        same = first.keys() - set(TIMING)
        assert {key: first[key] for key in same} == {key: second[key] for key in same}
    for name in ("histograms", "evaluation"):
        assert records(workdir, name) == records(finished, name)


@pytest.mark.slow
def test_a_damaged_run_goes_on_from_what_is_whole_to_the_same_bits(finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / "config.json").unlink()
    for kind in ("last", "best"):
        files = (
            workdir / "checkpoints" / kind / "24" / "state" / "ocdbt.process_0" / "d"
        ).iterdir()
        largest = max(files, key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 16
        # A flipped bit in one, and what a lost write leaves in the other.
        largest.write_bytes(content if kind == "last" else content[:60])
    code, output = tiny.run("train", *train_arguments(workdir))
    assert code == 0, output
    assert f"{workdir / 'config.json'} is gone: the configuration is taken from" in output
    assert (
        f"in {workdir} are damaged: the run resumes from the 'last' checkpoint of step 20" in output
    )
    assert "Traceback" not in output
    assert_bit_identical(state_in(workdir), state_in(finished))
    for name in ("histograms", "evaluation"):
        assert records(workdir, name) == records(finished, name)
    assert [record["step"] for record in records(workdir)] == list(range(1, 25))
    assert (workdir / "config.json").read_text() == (finished / "config.json").read_text()


def test_a_second_training_in_a_workdir_is_refused(commands, finished):
    with lock.held(finished):
        for more in ([], ["--dry_run"]):
            code, output = commands("train", *train_arguments(finished), *more)
            assert code == 1
            assert output.startswith(f"Error: {finished} is in use: process {os.getpid()} on ")
            assert output.count("\n") == 1


@pytest.mark.parametrize("to_workers_too", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sigterm_saves_ends_the_workers_and_resumes(finished, tmp_path, to_workers_too):
    workdir = tmp_path / "run"
    arguments = train_arguments(workdir, "runtime.workers=1")
    process = tiny.start("train", *arguments)
    wait_for_step(process, workdir, 7)
    if to_workers_too:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "by a signal, with everything saved" in output
    # What is being reaped needs a moment; a worker that was forgotten would stay.
    deadline = time.monotonic() + 10
    while living_processes(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living_processes(process.pid) == []
    step, _ = state_in(workdir)
    assert 7 <= step < 24
    assert records(workdir)[-1]["step"] == step
    code, output = tiny.run("train", *train_arguments(workdir))
    assert code == 0, output
    assert_bit_identical(state_in(workdir), state_in(finished))


def test_report_a_run_by_what_its_evaluation_has_kept(commands, finished, tmp_path):
    last = json.loads((finished / "evaluation" / "val_24_metrics.json").read_text())
    before = finished / "evaluation" / "val_24_without_ema_detections.json"
    code, output = commands(
        "report", f"--workdir={finished}", "--checkpoint=last", f"--against={before}",
        f"--output={tmp_path}/report.html", "--pictures=2",
    )  # fmt: skip
    assert code == 0, output
    assert f"run: AP {last['AP']:.3f}, AP50 {last['AP50']:.3f}" in output
    text = (tmp_path / "report.html").read_text()
    assert "Side by side" in text and "The losses by NMS cannot be computed" in text
    assert text.count("data:image/jpeg") >= 2
    code, output = commands("report", f"--workdir={finished}", "--checkpoint=last", "--dry_run")
    assert code == 0, output
    assert f"Detections: {finished}/evaluation/val_24_detections.json." in output


@pytest.mark.slow
def test_report_a_run_by_what_it_detects(commands, finished):
    arguments = (f"--workdir={finished}", "--checkpoint=last", "--detect", "--pictures=2")
    code, output = commands("report", *arguments)
    assert code == 0, output
    text = (finished / "report.html").read_text()
    assert "before NMS" in text and "that a candidate reaches" in text


@pytest.mark.slow
def test_diagnose_a_run(commands, finished):
    code, output = commands("diagnose", f"--workdir={finished}", "--checkpoint=last")
    assert code == 0, output
    folder = finished / "diagnostics"
    report = json.loads((folder / "diagnostics.json").read_text())
    run = report["runs"][finished.name]
    assert run["metrics"]["AP"] == records(finished, "evaluation")[-1]["AP"]
    assert run["suppression"]["objects"] == run["metrics"]["boxes"]
    assert len(run["histograms"]["records"]) == 24
    drawn = {path.name for path in folder.glob("*.png")}
    assert {"suppression.png", "positives.png", "score_against_iou.png"} <= drawn


def test_evaluate_and_draw_a_run(commands, finished):
    code, output = commands("evaluate", f"--workdir={finished}", "--checkpoint=last")
    assert code == 0, output
    assert "hourglass" in output
    during = json.loads((finished / "evaluation" / "val_24_metrics.json").read_text())
    after = json.loads((finished / "evaluation" / "val_last_metrics.json").read_text())
    assert after == during
    code, output = commands("evaluate", f"--workdir={finished}", "--checkpoint=last", "--noema")
    assert code == 0, output
    during, after = (
        json.loads((finished / "evaluation" / f"{name}_without_ema_metrics.json").read_text())
        for name in ("val_24", "val_last")
    )
    assert after == during
    code, output = commands("draw", f"--workdir={finished}", "--images=4")
    assert code == 0, output
    assert "Boxes are drawn with at least " in output
    pictures = {path.name for path in (finished / "pictures").iterdir()}
    assert pictures == {"detections.png", "learning_curves.png", "positive_anchors.png"}


def test_compiled_programs_are_kept_beside_the_downloads(finished, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("IOUB_JAX_CACHE", str(tmp_path / "cache"))
    code, output = tiny.run("evaluate", f"--workdir={finished}")
    assert code == 0, output
    assert any("predict" in path.name for path in (tmp_path / "cache" / "compiled").iterdir())


def test_another_configuration_is_refused_and_a_longer_run_is_not(commands, finished, tmp_path):
    before = state_in(finished)
    code, output = commands("train", *train_arguments(finished, "loss.classification.eta=1.0"))
    assert code == 1
    assert output.strip().count("\n") == 0
    assert "another configuration (loss.classification.eta: 1.5 -> 1.0)" in output
    assert_bit_identical(state_in(finished), before)


@pytest.mark.parametrize(("images", "total"), [(24 * 8, 24), (12 * 8, 12)])
def test_a_finished_run_has_nothing_left_to_do(commands, finished, tmp_path, images, total):
    """Nor has one that was made shorter than it is."""
    before, workdir = state_in(finished), tmp_path / "run"
    shutil.copytree(finished, workdir)
    code, output = commands("train", *train_arguments(workdir, f"schedule.images={images}"))
    assert code == 0, output
    assert f"is already finished (step 24 of {total})" in output
    assert ("The schedule is now the one for 96 images (before: 192)." in output) == (total == 12)
    assert_bit_identical(state_in(workdir), before)
    assert len(records(workdir)) == 24
    assert records(workdir, "evaluation") == records(finished, "evaluation")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["schedule.name=cosine", "schedule.image=400"],
            "Error: No such key in the configuration: 'image'. "
            'Did you mean "images" instead of "image"?\n',
        ),
        # Nothing looks like it.
        (["schedule.zzz=4"], "Error: No such key in the configuration: 'zzz'\n"),
        (
            ["batch_size.x=1"],
            "the type does not support indexing. Attempting to lookup: batch_size.x\n",
        ),
        (["loss.classification.etta=1"], 'Did you mean "eta" instead of "etta"?'),
        (["los.classification.eta=1"], 'Did you mean "loss" instead of "los"?'),
        (["loss.classification.eta=high"], "could not convert string to float: 'high'"),
        (["model.norm=frozen_bn"], "without pretrained weights the network would not be"),
        (
            ["model.pretrained=nowhere"],
            "nowhere is neither a file nor the name of",
        ),
        (["batch_size=9", "runtime.devices=2"], "runtime.devices is 2, but there are 1 devices"),
        (["data.source=voc", "data.voc.root=nowhere"], "nowhere"),
        (["loss.normalizer=mean"], "loss.normalizer is 'mean'; it must be one of positives"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(commands, tmp_path, arguments, words):
    workdir = tmp_path / "run"
    code, output = commands("train", *train_arguments(workdir, *arguments))
    assert code == 1, output
    assert words in output
    assert "Traceback" not in output


def test_a_loss_that_is_not_finite_stops_the_run_and_the_checkpoint_stands(commands, tmp_path):
    workdir = tmp_path / "run"
    overrides = ["schedule.base_learning_rate=1e30", "schedule.warmup_images=0"]
    arguments = train_arguments(workdir, *overrides, "runtime.checkpoint_every_images=8")
    code, output = commands("train", *arguments)
    assert code == 1
    assert "Traceback" not in output
    # The first step's loss is finite, so its state is kept; the second step's is not.
    assert "Step 2: " in output
    assert "is nan" in output or "is inf" in output
    assert state_in(workdir)[0] == 1


@pytest.mark.slow
def test_frozen_batch_norm_starts_from_a_run_of_ours(commands, finished, tmp_path):
    workdir = tmp_path / "run"
    overrides = ["model.norm=frozen_bn", "model.frozen_stages=1", f"model.pretrained={finished}"]
    # In parts, which with frozen statistics is nothing that the statistics would notice.
    overrides.append("runtime.gradient_accumulation=2")
    arguments = train_arguments(workdir, *overrides, "schedule.images=16")
    code, output = commands("train", *arguments)
    assert code == 0, output
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    best = checkpoints.read_variables(finished, "best", one)
    tuned = checkpoints.read_variables(workdir, "last", one)
    # Frozen: the stem, stage 1 and every statistic. Trained: the kernels of stage 4.
    jax.tree.map(
        np.testing.assert_array_equal,
        tuned["batch_stats"]["backbone"],
        best["batch_stats"]["backbone"],
    )
    for module, moved in (
        ("stem_conv", False),
        ("stage1_block1", False),
        ("stage4_block1", True),
    ):
        first, second = (x["params"]["backbone"][module] for x in (tuned, best))
        kernel = [np.asarray(x["kernel"] if "kernel" in x else x["conv1"]["kernel"])
                  for x in (first, second)]  # fmt: skip
        assert np.any(kernel[0] != kernel[1]) == moved, module


@pytest.mark.slow
def test_a_folder_of_real_images_trains_and_is_evaluated(commands, shared_data, tmp_path):
    root, workdir = shared_data / "bccd", tmp_path / "run"
    small = [
        "model.width=4", "model.fpn.channels=8", "model.head.width=8", "model.head.depth=1",
        "data.canvases=((96, 128),)", "schedule.images=24", "schedule.warmup_images=8",
        "evaluation.batch_size=36", f"data.voc.root={root}", "data.on_error=skip",
    ]  # fmt: skip
    overrides = [f"--config.{override}" for override in small]
    config = "--config=configs/voc_folder_retinanet.py:baseline"
    code, output = commands("train", config, f"--workdir={workdir}", *overrides)
    assert code == 0, output
    # One box without area in each of the two splits is left out and told.
    assert output.count("1 left out, the first: ") == 2
    assert "BloodImage_00343.xml: box 4 (RBC; 181, 329, 181, 329) has no area" in output
    assert output.count("classes: Platelets, RBC, WBC") >= 1
    classes = json.loads((workdir / "classes.json").read_text())["categories"]
    assert [entry["name"] for entry in classes] == ["Platelets", "RBC", "WBC"]
    code, output = commands("evaluate", f"--workdir={workdir}", "--split=test")
    assert code == 0, output
    # The official test split has 72 images and 945 boxes.
    assert "72 images, 945 ground-truth boxes" in output


@pytest.mark.slow
def test_a_dozen_kills_at_random_moments_change_no_bit(tmp_path):
    """About four minutes: kills in start-up, steps, saves and evaluations alike."""
    overrides = ["schedule.images=12000", "runtime.checkpoint_every_images=160"]
    overrides += ["evaluation.every_images=1600"]
    code, output = tiny.run("train", *train_arguments(tmp_path / "whole", *overrides))
    assert code == 0, output
    rng, kills, workdir = np.random.default_rng(), [], tmp_path / "killed"
    for _ in range(100):
        process = tiny.start("train", *train_arguments(workdir, *overrides))
        started = time.monotonic()
        # The first dozen are killed after start-up; later ones may live to the end.
        patience = rng.uniform(4, 14) + max(0, len(kills) - 12) * 10
        while time.monotonic() < started + patience and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            output, _ = process.communicate()
            assert process.returncode == 0, output
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        path = workdir / "train.jsonl"
        lines = len(path.read_text().splitlines()) if path.exists() else 0
        kills.append((round(time.monotonic() - started, 2), lines))
    print(f"{len(kills)} kills, (seconds after the start, steps recorded): {kills}")
    assert len(kills) >= 10
    assert_bit_identical(state_in(workdir), state_in(tmp_path / "whole"))
    assert records(workdir, "evaluation") == records(tmp_path / "whole", "evaluation")
