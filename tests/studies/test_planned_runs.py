import json
import re

import numpy as np
import pytest

from ioub_jax.configs import defaults
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import CocoMetric, VocMetric, coco_format, coco_metrics
from ioub_jax.from_config import data_parts
from ioub_jax.plotting import gains as plotting
from ioub_jax.studies import arm_settings, planned_runs, study_report
from ioub_jax.training import evaluator
from ioub_jax.workdirs import configuration
from tests import tiny
from tests.own_metric import Caught

COCO = CocoMetric()
ARMS = [(arm, lambda config, arm=arm: defaults.set_arm(config, arm)) for arm in defaults.ARMS]


def plan(folder, seeds=2, arms=ARMS, config=None):
    return planned_runs.plan_runs(
        config or tiny.get_config("cls"), arms, seeds, folder / "runs", folder / "results"
    )


def pretend_trained(run, noise, metrics=(COCO,), every=1):
    """The files of a finished run whose detections are the ground truth, `noise` pixels off.

    Args:
      run: the run.
      noise: standard deviation of the corners.
      metrics: what it was evaluated by.
      every: of how many objects one is detected.
    """
    source = data_parts.create_source(run.config.data, "val")
    ground_truth = coco_format.to_coco_ground_truth(source)
    generator = np.random.default_rng(run.config.seed)
    detections = [
        {key: entry[key] for key in ("image_id", "category_id")}
        | {"bbox": (np.array(entry["bbox"]) + generator.normal(0, noise, 4)).clip(1).tolist()}
        | {"score": float(generator.random())}
        for entry in ground_truth["annotations"][::every]
    ]
    folder = run.workdir / "evaluation"
    folder.mkdir(parents=True)
    (run.workdir / "config.json").write_text(json.dumps(configuration.to_dict(run.config)))
    evaluation = evaluator.compare(ground_truth, detections, metrics)
    evaluation.write(folder, "val_24")
    # As under a moving average of the weights, without which the numbers are others.
    without_ema = {f"without_ema_{key}": 0.0 for key in evaluation.record()}
    recorded = [{"step": 12}, {"step": 24} | evaluation.record() | without_ema]
    (run.workdir / "evaluation.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in recorded)
    )
    # 24 steps of 8 images at 16 images a second.
    lines = [json.dumps({"step": step, "images_per_second": 16.0}) for step in range(4, 25, 4)]
    (run.workdir / "train.jsonl").write_text("\n".join(lines) + "\n")


def test_runs_differ_in_arm_and_seed_alone(tmp_path):
    runs = plan(tmp_path)
    assert [run.name for run in runs[:2]] == ["arm both, seed 0", "arm baseline, seed 0"]
    assert runs[0].workdir == tmp_path / "runs/both/seed_0"
    assert runs[-1].result == tmp_path / "results/loc_weight_only/seed_1.json"
    for run in runs:
        expected = tiny.get_config(run.arm)
        expected.seed = run.config.seed
        assert configuration.to_dict(run.config) == configuration.to_dict(expected)


def test_a_swept_key_may_be_none_in_the_configuration(tmp_path):
    """A plan is made of copies, which have to know what None stands for."""
    arms = [(text, arm_settings.setting("model.pretrained", text, "")) for text in ("None", "x")]
    runs = planned_runs.plan_runs(tiny.get_config(), arms, 1, tmp_path, tmp_path)
    assert [run.config.model.pretrained for run in runs] == [None, "x"]


def test_finished_runs_are_found(tmp_path):
    run = plan(tmp_path)[0]
    assert not planned_runs.is_finished(run)
    pretend_trained(run, noise=1.0)
    assert planned_runs.is_finished(run)
    (run.workdir / "evaluation.jsonl").write_text('{"step": 12}\n')
    assert not planned_runs.is_finished(run)
    other = tiny.get_config()
    other.batch_size = 16
    with pytest.raises(ConfigError, match=r"another configuration \(batch_size: 8 -> 16\)"):
        planned_runs.is_finished(plan(tmp_path, config=other)[0])


