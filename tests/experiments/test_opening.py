import json

import pytest
from absl import flags

from experiments.benchmark import open_once, opening
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.errors import ConfigError


@pytest.fixture
def chosen(monkeypatch):
    """The flags of the command, of a small file."""
    flags.FLAGS.mark_as_parsed()
    for flag, value in ((opening.IMAGES, 30), (opening.BOXES, 200), (opening.REPEATS, 1)):
        monkeypatch.setattr(flags.FLAGS[flag.name], "value", value)
    monkeypatch.setattr(opening, "_SETTLED_SECONDS", 0)


@pytest.mark.parametrize("polygons", [True, False])
def test_the_file_is_one_that_a_data_set_reads(tmp_path, monkeypatch, polygons):
    monkeypatch.setattr(opening, "_OF_A_FOLDER", 20)
    monkeypatch.setattr(opening, "_MOST_LINKS", 7)
    monkeypatch.setattr(opening, "_AT_ONCE", 60)
    opening._make(tmp_path, 30, 200, polygons)
    source = CocoSource(tmp_path / "instances.json", tmp_path / "images")
    assert len(source) == 30 and source.census.boxes == 200 and not source.census.changes
    assert source[29].image.shape == (480, 640, 3) and len(source.classes) == 80
    entries = json.loads((tmp_path / "instances.json").read_text())["annotations"]
    assert [entry["id"] for entry in entries] == list(range(200))
    assert all(("segmentation" in entry) == polygons for entry in entries)


def test_a_process_says_what_it_took(tmp_path, capsys):
    opening._make(tmp_path, 3, 9, True)
    open_once.main(str(tmp_path))
    took = json.loads(capsys.readouterr().out)
    assert took["learned"][:2] == [3, 9]
    assert took["CPU seconds"] > 0 and took["peak MiB"] > 20


def test_what_is_measured_is_the_first_time_and_again(chosen, monkeypatch):
    opened = []

    def open_(folder):
        opened.append((folder / "instances.json").stat().st_mtime_ns)
        return {"CPU seconds": 8 - len(opened), "wall seconds": 9, "peak MiB": 2.0} | {
            "learned": [30, 200, "digest"]
        }

    monkeypatch.setattr(opening, "_open", open_)
    found = opening.opening_cost()
    assert found["first"] == {"CPU seconds": 7.0, "wall seconds": 9.0, "peak MiB": 2.0}
    assert found["again"]["CPU seconds"] == 6.0
    assert found["again, after the file was touched"]["CPU seconds"] == 5.0
    assert opened[0] == opened[1] < opened[2]


def test_a_process_that_reads_something_else_is_no_figure(chosen, monkeypatch):
    learned = iter(([1], [2], [1]))
    monkeypatch.setattr(opening, "_open", lambda folder: {"learned": next(learned)})
    with pytest.raises(AssertionError, match="differs from its file"):
        opening.opening_cost()


def test_too_little_room_is_told_before(chosen, monkeypatch):
    # 30 images of 290 bytes and 200 boxes of 450: 98,700 bytes.
    assert "30 images and 200 boxes, about 0.1 MiB" in opening.check_opening()
    monkeypatch.setattr(opening.shutil, "disk_usage", lambda place: type("", (), {"free": 1000}))
    with pytest.raises(ConfigError, match=r"has 0\.0 MiB, and the file needs 0\.1; set TMPDIR"):
        opening.check_opening()
