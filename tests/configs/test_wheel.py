"""The built wheel, where there is no clone: it has the commands and the recipes."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from ioub_jax import configs
from tests import tiny

NAMES = (*configs.recipes(), "coco_folder_retinanet:lite0", "coco_ssd:512,baseline")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this clone."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(
        [sys.executable, *words], cwd=tiny.ROOT, text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    assert built.returncode == 0, f"{built.stdout}\nIs the extra `dev` installed?"
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def package(wheel, tmp_path_factory):
    """The folder that it is unpacked into."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(package, empty, program, *arguments):
    """What a program prints in an empty folder with the unpacked wheel."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(package)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_has_one_package_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    parts = {name.partition("/")[0] for name in names}
    (information,) = parts - {"ioub_jax"}
    assert information.endswith(".dist-info")
    assert not [name for name in names if name.endswith((".pyc", ".ipynb", ".json", ".npz"))]
    assert {"ioub_jax/report/report.css", "ioub_jax/report/report.js"} <= set(names)
    recipes = {name for name in names if name.startswith("ioub_jax/configs/recipes/")}
    expected = {f"ioub_jax/configs/recipes/{name}.py" for name in configs.recipes()}
    assert recipes - {"ioub_jax/configs/recipes/__init__.py"} == expected


def test_its_recipes_are_those_of_the_clone(package, tmp_path):
    program = (
        "import json, sys, ioub_jax\n"
        "from ioub_jax import configs\n"
        "print(ioub_jax.__file__)\n"
        "print(json.dumps(configs.recipes()))\n"
        "for name in sys.argv[1:]:\n"
        "  print(configs.load(name).to_json())\n"
    )
    place, recipes, *loaded = run(package, tmp_path, program, *NAMES).splitlines()
    assert place == str(package / "ioub_jax" / "__init__.py")
    assert tuple(json.loads(recipes)) == configs.recipes()
    assert loaded == [configs.load(name).to_json() for name in NAMES]


IOUB = "from ioub_jax.commands.listing import main; main()"


def test_its_command_lists_the_verbs_and_the_keys(package, tmp_path):
    assert "  train " in run(package, tmp_path, IOUB)
    shown = run(package, tmp_path, IOUB, "config", "--config=coco_folder_retinanet:lite0")
    assert "* model.backbone = 'efficientnet_lite0' (default: 'resnet50')" in shown


def test_its_command_trains(package, tmp_path):
    words = ["train", "--config=shapes_retinanet", "--workdir=w", "--dry_run"]
    shown = run(package, tmp_path, IOUB, *words)
    assert "20,000 images of 8 classes for training" in shown
    assert shown.endswith("This was a dry run: nothing was written.\n")
    assert list(tmp_path.iterdir()) == []