def test_report_of_runs_and_of_their_kept_results(tmp_path):
    arms = [arm for arm in ARMS if arm[0] in ("baseline", "both")][::-1]
    runs = plan(tmp_path, arms=arms)
    for run in runs:
        pretend_trained(run, noise=3.0 if run.arm == "baseline" else 0.5)
    text = study_report.write(runs, tmp_path / "out", resamplings=20, draw=plotting.comparison)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["reference"] == "baseline"
    difference = report["arms"]["both"]["differences"]["AP"]
    assert difference["mean"] > 0.1
    # The scores are random: as random for both.
    assert abs(report["arms"]["both"]["metrics"]["Spearman"]["mean"]) < 0.5
    assert "Whether its scores follow IoU more or less closely is not shown (" in text
    assert "Data `shapes` at 64x64; retinanet, resnet18; 192 images in batches of 8," in text
    assert difference["by_images"][0] > 0
    assert report["arms"]["both"]["seconds"] == pytest.approx(24 * 8 / 16)
    # Every object has one detection of its class: what the baseline lacks are boxes that fit.
    errors = report["arms"]["baseline"]["errors"]["75"]
    evaluated = json.loads((runs[0].workdir / "evaluation/val_24_metrics.json").read_text())
    of_runs = [json.loads(run.result.read_text()) for run in runs if run.arm == "baseline"]
    assert of_runs[0]["errors"]["75"] == evaluated["errors"]["75"]["all_classes"]["dAP"]
    costs = [of_run["errors"]["75"]["localization"] for of_run in of_runs]
    assert errors["localization"]["mean"] == pytest.approx(np.mean(costs)) != 0
    assert report["arms"]["both"]["errors"]["75"]["localization"]["difference"]["mean"] < -0.1
    assert "## Errors by kind at IoU 0.75" in text
    assert (tmp_path / "out/report.md").read_text() == text
    assert (tmp_path / "out/report.png").read_bytes().startswith(b"\x89PNG")

    # The small files are enough: runs that were trained elsewhere count as finished.
    runs[0].workdir.rename(tmp_path / "moved away")
    assert planned_runs.is_finished(runs[0])
    assert (
        study_report.write(runs, tmp_path / "out", resamplings=20, draw=plotting.comparison) == text
    )
    longer = runs[0].config.copy_and_resolve_references()
    longer.schedule.images *= 2
    assert not planned_runs.is_finished(
        planned_runs.PlannedRun("baseline", longer, runs[0].workdir, runs[0].result)
    )


def count_objects():
    source = data_parts.create_source(tiny.get_config().data, "val")
    return sum(len(source.annotations(index).labels) for index in range(len(source)))


def report_of_half_found(tmp_path, metrics):
    """The baseline finds every second object, `both` each; of two seeds."""
    arms = [arm for arm in ARMS if arm[0] in ("baseline", "both")][::-1]
    runs = plan(tmp_path, arms=arms)
    for run in runs:
        pretend_trained(run, 1.0, metrics, every=2 if run.arm == "baseline" else 1)
    text = study_report.write(runs, tmp_path / "out", resamplings=20, draw=plotting.comparison)
    assert (tmp_path / "out/report.png").read_bytes().startswith(b"\x89PNG")
    # And once more from what is kept, the workdirs being elsewhere.
    for run in runs:
        run.workdir.rename(tmp_path / f"{run.arm}_{run.config.seed}")
    again = study_report.write(runs, tmp_path / "again", resamplings=20, draw=plotting.comparison)
    assert again == text
    report = json.loads((tmp_path / "out/report.json").read_text())
    return text, report["arms"]["both"]


