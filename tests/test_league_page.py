"""The figures of docs/results/league.md are those of its reports."""

import json
import re

import pytest

from tests import tiny

RESULTS = tiny.ROOT / "docs" / "results"
PAGE = (RESULTS / "league.md").read_text()
COLUMNS = ("AP", "AP50", "AP75", "AP90", "Spearman")


def difference(of_arm, metric="AP"):
    found = of_arm["differences"][metric]
    mean, low, high = (100 * value for value in (found["mean"], *found["by_seeds"]))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def rows(section):
    """The cells of the rows of a section, by their arm."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, flags=re.MULTILINE)
    return {arm: cells.split(" | ") for arm, cells in found}


SECTIONS = {
    "Classification losses": "league",
    "Localization losses with their published weights": "league",
    "Localization losses with the baseline's gradient": "league",
    "DeepPCB": "league/deep_pcb",
}
SHAPES = [section for section, folder in SECTIONS.items() if folder == "league"]


@pytest.mark.parametrize(("section", "folder"), SECTIONS.items())
def test_the_rows_are_those_of_the_report(section, folder):
    arms = json.loads((RESULTS / folder / "report.json").read_text())["arms"]
    found = rows(section)
    assert len(found) > 4
    for arm, cells in found.items():
        means = [f"{arms[arm]['metrics'][column]['mean']:.3f}" for column in COLUMNS]
        assert cells[: len(COLUMNS)] == means, arm
        if arm != "baseline":
            assert cells[len(COLUMNS)] == difference(arms[arm]), arm


@pytest.mark.parametrize("section", SHAPES)
def test_the_seconds_are_those_of_the_baseline_times_the_ratio(section):
    times = json.loads((RESULTS / "league" / "step_times.json").read_text())
    for arm, cells in rows(section).items():
        name = arm.removesuffix(".kept")
        ratio = 1.0 if name == "baseline" else times[name]["wall"]["median"]
        assert cells[-1] == f"{ratio * times['baseline, s a step']:.3f}", arm


def test_the_thresholds_are_those_of_the_evaluations():
    arms = json.loads((RESULTS / "league" / "score_threshold.json").read_text())
    found = rows("Score thresholds")
    assert found.keys() == arms.keys()
    report = json.loads((RESULTS / "league" / "report.json").read_text())["arms"]
    for arm, cells in found.items():
        values = {name: sum(seeds) / len(seeds) for name, seeds in arms[arm].items()}
        assert cells == [
            f"{values['highest score']:.2f}",
            f"{values['detections per image at 0.05']:.1f}",
            f"{values['AP at 0.05']:.3f}",
            f"{values['AP at 0']:.3f}",
        ]
        # The arms of Rank & Sort have the threshold 0 in the league, all others .05.
        evaluated = "AP at 0" if arm.endswith("rank_and_sort") else "AP at 0.05"
        assert report[arm]["metrics"]["AP"]["mean"] == pytest.approx(values[evaluated])


def test_every_arm_has_a_row():
    arms = json.loads((RESULTS / "league" / "report.json").read_text())["arms"]
    assert {*arms} == {arm for section in SHAPES for arm in rows(section)}
    assert all(of_arm["metrics"]["AP"]["count"] == 5 for of_arm in arms.values())


def test_the_readme_has_figures_of_the_page():
    """Differences and APs of its table are those of some arm."""
    readme = (tiny.ROOT / "README.md").read_text()
    section = readme.partition("## Comparison of the losses")[2].partition("\n## ")[0]
    found = re.findall(r"^\| [^|]+ \| ([^|]*) \| ([\d.]+) \| ([\d.]+) \|$", section, re.MULTILINE)
    assert len(found) == 10  # and the baseline, which has no difference
    known = [cells for name in SHAPES for cells in rows(name).values()]
    known = {(cells[5].strip(), cells[1], cells[2]) for cells in known}
    assert {(told.strip(), *others) for told, *others in found} <= known
