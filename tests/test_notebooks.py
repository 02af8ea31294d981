"""The notebooks are valid and stripped, and their first cell prepares what the others need.

Whether they run is what `make notebooks` tells.
"""

import glob
import importlib.metadata
import importlib.util
import os
import pathlib
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from nbformat import v4

import ioub_jax
from ioub_jax import weights
from ioub_jax.errors import WeightsError
from notebooks import execute, links

FOLDER = pathlib.Path(execute.__file__).parent


def first_cell(name="losses"):
    """The code that finds or installs the package."""
    return next(cell.source for cell in execute.read(name).cells if cell.cell_type == "code")


def run_first_cell(wheel=""):
    source = first_cell().replace('WHEEL = ""', f"WHEEL = {wheel!r}")
    exec(compile(source, "the first cell", "exec"), {})


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(os.getcwd())  # to come back to


def test_every_notebook_is_executed():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(execute.NAMES)


@pytest.mark.parametrize("name", execute.NAMES)
def test_a_notebook_is_valid_and_holds_nothing_of_a_run(name):
    notebook = execute.read(name)
    assert notebook == execute.stripped(notebook), "run `python -m notebooks.execute --strip`"
    assert not [cell.id for cell in notebook.cells if cell.get("outputs")]
    assert first_cell(name) == first_cell()


def test_stripping_leaves_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "FOLDER", tmp_path)
    output = v4.new_output("stream", name="stdout", text="3\n")
    code = v4.new_code_cell(
        "1 + 2", outputs=[output], execution_count=7, metadata={"scrolled": True}
    )
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), code])
    notebook.metadata["kernelspec"] = {"name": "mine", "display_name": "my machine's"}
    nbformat.write(notebook, tmp_path / "some.ipynb")
    execute.strip("some")
    left = execute.read("some")
    assert [cell.source for cell in left.cells] == ["# Title", "1 + 2"]
    assert left.cells[1].outputs == [] and left.cells[1].execution_count is None
    assert left.cells[1].metadata == {}
    assert left.metadata == {"language_info": {"name": "python"}}


