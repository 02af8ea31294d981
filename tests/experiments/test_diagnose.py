import importlib
import json

import pytest
from absl import flags
from absl.testing import flagsaver

from ioub_jax.training.configuration import ConfigError
from tests import tiny
from tests.evaluation.small_data import annotation, data_set, detection

# In a process of its own: two commands in one would define the same flags.
pytestmark = pytest.mark.slow


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


def test_files_of_detections_are_diagnosed_together(folder):
    files = f"{folder}/plain/found.json,{folder}/both/found.json"
    code, output = tiny.run(
        "diagnose", f"--detections={files}", f"--annotations={folder}/truth.json",
        f"--to={folder}/new/out",
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


def test_names_are_as_long_as_they_must_be(tmp_path):
    paths = [tmp_path / name for name in ("a/run", "b/run", "b/run.v2")]
    assert importlib.import_module("experiments.diagnose").names_of(paths[1:]) == ["run", "run.v2"]
    assert importlib.import_module("experiments.diagnose").names_of(paths) == [
        "a/run",
        "b/run",
        "b/run.v2",
    ]
    with pytest.raises(ConfigError, match="given twice"):
        importlib.import_module("experiments.diagnose").names_of(
            [tmp_path / "a", tmp_path / "b" / ".." / "a"]
        )


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (None, list, "cannot be read: No such file"),
        ("[1, 2", list, "is no JSON file"),
        ("{}", list, "does not hold a list of detections"),
        ("[]", dict, "does not hold a data set in COCO's format"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_sentence(tmp_path, text, kind, sentence):
    path = tmp_path / "found.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(importlib.import_module("experiments.diagnose").DataError, match=sentence):
        importlib.import_module("experiments.diagnose").read_json(path, kind)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"image_id": 7}], "found.json: .*image_id 7, which the ground truth does not list"),
        ([3], "is not in COCO's format"),
    ],
)
def test_detections_of_something_else_are_refused(tmp_path, content, sentence):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(content))
    with pytest.raises(importlib.import_module("experiments.diagnose").DataError, match=sentence):
        importlib.import_module("experiments.diagnose").diagnose_file(
            path, tmp_path / "truth.json", data_set([])
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give either --workdir or --detections"),
        (["--workdir=a", "--detections=b"], "Give either --workdir or --detections"),
        (["--detections=b"], "--detections and --annotations go together"),
        (["--workdir=a,b"], "Say with --to into which folder"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, sentence):
    with (
        flagsaver.flagsaver(),
        pytest.raises(ConfigError, match=sentence),
    ):
        flags.FLAGS(["diagnose", *arguments])
        importlib.import_module("experiments.diagnose").check_flags()
