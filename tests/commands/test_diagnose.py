import json

import pytest

from tests.evaluation.small_data import annotation, data_set, detection


@pytest.fixture
def folder(tmp_path):
    """Ground truth of two images, and two files of detections of one name."""
    truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(2, [5, 5, 20, 20])])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    for name, height in (("plain", 6), ("both", 9)):
        (tmp_path / name).mkdir()
        found = [detection(1, [0, 0, 10, height], 0.9), detection(2, [5, 5, 20, 20], 0.4)]
        (tmp_path / name / "found.json").write_text(json.dumps(found))
    return tmp_path


@pytest.mark.slow
def test_files_of_detections_are_diagnosed_together(commands, folder):
    files = f"{folder}/plain/found.json,{folder}/both/found.json"
    code, output = commands(
        "diagnose", f"--detections={files}", f"--annotations={folder}/truth.json",
        f"--output={folder}/new/out",
    )  # fmt: skip
    assert code == 0, output
    assert "plain/found: AP 0." in output and "both/found: AP 0." in output
    report = json.loads((folder / "new" / "out" / "diagnostics.json").read_text())
    assert report["runs"].keys() == {"plain/found", "both/found"}
    # Of IoU .6 and .9; both detections of either are true at .5.
    error = report["runs"]["plain/found"]["lrp"][1]["error"]
    assert error == pytest.approx((0.4 / 0.5 + 0) / 2)
    assert report["runs"]["both/found"]["lrp"][1]["error"] == pytest.approx(0.1 / 0.5 / 2)
    assert {path.suffix for path in (folder / "new" / "out").iterdir()} == {".json", ".png"}
    assert (folder / "new" / "out" / "score_against_iou.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give either --workdir or --detections"),
        (["--workdir=a", "--detections=b"], "Give either --workdir or --detections"),
        (["--detections=b"], "--detections and --ground_truth go together"),
        (["--workdir=a,b"], "Give the folder for the results as --output"),
    ],
)
def test_flags_that_do_not_fit_are_refused(commands, arguments, sentence):
    code, output = commands("diagnose", *arguments)
    assert code == 1
    assert f"Error: {sentence}" in output
    assert "Traceback" not in output