def test_a_metric_of_ones_own_is_reported_beside_coco(tmp_path):
    text, both = report_of_half_found(tmp_path, (Caught(), COCO, VocMetric()))
    objects = count_objects()
    left_out = objects // 2
    difference = both["differences"]["caught"]
    assert difference["mean"] == pytest.approx(left_out / objects)
    assert (difference["by_images"], difference["count"]) == (None, 2)
    per_image = both["differences"]["caught_per_image"]["mean"]
    assert per_image == pytest.approx(left_out / tiny.get_config().data.shapes.num_val)
    assert both["metrics"]["caught"]["mean"] == 1.0
    assert both["differences"]["AP"]["by_images"] is not None
    # VOC's is not of a comparison that has COCO's.
    names = "AP | AP50 | AP60 | AP70 | AP75 | AP80 | AP90 | Spearman | caught | caught_per_image"
    assert f"| arm | seeds | {names} | minutes a run |\n" in text
    assert f"{difference['mean']:+.3f} (" in text
    assert "AP in sentences is in hundredths" in text
    assert re.search(r"no difference from `baseline` is shown \(\+\d\d\.\d AP, 95%", text)


def test_what_counts_more_detections_is_compared_under_its_name(tmp_path):
    config = tiny.get_config("cls")
    config.evaluation.coco_detections = 300
    arms = [arm for arm in ARMS if arm[0] in ("baseline", "both")][::-1]
    runs = plan(tmp_path, arms=arms, config=config)
    for run in runs:
        pretend_trained(run, 1.0, (CocoMetric(counted=300),))
    text = study_report.write(runs, tmp_path / "out", resamplings=20, draw=plotting.comparison)
    names = " | ".join(f"{key}@300" for key in coco_metrics.AP_KEYS)
    assert f"| arm | seeds | {names} | Spearman | minutes a run |\n" in text
    assert "AP@300 in sentences is in hundredths" in text
    assert re.search(r"no difference from `baseline` is shown \(\+0\.0 AP@300, 95%", text)
    report = json.loads((tmp_path / "out/report.json").read_text())
    difference = report["arms"]["both"]["differences"]["AP@300"]
    assert difference["by_images"] == [0, 0]
    assert "AP" not in report["arms"]["both"]["metrics"]
    # What is kept is not made again.
    runs[0].workdir.rename(tmp_path / "moved away")
    assert planned_runs.result_of(runs[0], resamplings=20).metrics["AP@300"] > 0.1


def test_runs_without_coco_are_compared_by_what_there_is(tmp_path):
    text, both = report_of_half_found(tmp_path, (Caught(), VocMetric()))
    objects = count_objects()
    gain = objects // 2 / objects
    assert (
        f"- `both` is higher than `baseline` by {gain:.3f} caught (95% interval {gain:+.3f} to "
        f"{gain:+.3f}, 2 seeds): on this data"
    ) in text
    assert "hundredths" not in text and "over the images" not in text
    assert both["caught_less_that_of"]["baseline"]["mean"] == pytest.approx(gain)
    assert {"caught_per_image", "voc_AP", "voc_all_points_AP90"} <= both["differences"].keys()
    assert not any("without_ema" in metric for metric in both["metrics"])
    assert both["differences"]["voc_AP50"]["mean"] > 0.1
    assert "| arm | seeds | caught | caught_per_image | voc_AP | voc_AP50 |" in text


def test_voc_alone_is_compared(tmp_path):
    text, _ = report_of_half_found(tmp_path, (VocMetric(),))
    assert re.search(r"no difference from `baseline` is shown \(\+0\.\d{3} voc_AP, 95%", text)


def test_cocos_file_that_is_gone_is_asked_for(tmp_path):
    (run,) = plan(tmp_path, seeds=1, arms=ARMS[:1])
    pretend_trained(run, noise=1.0)
    (run.workdir / "evaluation/val_24_metrics.json").unlink()
    sentence = (
        r"val_24_metrics.json does not exist: train .* with 'coco' among evaluation.metrics\."
    )
    with pytest.raises(ConfigError, match=sentence):
        planned_runs.make_result(run, resamplings=20)


def test_without_coco_other_validation_images_are_refused(tmp_path):
    runs = plan(tmp_path, seeds=1, arms=ARMS[:2])
    runs[1].config.data.shapes.num_val += 1
    for run in runs:
        pretend_trained(run, 1.0, (Caught(),))
    with pytest.raises(ConfigError, match="were evaluated on different images or boxes"):
        study_report.write(runs, tmp_path / "out", resamplings=20, draw=plotting.comparison)