def test_in_a_clone_nothing_is_installed(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.chdir(FOLDER)
    run_first_cell()
    assert pathlib.Path.cwd() == FOLDER.parent
    assert sys.path[0] == str(FOLDER.parent)
    assert "jax" in capsys.readouterr().out
    run_first_cell()  # and again, as one does


def elsewhere(monkeypatch, folder, *packages):
    """A folder that is in no clone, on a machine that has these packages."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name if name in packages else None
    )


def test_elsewhere_one_sentence_asks_for_a_wheel(tmp_path, monkeypatch):
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match="no wheel next to it: put one there, or set WHEEL"):
        run_first_cell()
    with pytest.raises(RuntimeError, match="restart the session"):  # the tests have jax loaded
        run_first_cell("https://example.org/ioub_jax-1.whl")


def test_what_is_installed_is_not_installed_again(tmp_path, monkeypatch, capsys):
    elsewhere(monkeypatch, tmp_path, "ioub_jax", "numpy")
    monkeypatch.setattr(subprocess, "run", None)
    run_first_cell("some.whl")
    assert pathlib.Path.cwd() == tmp_path and "jax" in capsys.readouterr().out


def test_an_accelerator_that_jax_does_not_use_is_told(tmp_path, monkeypatch, capsys):
    elsewhere(monkeypatch, tmp_path, "ioub_jax")
    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/accel0"] * ("accel" in pattern))
    run_first_cell()
    assert "jax does not use the GPU or TPU of this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("devices", "packages", "plugin"),
    [
        ((), (), []),
        (("/dev/nvidia[0-9]*",), (), ["jax[cuda12]"]),
        (("/dev/nvidia[0-9]*",), ("jax_cuda13_plugin", "libtpu"), ["jax[cuda13]"]),
        ((), ("libtpu",), ["jax[tpu]"]),
        (("/dev/accel*",), (), ["jax[tpu]"]),
    ],
)
@pytest.mark.parametrize("place", ["ioub_jax-9.whl", "https://example.org/ioub_jax-9.whl", ""])
def test_elsewhere_it_installs_the_wheel(tmp_path, monkeypatch, devices, packages, plugin, place):
    elsewhere(monkeypatch, tmp_path, *packages, "numpy")
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(glob, "glob", lambda pattern: [pattern] if pattern in devices else [])
    (tmp_path / "ioub_jax-8.whl").touch()  # beside the notebook
    commands = []

    def run(words, check):
        assert check
        commands.append([str(word) for word in words])
        raise InterruptedError  # before jax would be loaded once more

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InterruptedError):
        run_first_cell(place)
    numpy = f"numpy=={importlib.metadata.version('numpy')}"
    extras = "[train,lite0]"
    wheel = {
        "": f"{tmp_path / 'ioub_jax-8.whl'}{extras}",
        "ioub_jax-9.whl": f"ioub_jax-9.whl{extras}",
    }.get(place, f"ioub_jax{extras} @ {place}")
    (install,) = commands
    assert install[1:] == ["-m", "pip", "install", "--quiet", wheel, *plugin, numpy]


@pytest.mark.parametrize("name", execute.NAMES)
def test_a_notebook_names_the_repository_of_pyproject(name):
    notebook = execute.read(name)
    linked = links.linked(notebook, name, links.repository())
    assert linked == notebook, "run `python -m notebooks.links`"


def test_badge_and_wheel_come_and_go():
    plain = links.linked(execute.read("losses"), "losses", "")
    public = links.linked(plain, "losses", "https://github.com/someone/detectors")
    badge, _, title = public.cells[0].source.partition("\n\n")
    assert badge == (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        "(https://colab.research.google.com/github/someone/detectors/blob/main/notebooks/"
        "losses.ipynb)"
    )
    assert title == plain.cells[0].source and title.startswith("# The losses")
    version = ioub_jax.__version__
    address = (
        f"https://github.com/someone/detectors/releases/download/v{version}/ioub_jax-{version}"
    )
    assert f'WHEEL = "{address}-py3-none-any.whl"' in public.cells[1].source
    assert links.linked(public, "losses", "https://github.com/someone/detectors") == public
    assert links.linked(public, "losses", "") == plain


@pytest.mark.parametrize("address", ["https://example.org/a/b", "https://github.com/someone"])
def test_colab_opens_notebooks_of_github_alone(address):
    with pytest.raises(ValueError, match=f"^{address} is not https://github.com/OWNER/NAME"):
        links.badge("losses", address)


def test_without_weights_and_images_there_are_some_that_say_what_they_are(tmp_path, monkeypatch):
    def unreachable(name):
        raise WeightsError(name)

    monkeypatch.setattr(weights, "find_weights", unreachable)
    for name in ("WEIGHTS", "COCO", "SHORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNS", "mine")
    chosen = execute.inputs(tmp_path)
    assert chosen["SHORT"] == "1"
    assert chosen["RUNS"] == "mine"
    weights_file = pathlib.Path(chosen["WEIGHTS"])
    assert weights_file.name.startswith("random_numbers")
    assert 'startswith("random_numbers")' in (FOLDER / "torchvision.ipynb").read_text().replace(
        "\\", ""
    )
    images = sorted(pathlib.Path(chosen["COCO"], "val2017").iterdir())
    assert len(images) == 8
    monkeypatch.undo()
    assert len(ioub_jax.load(weights_file).classes) == 80


def test_a_failing_cell_fails_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "FOLDER", tmp_path)
    monkeypatch.setattr(execute, "NAMES", ("losses",))
    cells = [v4.new_code_cell("print(6 * 7)"), v4.new_code_cell("1 / 0")]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "losses.ipynb")
    with pytest.raises(SystemExit, match=r"losses.ipynb failed.\n(?s:.*)ZeroDivisionError"):
        execute.main(["losses", f"--out={tmp_path / 'out'}"])
    kept = nbformat.read(tmp_path / "out" / "losses.ipynb", as_version=4)
    assert kept.cells[0].outputs[0].text == "42\n"
    assert np.all([cell.execution_count for cell in kept.cells])
    with pytest.raises(SystemExit, match="2"):
        execute.main(["nothing"])
