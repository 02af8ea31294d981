"""What a data set is known by, and what is not looked at."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from ioub_jax.data.sources import CocoSource, ShapesSource
from ioub_jax.data.sources.fingerprint import fingerprint_of
from tests import small_coco


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    small_coco.write(tmp_path / "data")
    return tmp_path / "data"


def of(folder, change=None):
    """The fingerprint of the data in a folder, after a change of its JSON."""
    path = folder / "instances.json"
    if change is not None:
        content = json.loads(path.read_text())
        change(content)
        path = folder / "changed.json"
        path.write_text(json.dumps(content))
    return fingerprint_of(CocoSource(path, folder))


def test_a_moved_data_set_is_the_same(folder, tmp_path):
    before = of(folder)
    assert (before.images, before.boxes) == (22, before.boxes)
    moved = tmp_path / "elsewhere" / "images"
    shutil.copytree(folder, moved)
    assert of(moved) == before
    assert of(moved).differences(before) == []

    def without_meaning(content):
        content["info"] = {"version": 2}
        content["categories"][0]["id"] = 9
        for number, annotation in enumerate(content["annotations"]):
            annotation.update({"id": 100 + number, "category_id": 9})

    assert of(folder, without_meaning) == before


def rename(content):
    names = [image["file_name"] for image in content["images"]]
    for image, name in zip(content["images"], [names[3], *names[1:3], names[0], *names[4:]],
                           strict=True):  # fmt: skip
        image["file_name"] = name  # 1.png and 4.png have one size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["annotations"].pop(), ["{fewer} boxes (before: {boxes})"]),
        (lambda c: c["annotations"][0]["bbox"].__setitem__(0, 0.5), ["other boxes or classes"]),
        (lambda c: c["annotations"][0].update(iscrowd=1), ["other boxes or classes"]),
        (rename, ["other file names or another order"]),
        (lambda c: c["images"][0].update(width=99), ["other image sizes"]),
    ],
)
def test_what_differs_is_told(folder, change, words):
    before = of(folder)
    found = of(folder, change).differences(before)
    filled = [w.format(boxes=before.boxes, fewer=before.boxes - 1) for w in words]
    assert found == filled


def test_of_other_images_their_number_is_told(folder):
    source = CocoSource(folder / "instances.json", folder)
    few, all_of = fingerprint_of(source.select(np.arange(20))), fingerprint_of(source)
    assert few.differences(all_of) == [
        "20 images (before: 22)", f"{few.boxes} boxes (before: {all_of.boxes})"
    ]  # fmt: skip


def test_drawn_images_are_known_by_what_draws_them():
    first, second = (fingerprint_of(ShapesSource(9, seed=seed)) for seed in (0, 1))
    assert first == fingerprint_of(ShapesSource(9)) and first.boxes is None
    assert second.differences(first) == ["other file names or another order"]
    assert json.loads(json.dumps(dataclasses.asdict(first)))["images"] == 9
