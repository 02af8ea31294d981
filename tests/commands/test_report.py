import json

import pytest

from tests.report import small_report
from tests.report.page_parser import PageParser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ground truth, its images, and detections by two detectors."""
    folder = tmp_path_factory.mktemp("report")
    small_report.write_images(folder)
    (folder / "truth.json").write_text(json.dumps(small_report.truth()))
    (folder / "first.json").write_text(json.dumps(small_report.found()))
    (folder / "second.json").write_text(json.dumps(small_report.found()[:1]))
    return folder


def given(folder, found="first.json", truth="truth.json"):
    return f"--detections={folder / found}", f"--ground_truth={folder / truth}"


def test_detections_of_any_framework_are_reported_without_jax(commands, folder):
    output = folder / "new" / "report.html"
    code, said = commands(
        "report",
        *given(folder),
        f"--images={folder}",
        f"--against={folder / 'second.json'}",
        f"--output={output}",
        "--pictures=3",
        # What computes with jax would say that it has none.
        before="import sys; sys.modules['jax'] = None",
    )
    assert code == 0, said
    first, second, written = said.strip().splitlines()
    assert first == "first: AP 0.252, AP50 0.252, best score threshold 0.865"  # 51 / 101 / 2
    assert second.startswith("second: AP 0.252")
    assert written.startswith(f"{output}: ") and written.endswith("MB; open it in a browser.")
    read = PageParser(output.read_text(encoding="utf-8"))
    assert read.problems == [] and read.outside == []
    assert "against" in read.ids


def test_a_dry_run_writes_nothing(commands, folder):
    arguments = (*given(folder), f"--output={folder}/no/report.html", "--dry_run")
    code, said = commands("report", *arguments)
    assert code == 0, said
    assert "truth.json, 2 images." in said and "  5 detections." in said
    assert not (folder / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give either --workdir, or --detections with --ground_truth."),
        (["--workdir=a", "--detections=b"], "Give either --workdir, or --detections with"),
        (["--detections=b"], "--detections and --ground_truth go together"),
        (["--workdir=a", "--images=b"], "--images goes with --detections"),
        (["--detections=b", "--ground_truth=c"], "Give the file for the report as --output"),
        (
            ["--detections=b", "--ground_truth=c", "--detect"],
            "--detect needs a run: give",
        ),
        (["--detections=b", "--ground_truth=c", "--output=o", "--images=no"], "is not a folder."),
        (["--detections=b", "--ground_truth=c", "--output=/tmp"], "--output=/tmp is a folder"),
        (["--detections=b", "--ground_truth=c", "--output=o"], "c cannot be read: No such file"),
        (["--detections=b", "--ground_truth=c", "--output=o", "--against=./b"], "given twice"),
    ],
)
def test_flags_that_do_not_fit_are_refused(commands, arguments, sentence):
    code, said = commands("report", *arguments)
    assert code == 1
    assert "Error: " in said and sentence in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([{"image_id": 7}], "image_id 7, which the ground truth does not list"),
        (
            [{"image_id": 1, "category_id": 5}],
            "category_id 5, which is not one of the ground truth's",
        ),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, -3, 4]}], "of negative size"),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
            "has no 'score' that is a number",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": float("nan")}],
            "has score nan: it must be finite",
        ),
        ([3], "a list of objects, but number 1 is a int"),
        ({"annotations": []}, "its 'annotations' are a list: write them into a file"),
    ],
)
def test_detections_that_do_not_fit_are_told_in_one_sentence(commands, folder, found, sentence):
    (folder / "odd.json").write_text(json.dumps(found))
    code, said = commands("report", *given(folder, "odd.json"), f"--output={folder}/odd.html")
    assert code == 1
    assert said.startswith("Error: ") and said.count("\n") == 1
    assert "odd.json" in said and sentence in said
    assert not (folder / "odd.html").exists()


def test_images_that_are_not_there_are_told(commands, folder):
    (folder / "empty").mkdir()
    output = folder / "without.html"
    arguments = (*given(folder), f"--images={folder / 'empty'}", f"--output={output}")
    code, said = commands("report", *arguments)
    assert code == 0, said
    assert said.count("Without its picture: ") == 2 and "1.png: cannot be read" in said
    assert "2 images could not be shown:" in output.read_text(encoding="utf-8")
