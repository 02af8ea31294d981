"""Who may import whom: a module imports only from those below it."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "ioub_jax"

#: part of the package -> the parts it may import, itself apart.
ALLOWED = {
    "errors": set(),
    "boxes": set(),
    "caches": set(),
    "files": {"errors"},
    "coco_values": set(),
    "printing": set(),
    "configs": set(),
    "anchors": {"boxes"},
    "losses": {"boxes"},
    "matching": {"boxes"},
    "postprocess": {"boxes"},
    "objective": {"boxes", "losses", "matching"},
    "models": {"errors", "caches", "boxes", "anchors"},
    "weights": {"errors", "caches", "configs", "models"},
    "data": {"errors", "caches", "coco_values", "printing"},
    "evaluation": {"coco_values", "printing"},
    "plotting": {"printing"},
    "devices": {"errors", "models"},
    "workdirs": {"errors", "files", "data", "devices"},
    "training": {
        "errors",
        "anchors",
        "boxes",
        "configs",
        "data",
        "devices",
        "evaluation",
        "files",
        "matching",
        "models",
        "objective",
        "postprocess",
        "weights",
        "workdirs",
    },
    "inference": {"data", "devices", "files", "models", "training", "weights", "workdirs"},
    "export": {
        "boxes",
        "data",
        "errors",
        "files",
        "inference",
        "postprocess",
        "training",
        "weights",
    },
    "tpu_plan": {"devices", "errors", "training"},
    "diagnostics": {
        "anchors",
        "boxes",
        "data",
        "errors",
        "evaluation",
        "losses",
        "objective",
        "postprocess",
        "training",
        "workdirs",
    },
    "studies": {
        "data",
        "devices",
        "diagnostics",
        "errors",
        "evaluation",
        "files",
        "training",
        "workdirs",
    },
}


def imported(path):
    """The modules of the package that a file imports, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("ioub_jax.")}


def test_every_part_has_its_place():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    parts |= {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert parts - {"__init__", "commands"} == ALLOWED.keys()  # which import anything


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_is_below_it(part):
    single = PACKAGE / f"{part}.py"
    for path in [single] if single.exists() else (PACKAGE / part).rglob("*.py"):
        used = {name.split(".")[1] for name in imported(path)} - {part}
        assert used <= ALLOWED[part], f"{path.name} imports {used - ALLOWED[part]}"


def test_the_package_imports_without_the_extras():
    forbidden = ("flax", "optax", "orbax", "grain", "tensorflow", "cv2", "ml_collections")
    program = (
        "import sys\n"
        "import ioub_jax, ioub_jax.losses, ioub_jax.boxes, ioub_jax.matching\n"
        "import ioub_jax.anchors, ioub_jax.postprocess, ioub_jax.objective\n"
        f"print([name for name in {forbidden} if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output
