import importlib.util
import json

import pytest

from tests import tiny

FLAGS = [
    "--config=tests/tiny.py",
    "--classes=3",
    "--topology=v5e:2x2",
]


def test_the_command_needs_libtpu_and_says_so():
    if importlib.util.find_spec("libtpu"):
        pytest.skip("libtpu is installed")
    code, output = tiny.run("plan", *FLAGS)
    assert code == 1
    assert output.splitlines()[-1] == (
        "Error: Compiling for a TPU needs the package libtpu; pip install 'ioub_jax[train,tpu]'."
    )


@pytest.mark.parametrize("program", ["train", "evaluation"])
def test_a_program_is_planned(tmp_path, program):
    pytest.importorskip("libtpu")
    report, hlo = tmp_path / "plan.json", tmp_path / "program.txt"
    code, output = tiny.run(
        "plan", *FLAGS, f"--program={program}", f"--json={report}", f"--hlo={hlo}"
    )
    assert code == 0, output
    assert output.startswith("v5e:2x2: 4 chips, 1 images of 64x64 on each\n  fits: ")
    numbers = json.loads(report.read_text())
    assert numbers["fits"]
    assert numbers["bytes_accessed_per_image"] > 0
    assert hlo.read_text().startswith("HloModule")
    reduced = {each["kind"]: each for each in numbers["collectives"]}
    assert list(reduced) == (["all-reduce"] if program == "train" else [])


def test_a_dry_run_compiles_and_writes_nothing(tmp_path):
    pytest.importorskip("libtpu")
    code, output = tiny.run("plan", *FLAGS, f"--json={tmp_path / 'plan.json'}", "--dry_run")
    assert code == 0, output
    assert "train, 3 classes, 1 images of 64x64 on each of 4 chips of v5e:2x2." in output
    assert list(tmp_path.iterdir()) == []


def test_a_chip_of_two_devices_takes_an_even_batch():
    pytest.importorskip("libtpu")
    flags = [*FLAGS[:2], "--topology=tpu7x:2x2x1", "--dry_run"]
    code, output = tiny.run("plan", *flags, "--batch_per_chip=2")
    assert code == 0, output
    assert "train, 3 classes, 2 images of 64x64 on each of 4 chips of tpu7x:2x2x1." in output
    code, output = tiny.run("plan", *flags, "--batch_per_chip=3")
    assert code == 1
    assert output.splitlines()[-1] == (
        "Error: --batch_per_chip=3 cannot be divided among the 2 devices of a chip of "
        "tpu7x:2x2x1; give a multiple of 2."
    )
