"""Who may import whom: a module imports only from those below it."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

import ioub_jax

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "ioub_jax"

#: part of the package -> the parts it may import, itself apart.
ALLOWED = {
    "errors": set(),
    "boxes": set(),
    "caches": set(),
    "files": {"errors"},
    "coco_ceiling": set(),
    "coco_values": set(),
    "coco_outlines": {"coco_values"},
    "printing": set(),
    "log_lines": {"printing"},
    "configs": {"errors"},
    "anchors": {"boxes"},
    "box_codecs": {"boxes"},
    "wasserstein": {"boxes"},
    "losses": {"boxes", "wasserstein"},
    "matching": {"boxes", "wasserstein"},
    "ranking": {"boxes"},
    "nms": {"boxes", "ranking"},
    "soft_nms": {"boxes"},
    "box_fusion": {"boxes", "ranking"},
    "postprocess": {"box_codecs", "box_fusion", "boxes", "nms", "ranking", "soft_nms"},
    "tile_merging": set(),
    "assigners": {"boxes", "matching", "ranking"},
    "objective": {"box_codecs", "boxes", "losses", "matching", "wasserstein"},
    "data": {"errors", "caches", "coco_ceiling", "coco_outlines", "coco_values", "printing"},
    "key_names": {"data", "errors"},
    "evaluation": {"coco_ceiling", "coco_outlines", "coco_values", "printing"},
    "plotting": {"printing"},
    "models": {"errors", "caches", "boxes", "anchors", "losses"},
    "devices": {"errors", "models"},
    "detectors": {
        "wasserstein",
        "anchors",
        "assigners",
        "box_codecs",
        "box_fusion",
        "boxes",
        "devices",
        "errors",
        "key_names",
        "losses",
        "matching",
        "models",
        "objective",
        "postprocess",
    },
    "weights": {"errors", "caches", "configs", "detectors", "models", "printing"},
    "workdirs": {"errors", "files", "data", "devices"},
    "training": {
        "data",
        "detectors",
        "devices",
        "errors",
        "evaluation",
        "files",
        "models",
        "objective",
        "plotting",
        "tile_merging",
        "weights",
        "workdirs",
    },
    # The door: what is above it may hold a configuration, what is below cannot.
    "from_config": {
        "configs",
        "data",
        "detectors",
        "devices",
        "errors",
        "evaluation",
        "key_names",
        "losses",
        "printing",
        "training",
        "workdirs",
    },
    "tiled_inference": {"data", "tile_merging"},
    "supervision_like": set(),
    "detections": {"data", "evaluation", "files", "plotting", "printing", "supervision_like"},
    "inference": {
        "configs",
        "data",
        "detections",
        "detectors",
        "devices",
        "errors",
        "from_config",
        "printing",
        "tile_merging",
        "tiled_inference",
        "weights",
        "workdirs",
        "files",
    },
    "trained": {
        "configs",
        "data",
        "detectors",
        "devices",
        "evaluation",
        "from_config",
        "inference",
        "training",
        "workdirs",
        "files",
    },
    "building": {
        "configs",
        "data",
        "detectors",
        "devices",
        "errors",
        "evaluation",
        "from_config",
        "trained",
        "training",
        "workdirs",
        "files",
        "log_lines",
    },
    "export": {
        "boxes",
        "data",
        "errors",
        "files",
        "inference",
        "postprocess",
        "ranking",
        "tile_merging",
        "weights",
    },
    "tpu_plan": {"configs", "detectors", "devices", "errors", "from_config", "training"},
    "diagnostics": {
        "anchors",
        "boxes",
        "data",
        "detectors",
        "errors",
        "evaluation",
        "losses",
        "objective",
        "postprocess",
        "trained",
        "training",
        "workdirs",
    },
    "report": {
        "coco_values",
        "data",
        "diagnostics",
        "evaluation",
        "printing",
        "trained",
        "workdirs",
    },
    "own_data": {
        "configs",
        "data",
        "detectors",
        "diagnostics",
        "errors",
        "files",
        "from_config",
    },
    "studies": {
        "building",
        "configs",
        "data",
        "devices",
        "diagnostics",
        "errors",
        "evaluation",
        "files",
        "from_config",
        "log_lines",
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


@pytest.mark.parametrize("part", ["data", "own_data"])
def test_readers_look_for_files_by_os_path(part):
    # Path.is_file raises an OSError for a name that is too long for the file system, and names come
    # from the contents of files; os.path.isfile returns False.
    for path in (PACKAGE / part).rglob("*.py"):
        found = re.findall(r"(\w+)\)*\.(?:is_file|is_dir|exists)\(\)", path.read_text())
        assert set(found) <= {"entry"}, path  # of os.scandir


def after(program):
    """Which modules there are once a program has run."""
    program += "\nimport sys; print(*sorted(sys.modules))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    return set(output.stdout.split())


EXTRAS = {"flax", "optax", "orbax", "grain", "tensorflow", "cv2", "ml_collections", "absl"}


def test_the_package_itself_imports_nothing():
    found = {name for name in after("import ioub_jax") if name.startswith("ioub_jax")}
    assert found == {"ioub_jax"}
    assert not after("import ioub_jax") & (EXTRAS | {"jax", "numpy"})


@pytest.mark.parametrize(
    "names",
    ["losses", "boxes", "matching", "assigners", "anchors", "postprocess", "objective"],
)
def test_the_losses_and_their_neighbors_need_jax_alone(names):
    modules = after(f"import ioub_jax; ioub_jax.{names}")
    assert f"ioub_jax.{names}" in modules
    assert not modules & EXTRAS


def test_all_that_the_package_offers_is_there_when_asked_for():
    for name in ioub_jax.__all__:
        assert getattr(ioub_jax, name) is not None
    assert set(ioub_jax.__all__) <= set(dir(ioub_jax))
    with pytest.raises(AttributeError, match="has no attribute 'loses'"):
        _ = ioub_jax.loses


def test_the_page_of_the_face_has_all_of_it():
    page = (PACKAGE.parent / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    for name in ioub_jax.__all__:
        assert f"`ioub_jax.{name}" in page, name


PARTS = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]


def test_no_two_files_have_one_name():
    names = [path.name for path in PARTS]
    assert len(set(names)) == len(names)
