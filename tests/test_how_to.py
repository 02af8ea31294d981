"""What the pages about adding something say, done to a copy of the package."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("ioub_jax", "configs", "docs", "tests/losses")


@pytest.fixture
def copy(tmp_path):
    """A copy of what the pages change, without the pictures."""
    leave_out = shutil.ignore_patterns("__pycache__", "results")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave_out)
    return tmp_path


def follow(page, copy):
    """Applies the differences of a page, and writes the programs that it names a file for."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    # Whatever repository the copy may lie in is none of its business.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    for difference in re.findall(r"```diff\n(.*?)```", text, flags=re.DOTALL):
        subprocess.run(
            ["git", "apply", "-"],
            input=difference,
            text=True,
            cwd=copy,
            env=environment,
            check=True,
        )
    for path, program in re.findall(r"In `([^`]+)`:\n\n```python\n(.*?)```", text, flags=re.DOTALL):
        (copy / path).write_text(program, encoding="utf-8")


def run(copy, *arguments):
    """What a Python program prints that imports the copy."""
    environment = os.environ | {"PYTHONPATH": str(copy), "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_add_a_loss(copy):
    follow("add-a-loss.md", copy)
    program = (
        "import jax.numpy as jnp, ioub_jax\n"
        "from ioub_jax import objective\n"
        "from ioub_jax.configs import refusals, defaults\n"
        "config = defaults.get_config()\n"
        "config.loss.localization.name = 'log_cosh'\n"
        "refusals.check(config)\n"
        "options = objective.LocalizationOptions(name='log_cosh')\n"
        "from ioub_jax.objective import ObjectiveOptions, per_anchor\n"
        "deltas, anchors = jnp.full((1, 4), 0.5), jnp.array([[0.0, 0.0, 10.0, 10.0]])\n"
        "chosen = ObjectiveOptions(localization=options)\n"
        "loss = per_anchor._localization_loss(deltas, anchors, anchors, anchors, chosen)\n"
        "print(ioub_jax.__file__, float(loss[0]))"
    )
    path, loss = run(copy, "-c", program).split()
    assert path.startswith(str(copy))
    # 4 * .11 log cosh(.5 / .11): far from 0, 4 (.5 - .11 log 2).
    assert float(loss) == pytest.approx(4 * (0.5 - 0.11 * 0.693147), abs=1e-3)
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/losses/test_log_cosh.py")
    page = (copy / "docs" / "losses.md").read_text(encoding="utf-8")
    assert page.count("name=log_cosh") == 2


TABLE = """
import cv2, numpy, pathlib
from ioub_jax.configs import refusals, defaults
from ioub_jax.from_config.data_parts import create_source
root = pathlib.Path("data")
(root / "images").mkdir(parents=True)
for name in ("a", "b"):
    cv2.imwrite(f"data/images/{name}.png", numpy.zeros((100, 200, 3), numpy.uint8))
rows = ["a.png,80,30,120,70,dog", "b.png,,,,,", "a.png,80,30,320,70,dog", "c.png,1,1,2,2,dog"]
(root / "train.csv").write_text("filename,xmin,ymin,xmax,ymax,class\\n" + "\\n".join(rows))
config = defaults.get_config()
data = config.data
data.update({"source": "table", "on_error": "skip", "keep_empty": True})
data.table.update({"root": "data", "classes": ("cat", "dog")})
refusals.check(config)
source = create_source(data, "train")
print(len(source), source[0].boxes.tolist(), source[0].labels.tolist(), source[0].image.shape)
print(*source.skipped, sep="\\n")
data.on_error = "raise"
try:
    create_source(data, "train")
except ValueError as error:
    print(error)
"""


def test_add_a_data_source(copy):
    follow("add-a-data-source.md", copy)
    found, skipped, lost, raised = run(copy, "-c", TABLE).splitlines()
    assert found == "2 [[80.0, 30.0, 120.0, 70.0]] [1] (100, 200, 3)"
    assert skipped == "data/train.csv:4: 'a.png,80,30,320,70,dog' is not a box; repair the row."
    assert lost.startswith("data/images/c.png: is not an image with a readable size")
    advice = ", or set config.data.on_error='skip' to leave the box out."
    assert raised == skipped.removesuffix(".") + advice


TINY_TRAINING = """
import ioub_jax
from tests import tiny
def short(name):
    config = tiny.get_config(name.partition(":")[2])
    config.schedule.images = config.evaluation.every_images = 2 * config.batch_size
    return config
ioub_jax.configs.load = short
import train_counted
import evaluate_counted
"""


@pytest.mark.slow
def test_add_a_metric(copy):
    follow("add-a-metric.md", copy)
    first, *tables = run(copy, "try_counted.py").splitlines()
    assert first == "0.5 0.5"
    assert tables[0] == "Counts, 1 of 2 images are counted right, at score 0.5."
    assert tables[2] == "COCO, 2 images, 3 ground-truth boxes, 3 detections"

    shutil.copy(ROOT / "tests" / "tiny.py", copy / "tests")
    output = run(copy, "-c", TINY_TRAINING)
    assert re.search(r"Counts, \d+ of 12 images are counted right, at score 0.3", output)
    (line,) = (copy / "runs/counted/evaluation.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert {"counted_right", "counted_off", "AP"} <= record.keys()
    files = {path.name for path in (copy / "runs/counted/evaluation").iterdir()}
    assert {"val_2_counted_metrics.json", "val_2_table.txt"} <= files
    written = copy / "runs/counted/evaluation/val_counted_counted_metrics.json"
    numbers = json.loads(written.read_text())
    assert numbers["counted_right"] == record["counted_right"]
    assert len(numbers["off_by"]) == 12


SHORT = """
config.update({"batch_size": 8})
config.data.canvases = ((64, 64),)
config.data.shapes.update({"num_train": 24, "num_val": 8, "image_size": (64, 64)})
config.schedule.update({"images": 16, "warmup_images": 8})
config.evaluation.update({"every_images": 16, "batch_size": 8, "score_threshold": 0.0})
config.runtime.checkpoint_every_images = 16
config.runtime.devices = 1
config.loss.calibration_batches = 1
config.model.width = 4
config.model.fpn.channels = 8
config.model.head.update({"width": 8, "depth": 1})
"""


@pytest.mark.slow
def test_add_a_detector(copy):
    follow("add-a-detector.md", copy)
    # Two steps instead of a training.
    text = (copy / "train_points.py").read_text().replace("experiment =", f"{SHORT}\nexperiment =")
    text += (
        "detector = ioub_jax.load('runs/points', detector=points.create(config, num_classes=8))\n"
        "print('found', len(detector(trained.source[0].image)))\n"
    )
    output = run(copy, "-c", text)
    assert "COCO, 8 images" in output
    assert int(output.split("found ")[-1]) > 0
    parts = json.loads((copy / "runs/points/parts.json").read_text())
    assert parts == {"detector": "ioub_jax.detectors.points.Points"}


@pytest.mark.slow
def test_a_detector_of_ones_own_is_known_to_the_commands(copy):
    follow("add-a-detector.md", copy)
    recipe = copy / "configs" / "shapes_points.py"
    short = SHORT.replace("\n", "\n    ")
    text = recipe.read_text().replace("    return config", f"{short}\n    return config")
    recipe.write_text(text)
    verb = ("-c", "from ioub_jax.commands.listing import main; main()")
    run(copy, *verb, "train", "--config=shapes_points", "--workdir=runs/named")
    rows = [json.loads(line) for line in (copy / "runs/named/train.jsonl").read_text().splitlines()]
    assert "loss_centreness" in rows[-1]
    pictures = run(copy, *verb, "draw", "--workdir=runs/named")
    assert "detections.png" in pictures and "positive_anchors.png" not in pictures
    run(copy, *verb, "diagnose", "--workdir=runs/named")
    run(copy, *verb, "export", "--model=runs/named", "--output=exported")
    assert (copy / "exported/detector.json").exists()
    run(copy, *verb, "check_data", "--config=shapes_points")


@pytest.mark.slow
def test_train_from_python(tmp_path):
    """Every program of the page, one after another, with two steps for each training."""
    text = (ROOT / "docs/how-to/train-from-python.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    program = "\n".join(programs)
    begin = 'config = ioub_jax.configs.load("shapes_retinanet")'
    program = re.sub(f"{re.escape(begin)}.*", f"{begin}\n{SHORT}", program)
    program = program.replace("config.schedule.images = 18_000", "")
    program = program.replace("num_steps=20", "num_steps=2").replace("(2_000, ", "(24, ")
    program = program.replace("image_size=(128, 128)", "image_size=(64, 64)").replace(
        "(100, ", "(8, "
    )
    image = "import cv2, numpy; cv2.imwrite('image.png', numpy.zeros((64, 64, 3), numpy.uint8))\n"
    output = run(tmp_path, "-c", image + program)
    assert "COCO, 8 images" in output
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mine", "plain"}
    parts = json.loads((tmp_path / "runs/plain/parts.json").read_text())
    assert parts == {"network": "__main__.Plain"}