def test_without_coco_nobody_knows_which_images_could_be_read(tmp_path):
    (run,) = plan(tmp_path, seeds=1, arms=ARMS[:1])
    run.config.data.on_error = "skip"
    pretend_trained(run, 1.0, (Caught(),))
    result = planned_runs.make_result(run, resamplings=20)
    assert (result.images, result.metrics["caught"]) == (None, 1.0)


def test_what_is_left_takes_as_long_as_what_is_done(tmp_path):
    runs = plan(tmp_path, seeds=1)
    assert planned_runs.time_left(runs, 2) == (
        "5 of 5 runs remain to be trained, 2 at once; the time of a run is not known before one is "
        "finished."
    )
    for run in runs[:2]:
        pretend_trained(run, noise=1.0)
        made = planned_runs.make_result(run, resamplings=20)
        values = json.loads(run.result.read_text()) | {"seconds": made.seconds * 10}
        run.result.write_text(json.dumps(values))
    # 24 steps of 8 at 16 images a second, times 10, are 2 minutes; 3 runs, 2 at once, take 4.
    assert planned_runs.time_left(runs, 2) == (
        "3 of 5 runs remain to be trained, 2 at once: 4.0 minutes, 2.0 minutes for each; "
        "evaluations are not counted."
    )
    assert planned_runs.time_left(runs[:2], 2) == "All 2 runs are finished."


def test_a_report_without_the_reference_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nothing to report: arm 'both', which"):
        study_report.write(
            plan(tmp_path), tmp_path / "out", resamplings=20, draw=plotting.comparison
        )
    assert not (tmp_path / "out").exists()


def test_other_validation_images_are_refused(tmp_path):
    runs = plan(tmp_path, seeds=1, arms=ARMS[:2])
    runs[1].config.data.shapes.num_val += 1
    for run in runs:
        pretend_trained(run, noise=1.0)
    with pytest.raises(ConfigError, match="were evaluated on different images or boxes"):
        study_report.write(runs, tmp_path / "out", resamplings=20, draw=plotting.comparison)


def test_nothing_is_resampled_where_images_could_not_be_read(tmp_path):
    (run,) = plan(tmp_path, seeds=1, arms=ARMS[:1])
    pretend_trained(run, noise=1.0)
    path = run.workdir / "evaluation/val_24_metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"images": metrics["images"] - 1}))
    result = planned_runs.make_result(run, resamplings=20)
    assert (result.resampled, result.metrics["AP"]) == ({}, metrics["AP"])
    assert planned_runs.result_of(run, resamplings=20) == result


def test_existing_workdirs_are_compared(tmp_path):
    run = plan(tmp_path)[0]
    pretend_trained(run, noise=1.0)
    (found,) = planned_runs.existing_runs([("mine", [run.workdir])], tmp_path / "results")
    assert (found.name, found.result) == ("arm mine, seed 0", tmp_path / "results/mine/seed_0.json")
    assert planned_runs.is_finished(found)
    with pytest.raises(ConfigError, match="are both seed 0 of arm mine"):
        planned_runs.existing_runs([("mine", [run.workdir, run.workdir])], tmp_path)


def test_a_run_that_ended_early_is_finished(tmp_path):
    config = tiny.get_config("cls")
    config.evaluation.patience = 2
    run = plan(tmp_path, config=config)[0]
    pretend_trained(run, 1.0)
    for aps, finished in (((0.1, 0.2), False), ((0.2, 0.1, 0.1), True), ((0.2, 0.1, 0.3), False)):
        lines = [json.dumps({"step": 4 * n, "AP": ap}) for n, ap in enumerate(aps, start=1)]
        (run.workdir / "evaluation.jsonl").write_text("\n".join(lines))
        assert planned_runs.is_trained(run) == finished
        if not finished:
            words = f"begun, evaluated at step {4 * len(aps)} of 24"
            assert planned_runs.progress_of(run) == words
