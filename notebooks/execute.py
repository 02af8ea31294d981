"""Runs notebooks without a browser, or removes their outputs: `make notebooks`.

python -m notebooks.execute losses frameworks train torchvision
python -m notebooks.execute --strip

If a cell fails, the program ends with its error and exit code 1. The executed copies, with their
figures, are written to `runs/notebooks/`; the notebooks themselves do not change. SHORT=1, which is
set here unless SHORT is set, makes training runs a few steps long: every cell runs, but nothing is
learned.

If torchvision's published weights are not available, torchvision.ipynb gets random ones under
torchvision's names, and says so; if COCO is not set, it gets drawn images in COCO's format.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

import cv2
import nbclient
import nbformat
import safetensors.numpy

from ioub_jax import files, weights
from ioub_jax.data.sources import coco_categories, shapes
from ioub_jax.errors import WeightsError
from ioub_jax.evaluation import coco_format

FOLDER = pathlib.Path(__file__).resolve().parent
NAMES = ("losses", "frameworks", "train", "torchvision")
#: The detector that is quick enough for a CPU.
WEIGHTS = "ssd300_vgg16"
_IMAGES = 8
_WITHOUT_INPUTS = ("losses", "frameworks")
#: For `shard_map` on a machine without accelerators.
_TWO_DEVICES = {"JAX_NUM_CPU_DEVICES": "2"}


def read(name: str) -> nbformat.NotebookNode:
    """The notebook of a name, valid."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without outputs, execution counts and the metadata of the machine that ran it."""
    copy = nbformat.from_dict(notebook)
    copy.metadata = nbformat.from_dict({"language_info": {"name": "python"}})
    for cell in copy.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def strip(name: str) -> None:
    """Removes the outputs of a notebook in place."""
    files.write_text(FOLDER / f"{name}.ipynb", nbformat.writes(stripped(read(name))) + "\n")


def random_weights(path: pathlib.Path) -> None:
    """Writes random numbers in the shapes of torchvision's SSD300, under its names."""
    # Only a clone has the tests, and only here are they needed.
    from tests.parity import comparison

    safetensors.numpy.save_file(comparison.Reference(WEIGHTS).state_dict(), path)


def drawn_coco(root: pathlib.Path) -> None:
    """Writes images of `shapes` in the layout of COCO's val2017, called by COCO's first classes."""
    source = shapes.ShapesSource(_IMAGES, (240, 320), split="val")
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    content = coco_format.to_coco_ground_truth(source)
    for index, entry in enumerate(content["images"]):
        entry["file_name"] = f"{entry['id']}.png"
        pixels = source[index].image
        assert pixels is not None
        cv2.imwrite(str(root / "val2017" / entry["file_name"]), pixels[:, :, ::-1])
    content["categories"] = [
        {"id": id_, "name": name} for name, id_ in coco_categories.COCO_IDS.items()
    ]
    files.write_json(root / "annotations" / "instances_val2017.json", content)


def inputs(scratch: pathlib.Path) -> dict[str, str]:
    """Environment variables for the notebooks, with defaults for those that are not set."""
    chosen = {"SHORT": "1", "RUNS": str(scratch / "runs")}
    if "WEIGHTS" not in os.environ:
        chosen["WEIGHTS"] = WEIGHTS
        try:
            weights.find_weights(WEIGHTS)
        except WeightsError:
            path = scratch / f"random_numbers_in_the_shape_of_{WEIGHTS}.safetensors"
            random_weights(path)
            chosen["WEIGHTS"] = str(path)
    if "COCO" not in os.environ:
        chosen["COCO"] = str(scratch / "drawn_images_in_the_layout_of_coco")
        drawn_coco(pathlib.Path(chosen["COCO"]))
    return chosen | {name: os.environ[name] for name in chosen if name in os.environ}


def execute(name: str, environment: dict[str, str], out: pathlib.Path) -> None:
    """Runs a notebook from top to bottom, and writes it with its outputs, even if a cell fails.

    Raises:
      CellExecutionError: a cell failed.
    """
    notebook = read(name)
    client = nbclient.NotebookClient(
        notebook,
        timeout=3600,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
        # It warns of every kernel on a local port, which nbclient's is.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    start = time.perf_counter()
    try:
        client.execute(env=os.environ | environment)
    finally:
        out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out / f"{name}.ipynb")
    print(f"{name}.ipynb ran in {time.perf_counter() - start:.0f} seconds.", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Runs or strips the named notebooks, by default all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"notebooks: {', '.join(NAMES)}; by default all"
    )
    parser.add_argument(
        "--strip", action="store_true", help="remove their outputs instead of running them"
    )
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER.parent / "runs" / "notebooks")
    parsed = parser.parse_args(arguments)
    names = parsed.names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no notebook is called {unknown.pop()}; there are {', '.join(NAMES)}")
    if parsed.strip:
        for name in names:
            strip(name)
        return
    with tempfile.TemporaryDirectory() as scratch:
        needy = set(names) - set(_WITHOUT_INPUTS)
        environment = inputs(pathlib.Path(scratch)) if needy else {}
        for name in names:
            own = _TWO_DEVICES if name == "frameworks" else {}
            try:
                execute(name, own | environment, parsed.out)
            except nbclient.exceptions.CellExecutionError as error:
                sys.exit(f"{name}.ipynb failed.\n{error}")


if __name__ == "__main__":
    main(sys.argv[1:])
