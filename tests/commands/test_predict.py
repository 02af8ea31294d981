import json
import types

import numpy as np
import pytest
from PIL import Image

from ioub_jax.commands import image_arguments, predict
from ioub_jax.data.tiling import Tiling
from ioub_jax.errors import ConfigError
from tests import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny.train_two_steps(tmp_path_factory.mktemp("run"))


@pytest.fixture
def images(tmp_path):
    """Two folders with images of the same name, one of them nested, and a file of another kind."""
    generator = np.random.default_rng(0)
    names = ["a.png", "b.jpg", "inner/a.png", "inner/c.JPG"]
    for number, name in enumerate(names):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (50 + 10 * number, 64, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_the_whole_command(commands, workdir, images, tmp_path):
    out = tmp_path / "found"
    code, output = commands(
        "predict",
        f"--model={workdir}",
        images,
        f"--output={out}",
        "--score=0",
        "--batch_size=2",
        "--yolo",
    )
    assert code == 0, output
    report = json.loads((out / "predictions.json").read_text())
    assert [image["height"] for image in report["images"]] == [50, 60, 70, 80]
    assert {annotation["image_id"] for annotation in report["annotations"]} == {1, 2, 3, 4}
    assert {c["name"] for c in report["categories"]} >= {"disc"} or report["categories"]
    sizes = {image["id"]: (image["width"], image["height"]) for image in report["images"]}
    for annotation in report["annotations"]:
        x, y, width, height = annotation["bbox"]
        limit = sizes[annotation["image_id"]]
        assert x >= 0 and y >= 0 and x + width <= limit[0] + 0.02 and y + height <= limit[1] + 0.02
    rows = {path.name: path.read_text().splitlines() for path in (out / "labels").iterdir()}
    assert sorted(rows) == ["a.txt", "a_2.txt", "b.txt", "c.txt"]
    assert sum(map(len, rows.values())) == len(report["annotations"])
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == ["a.png", "a_2.png", "b.png", "c.png"]
    with Image.open(out / "a_2.png") as picture:  # 480 / 70 is 6.9
        assert picture.size == (7 * 64, 7 * 70)
    assert f"{len(report['annotations'])} detections in 4 images" in output
    assert "The JSON has detections with at least a score of 0, the pictures" in output


def test_an_unreadable_image_is_named_and_the_others_are_done(commands, workdir, images, tmp_path):
    (images / "b.jpg").write_bytes(b"\xff\xd8 broken")
    out = tmp_path / "found"
    code, output = commands("predict", f"--model={workdir}", images, f"--output={out}", "--nodraw")
    assert code == 1
    assert "b.jpg" in output and "1 of 4 images could not be read." in output
    assert "Traceback" not in output
    report = json.loads((out / "predictions.json").read_text())
    assert len(report["images"]) == 3
    assert not list(out.glob("*.png"))


def test_without_images_the_command_says_what_it_wants(commands, workdir, tmp_path):
    code, output = commands("predict", f"--model={workdir}", f"--output={tmp_path / 'found'}")
    assert code == 1 and "Say what to work on" in output


class _Measured:
    """A detector of two classes, best cut at .2 and .6, or not measured."""

    def __init__(self, measured):
        self.measured = measured

    def least_scores(self, score):
        return np.array([0.2, 0.6]) if score == "best" else float(score)


@pytest.mark.parametrize(
    ("score", "drawn", "measured", "written", "shown", "words"),
    [
        (0.05, None, None, 0.05, 0.4, "at least a score of 0.05, the pictures a score of 0.4."),
        (0.05, None, "M", 0.05, [0.2, 0.6], "at least a score of 0.05, the pictures M."),
        (0.05, 0.3, "M", 0.05, 0.3, "at least a score of 0.05, the pictures a score of 0.3."),
        ("best", None, "M", [0.2, 0.6], [0.2, 0.6], "with at least M, and so have the pictures."),
        ("best", 0.7, "M", [0.2, 0.6], 0.7, "with at least M, the pictures a score of 0.7."),
    ],
)
def test_flags_say_which_scores(monkeypatch, score, drawn, measured, written, shown, words):
    monkeypatch.setattr(predict, "_SCORE", types.SimpleNamespace(value=score))
    monkeypatch.setattr(predict, "_DRAWN", types.SimpleNamespace(value=drawn))
    monkeypatch.setattr(predict, "_DRAW", types.SimpleNamespace(value=True))
    scores = predict.LeastScores.of(_Measured(measured))
    np.testing.assert_array_equal(scores.written, written)
    np.testing.assert_array_equal(scores.drawn, shown)
    # What was found with other scores before is not gone on with.
    by_class = {"score_by_class": [0.2, 0.6]} if score == "best" else {}
    assert scores.made_by() == by_class
    assert predict.describe_scores(measured).endswith(words)


class _OfTiles:
    """A detector that was trained on tiles, or not."""

    def __init__(self, tiling):
        self._tiling = tiling

    def tiling_for(self, tiles):
        return {None: self._tiling, 0: None}.get(tiles, tiles and Tiling(tiles))


@pytest.mark.parametrize(
    ("trained", "tiles", "overlap", "expected"),
    [
        (None, None, None, 0),
        (Tiling(80), None, None, Tiling(80)),
        (Tiling(80), 0, None, 0),
        (None, 96, None, Tiling(96)),
        (None, 96, 0.5, Tiling(96, 0.5)),
        (Tiling(80), None, 0.5, Tiling(80, 0.5)),
    ],
)
def test_flags_say_which_tiles(monkeypatch, trained, tiles, overlap, expected):
    monkeypatch.setattr(predict, "_TILES", types.SimpleNamespace(value=tiles))
    monkeypatch.setattr(predict, "_OVERLAP", types.SimpleNamespace(value=overlap))
    assert predict.tiling_of(_OfTiles(trained)) == expected


def test_an_overlap_of_no_tiles_is_refused(monkeypatch):
    monkeypatch.setattr(predict, "_TILES", types.SimpleNamespace(value=None))
    monkeypatch.setattr(predict, "_OVERLAP", types.SimpleNamespace(value=0.3))
    with pytest.raises(ConfigError, match="give their side, such as --tiles=640"):
        predict.tiling_of(_OfTiles(None))


def targets_of(monkeypatch, arguments, out, *, yolo=False, draw=True):
    """Checks the files that a command would write."""
    monkeypatch.setattr(predict, "_DRAW", types.SimpleNamespace(value=draw))
    monkeypatch.setattr(predict, "_YOLO", types.SimpleNamespace(value=yolo))
    monkeypatch.setattr(predict, "_OUTPUT", types.SimpleNamespace(value=str(out)))
    paths, videos = image_arguments.existing([str(a) for a in arguments], None, out)
    predict.check_targets([str(a) for a in arguments], paths, videos, out)


def test_no_file_of_the_user_is_replaced(monkeypatch, images, tmp_path):
    with pytest.raises(ConfigError, match="is a folder of the images, and the next command"):
        targets_of(monkeypatch, [images], images)
    with pytest.raises(ConfigError, match=r"a\.png exists and was not written by this command"):
        targets_of(monkeypatch, [images / "a.png"], images)
    targets_of(monkeypatch, [images / "a.png"], images, draw=False)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"clip\.mp4 exists and was not written"):
        targets_of(monkeypatch, [clip], tmp_path)
    labels = tmp_path / "train" / "labels"
    labels.mkdir(parents=True)
    (labels / "b.txt").write_text("0 .5 .5 1 1")
    with pytest.raises(ConfigError, match=r"labels/b\.txt exists and was not written"):
        targets_of(monkeypatch, [images / "b.jpg"], labels.parent, yolo=True, draw=False)
    # The results of an earlier command are replaced, but no image, even among them.
    (labels.parent / "predictions.json").write_text("{}")
    targets_of(monkeypatch, [images / "b.jpg"], labels.parent, yolo=True)
    (images / "predictions.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"a\.png exists"):
        targets_of(monkeypatch, [images / "a.png"], images)
    assert (images / "a.png").stat().st_size > 0


def test_results_may_lie_within_the_images(commands, workdir, images):
    out = images / "found"
    flags = (f"--model={workdir}", images, f"--output={out}", "--score=0", "--batch_size=2")
    for _ in range(2):
        code, output = commands("predict", *flags)
        assert code == 0, output
        assert len(json.loads((out / "predictions.json").read_text())["images"]) == 4
