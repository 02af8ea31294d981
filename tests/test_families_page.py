"""The figures of docs/results/families.md are those of its results."""

import json
import re

import numpy as np
import pytest

from ioub_jax.studies.paired_differences import t_interval
from tests import tiny

FOLDER = tiny.ROOT / "docs" / "results" / "families"
PAGE = (FOLDER.parent / "families.md").read_text()
FAMILIES = {"RetinaNet": "retinanet", "FCOS": "fcos", "ATSS": "atss", "GFL": "gfl"}
#: Section -> folder, seeds and detectors.
DATA = {"Shapes": ("shapes", 5, [*FAMILIES]), "DeepPCB": ("deep_pcb", 3, ["RetinaNet", "ATSS"])}
COLUMNS = ("AP", "AP50", "AP75", "AP90", "Spearman")
KINDS = ("classification", "localization", "duplicate", "background", "missed")


def reference_of(family):
    """The arm without IoU-balanced losses whose classification loss the others weight."""
    return "focal" if family == "gfl" else "baseline"


def report(data, family):
    found = json.loads((FOLDER / data / family / "report.json").read_text())
    assert found["reference"] == reference_of(family)
    return found["arms"]


def in_words(mean, interval):
    low, high = interval
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def difference(found):
    return in_words(found["mean"], found["by_seeds"])


def rows(section, table):
    """The cells of the rows of a section's table, by detector and arm."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    blocks = [block for block in text.split("\n\n") if block.lstrip().startswith("| Detector |")]
    found = re.findall(r"^\| (\w+) \| `(\w+)` \| (.*) \|$", blocks[table], flags=re.MULTILINE)
    assert len(found) > 3
    return {(FAMILIES[name], arm): cells.split(" | ") for name, arm, cells in found}


@pytest.mark.parametrize("section", DATA)
def test_the_rows_are_those_of_the_reports(section):
    data, seeds, detectors = DATA[section]
    found = rows(section, 0)
    assert {family for family, _ in found} == {FAMILIES[name] for name in detectors}
    for (family, arm), cells in found.items():
        of_arm = report(data, family)[arm]
        assert of_arm["metrics"]["AP"]["count"] == seeds
        means = [f"{of_arm['metrics'][column]['mean']:.3f}" for column in COLUMNS]
        assert cells[: len(COLUMNS)] == means, (family, arm)
        expected = [""] * 2
        if arm != reference_of(family):
            expected = [difference(of_arm["differences"][metric]) for metric in ("AP", "AP75")]
        assert [cell.strip() for cell in cells[len(COLUMNS) :]] == expected, (family, arm)


@pytest.mark.parametrize("section", DATA)
def test_the_errors_are_those_of_the_reports(section):
    data, _, _ = DATA[section]
    found = rows(section, 1)
    assert {arm for _, arm in found} == {"cls", "both"}
    for (family, arm), cells in found.items():
        errors = report(data, family)[arm]["errors"]["50"]
        assert cells == [difference(errors[kind]["difference"]) for kind in KINDS], (family, arm)


def gains(data, family, arm):
    """The AP of an arm minus that of its reference, seed by seed."""
    folder = FOLDER / data / family / "results"

    def aps(name):
        files = sorted((folder / name).glob("seed_*.json"))
        return np.array([json.loads(path.read_text())["metrics"]["AP"] for path in files])

    return aps(arm) - aps(reference_of(family))


@pytest.mark.parametrize("section", DATA)
def test_the_gains_beyond_those_of_retinanet(section):
    data, seeds, detectors = DATA[section]
    lines = re.findall(rf"^\| {section} \| (\w+ \| .*) \|$", PAGE, re.MULTILINE)
    assert [line.split()[0] for line in lines] == detectors[1:]  # after RetinaNet
    for line in lines:
        name, *cells = line.split(" | ")
        for arm, cell in zip(("cls", "both"), cells, strict=True):
            more = gains(data, FAMILIES[name], arm) - gains(data, "retinanet", arm)
            assert len(more) == seeds
            assert cell == in_words(more.mean(), t_interval(more)), (name, arm)
