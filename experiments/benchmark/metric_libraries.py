"""AP of the same detections by several metric libraries and by this package."""

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from experiments.benchmark.metric_sets import Sets, made_sets
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import evaluate_detections

_ENVIRONMENT = flags.DEFINE_string(
    "environment",
    ".venv-metrics",
    "For `libraries`: the virtual environment of the metric libraries, created if it does not "
    "exist.",
)
_GROUND_TRUTH = flags.DEFINE_string(
    "ground_truth", None, "For `libraries`: a COCO JSON, to compare real detections as well."
)
_RESULTS = flags.DEFINE_string("results", None, "For `libraries`: COCO results for --ground_truth.")

#: The packages of the environment; torchmetrics needs torch.
PACKAGES = (
    "pycocotools==2.0.11",
    "faster-coco-eval==1.8.0",
    "hotcoco==1.3.0",
    "torchmetrics==1.9.0",
    "torch==2.14.1",
    "torchvision==0.29.1",
    "supervision==0.31.2",
    "tidecv==1.0.1",
    "lvis==0.5.3",
    "numpy==2.4.6",
)
_WORKER = pathlib.Path(__file__).with_name("metric_worker.py")
REAL = "real detections"
OURS = "ours"
_NUMBERS = ("AP", "AP50")


def compare_libraries() -> dict[str, Any]:
    """AP and AP50 of every set by every library and by this package, and a table of them."""
    check_libraries()
    sets = dict(made_sets())
    if _GROUND_TRUTH.value is not None and _RESULTS.value is not None:
        sets[REAL] = (_content(_GROUND_TRUTH.value), _content(_RESULTS.value))
    ours = {"version": "", "numbers": [our_numbers(*of_set) for of_set in sets.values()]}
    report = {OURS: ours} | _of_others(sets)
    result = {
        "versions": {library: found["version"] for library, found in report.items()},
        "sets": {
            name: {library: found["numbers"][place] for library, found in report.items()}
            for place, name in enumerate(sets)
        },
    }
    return result | {"markdown": table(result["versions"], result["sets"])}


def check_libraries() -> str:
    """A line that describes what is compared.

    Raises:
      ConfigError: only one of --ground_truth and --results is given, or a file does not exist.
    """
    if (_GROUND_TRUTH.value is None) != (_RESULTS.value is None):
        raise ConfigError("--ground_truth and --results go together: give both or neither.")
    for name, path in (("ground_truth", _GROUND_TRUTH.value), ("results", _RESULTS.value)):
        if path is not None and not pathlib.Path(path).is_file():
            raise ConfigError(f"There is no such file: --{name}={path}")
    real = "" if _GROUND_TRUTH.value is None else f" and {_GROUND_TRUTH.value}"
    return f"{len(made_sets())} synthetic sets{real}, by the libraries of {_ENVIRONMENT.value}"


def our_numbers(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[float]:
    """AP and AP50 by `ioub_jax.evaluation`."""
    summary = evaluate_detections(truth, found).summary
    return [float(summary[name] or 0.0) for name in _NUMBERS]


def table(
    versions: Mapping[str, str], sets: Mapping[str, Mapping[str, Sequence[float]]]
) -> list[str]:
    """The lines of a table with the AP of each set, and the AP50 of real detections.

    Numbers that differ from those of pycocotools in the digits shown are bold.
    """
    head = [f"{library} {version}".strip() for library, version in versions.items()]
    lines = ["| detections | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, of_set in sets.items():
        for place, number in enumerate(_NUMBERS if name == REAL else _NUMBERS[:1]):
            title = f"{name}, {number}" if name == REAL else name
            right = f"{of_set['pycocotools'][place]:.4f}"
            shown = [f"{of_set[library][place]:.4f}" for library in versions]
            cells = [text if text == right else f"**{text}**" for text in shown]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def _of_others(sets: Sets) -> dict[str, Any]:
    """Returns the report of the worker on some sets."""
    python = _python()
    with tempfile.TemporaryDirectory() as folder:
        for number, of_set in enumerate(sets.values()):
            for kind, content in zip(("truth", "found"), of_set, strict=True):
                (pathlib.Path(folder) / f"{number}.{kind}.json").write_text(json.dumps(content))
        done = subprocess.run(
            [python, str(_WORKER), folder], stdout=subprocess.PIPE, text=True, check=False
        )
    if done.returncode:
        raise ConfigError(f"{python} {_WORKER} has failed: it says above why.")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _python() -> str:
    """Returns the Python of the environment, which is created if it does not exist."""
    folder = pathlib.Path(_ENVIRONMENT.value)
    python = str(folder / "bin" / "python")
    if not folder.exists():
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", str(folder)], [*install, *PACKAGES]):
            if subprocess.run(command, check=False).returncode:
                raise ConfigError(
                    f"The environment {folder} cannot be made: it says above why; delete it and "
                    "try again."
                )
    return python


def _content(path: str) -> Any:
    return json.loads(pathlib.Path(path).read_text())
