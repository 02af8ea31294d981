"""The command around a detector that is none: what ends it, odd names, EXIF, missing files."""

import json
import os
import types

import numpy as np
import PIL.Image
import pytest

import ioub_jax
from ioub_jax.commands import predict
from ioub_jax.data.checks import DataError
from ioub_jax.data.given_images import GivenImage
from ioub_jax.data.images import Reading
from ioub_jax.detections import Detections
from tests.encoded import encoded, huge_png


class Detector:
    """Finds one box in every image; ends as told after so many images."""

    classes, category_ids = ("nut\x1b[31m\n",), (4,)
    reading = Reading()
    measured = None  # no evaluation was made

    def least_scores(self, score_threshold):
        return score_threshold

    def __init__(self, ends_after=99, ending=None):
        self.seen = []
        self._ends_after, self._ending = ends_after, ending

    def tiling_for(self, tiles):
        assert tiles is None  # no flag says any

    def stream(self, paths, threads, tiles):
        assert tiles == 0  # whole images
        for number, path in enumerate(paths):
            if number == self._ends_after:
                raise self._ending
            self.seen.append(path.name)
            try:
                image = GivenImage(path)
                height, width = image.pixels().shape[:2]
            except DataError as error:
                yield number, error
                continue
            box = np.array([[1, 1, 5, 5]], np.float32)
            found = box, np.ones(1, np.float32), np.zeros(1, np.int32), self.classes
            yield number, Detections(*found, (height, width), (4,), image)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "images" / name).write_bytes(encoded(8, 9, "PNG"))
    return tmp_path / "images"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the command with a detector; its flags are those of nobody."""
    values = {
        "MODEL": "somebody.pth", "OUTPUT": str(tmp_path / "found"), "CHECKPOINT": "best",
        "EMA": True, "SCORE": 0.05, "DRAWN": 0.4, "DRAW": True, "BATCH": 1, "THREADS": 1,
        "CHANGES": {}, "YOLO": False, "TILES": None, "OVERLAP": None, "FRAMES": None,
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setattr(predict, f"_{name}", types.SimpleNamespace(value=value))
    monkeypatch.setattr(predict.view_flags, "views", lambda: None)
    monkeypatch.setattr(predict.view_flags, "made_by", dict)

    def run(detector, *arguments):
        monkeypatch.setattr(ioub_jax, "load", lambda *_, **__: detector)
        predict.main(*map(str, arguments))

    return run


@pytest.mark.parametrize("ending", [RuntimeError("bug"), KeyboardInterrupt(), OSError(28, "full")])
def test_whatever_ends_it_what_was_found_stays_and_the_same_command_goes_on(
    command, folder, tmp_path, capsys, ending
):
    with pytest.raises(type(ending)):
        command(Detector(2, ending), folder)
    grown = tmp_path / "found" / "predictions.jsonl"
    names = [json.loads(line)["image"]["file_name"] for line in grown.read_text().splitlines()[1:]]
    assert names == [str(folder / "a.png"), str(folder / "b.png")]
    assert f"2 images are in {grown}; run the same command to resume." in capsys.readouterr().err
    detector = Detector()
    command(detector, folder)
    assert detector.seen == ["b.png", "c.png"], "b.png may not have been drawn"
    content = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert [len(content[key]) for key in ("images", "annotations", "categories")] == [3, 3, 1]
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "a.png", "b.png", "c.png", "predictions.json"
    ]  # fmt: skip


def test_label_files_are_of_all_images_whatever_ended_the_command(
    command, folder, tmp_path, monkeypatch
):
    with pytest.raises(RuntimeError):
        command(Detector(2, RuntimeError("bug")), folder)
    monkeypatch.setattr(predict, "_YOLO", types.SimpleNamespace(value=True))
    command(Detector(), folder)
    labels = {path.name: path.read_text() for path in (tmp_path / "found/labels").iterdir()}
    # [1, 1, 5, 5] in an image of 9x8: the center is 3 of 9 and of 8, the sides are 4 of them.
    row = "0 0.333333 0.375000 0.444444 0.500000 1.000000\n"
    assert labels == {"a.txt": row, "b.txt": row, "c.txt": row}
    assert (tmp_path / "found/classes.txt").read_text() == "nut\x1b[31m\n"
    assert not (tmp_path / "found/predictions.jsonl").exists()


def test_odd_files_and_names_do_not_end_it(command, folder, tmp_path, capsys):
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "pages.tif").write_bytes(encoded(8, 9, "TIFF", pages=2))
    (folder / "forged\nError: \x1b[31m.png").write_bytes(b"nothing")
    odd = os.fsdecode(os.fsencode(folder) + b"/\xff.png")
    try:
        PIL.Image.new("RGB", (9, 8)).save(odd)
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    with pytest.raises(SystemExit, match="3 of 7 images could not be read"):
        command(Detector(), folder)
    told = capsys.readouterr()
    assert "4 detections in 4 images" in told.out
    assert r"forged\nError: \x1b[31m.png: is empty or not an image" in told.err
    assert "huge.png: is 40000x40000 pixels, more than" in told.err
    assert "pages.tif: has 2 pages" in told.err
    content = json.loads((tmp_path / "found" / "predictions.json").read_bytes().decode())
    assert content["images"][-1]["file_name"] == odd
    assert content["categories"] == [{"id": 4, "name": "nut\x1b[31m\n"}]
    assert (tmp_path / "found" / "\udcff.png").is_file()


def test_ignored_orientations_are_counted(command, folder, capsys):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (folder / "d.jpg").write_bytes(encoded(8, 9, "JPEG", exif=exif))
    command(Detector(), folder)
    told = capsys.readouterr().out
    assert "1 of 4 images has an EXIF orientation, which is ignored, as in training" in told
    applied = Detector()
    applied.reading = Reading(exif="apply")
    command(applied, folder)
    assert "EXIF" not in capsys.readouterr().out


def test_nothing_but_missing_files_makes_no_folder(command, tmp_path):
    words = r"x\.png does not exist, nor do the other 1; give files, folders or globs"
    with pytest.raises(DataError, match=words):
        command(Detector(), tmp_path / "x.png", tmp_path / "y.png")
    assert not (tmp_path / "found").exists()
