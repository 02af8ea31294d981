"""Files in LVIS's format, read as COCO's are, and what they say besides."""

import json
import pathlib
import pickle

import numpy as np
import pytest

from ioub_jax import evaluation
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import CocoSource, coco_index
from ioub_jax.data.sources.coco_layout import find_layout
from ioub_jax.data.sources.several_files import join

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[2] / "golden" / "lvis.json").read_text(encoding="utf-8")
)


@pytest.fixture
def lvis(tmp_path):
    """The stored set as a file, beside empty images."""
    truth = json.loads(json.dumps(GOLDEN["ground_truth"]))
    (tmp_path / "val2017").mkdir()
    for image in truth["images"]:
        (tmp_path / "val2017" / image["coco_url"].rpartition("/")[2]).touch()
    return tmp_path, truth


def write(folder, truth):
    path = folder / "lvis_val.json"
    path.write_text(json.dumps(truth))
    return path


def source_of(lvis, **options):
    folder, truth = lvis
    return CocoSource(write(folder, truth), folder, **options)


def results():
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, *box, score in GOLDEN["detections"]
    ]


def test_images_have_the_files_of_their_urls(lvis):
    source = source_of(lvis)
    assert (len(source), len(source.classes)) == (28, 12)
    assert source.describe(0) == str(lvis[0] / "val2017" / "000000000001.jpg")
    # So they have where the images lie in the folder that is given, and where others have names.
    inside = CocoSource(write(*lvis), lvis[0] / "val2017")
    assert inside.describe(0) == source.describe(0)
    lvis[1]["images"][3] |= {"file_name": "val2017/000000000004.jpg", "coco_url": None}
    assert source_of(lvis).describe(3) == source.describe(3)
    del lvis[1]["images"][3]["file_name"]
    with pytest.raises(DataError, match=r"image number 4 \(id 40, None\) has a file_name that is"):
        source_of(lvis)


def test_a_file_that_is_listed_twice_is_named(lvis):
    lvis[1]["images"][5]["coco_url"] = lvis[1]["images"][4]["coco_url"]
    with pytest.raises(DataError, match=r"'val2017/000000000005.jpg'\) has the file of image 50"):
        source_of(lvis)


def test_the_ground_truth_of_the_source_has_lvis_apis_numbers(lvis):
    truth = evaluation.to_coco_ground_truth(source_of(lvis))
    assert json.loads(json.dumps(truth)) == truth
    for image, expected in zip(truth["images"], GOLDEN["ground_truth"]["images"], strict=True):
        for key in ("id", "neg_category_ids", "not_exhaustive_category_ids"):
            assert image[key] == expected[key]
    assert truth["categories"] == GOLDEN["ground_truth"]["categories"]
    metrics = evaluation.evaluate_lvis(truth, results())
    # The boxes are rounded to float32.
    assert metrics.summary == pytest.approx(GOLDEN["numbers"], abs=1e-6)


def test_chosen_images_and_classes_keep_theirs(lvis):
    source = source_of(lvis, classes=("keg", "axe")).select(np.array([4, 0]))
    truth = evaluation.to_coco_ground_truth(pickle.loads(pickle.dumps(source)))
    expected = {image["id"]: image for image in GOLDEN["ground_truth"]["images"]}
    assert [image["id"] for image in truth["images"]] == [50, 10]
    for image in truth["images"]:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            # `axe` is 1 and `keg` 11.
            assert image[key] == [k for k in expected[image["id"]][key] if k in (1, 11)]
    frequencies = {entry["name"]: entry["frequency"] for entry in truth["categories"]}
    assert frequencies == {"keg": "f", "axe": "r"}


def test_it_is_known_from_a_kept_index_too(lvis, monkeypatch, tmp_path):
    monkeypatch.setenv("IOUB_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_index, "SMALLEST", 1)
    first = source_of(lvis).federated
    assert list((tmp_path / "cache" / "annotations").iterdir())
    monkeypatch.setattr("ioub_jax.data.sources.coco.read_document", None)  # nothing is read again
    folder, _ = lvis
    again = CocoSource(folder / "lvis_val.json", folder)
    assert again.federated == first
    assert first.absent[10] == tuple(
        GOLDEN["ground_truth"]["categories"][k - 1]["name"]
        for k in GOLDEN["ground_truth"]["images"][0]["neg_category_ids"]
    )


def test_other_files_say_nothing_of_it(lvis):
    joined = join([source_of(lvis)], ["lvis_val.json"])
    for image in lvis[1]["images"]:
        del image["neg_category_ids"]
    source = source_of(lvis)
    assert source.federated is None
    for other in (source, joined):  # of several files it is not known
        truth = evaluation.to_coco_ground_truth(other)
        assert not any("neg_category_ids" in image for image in truth["images"])


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"neg_category_ids": None}, "image 30 has the neg_category_ids None, where other images"),
        ({"neg_category_ids": "1, 2"}, "image 30 has the neg_category_ids '1, 2', where other"),
        ({"neg_category_ids": [1, 99]}, "image 30 has 99 among its neg_category_ids, which is not"),
        ({"not_exhaustive_category_ids": [None]}, "has None among its not_exhaustive_category_ids"),
    ],
)
def test_broken_lists_get_a_sentence(lvis, entry, sentence):
    lvis[1]["images"][2] |= entry
    source = source_of(lvis)  # to a training it does not matter
    with pytest.raises(DataError, match=sentence):
        _ = source.federated


def test_a_folder_with_such_a_file_is_found(lvis):
    folder, truth = lvis
    write(folder, truth)
    layout = find_layout(folder)
    assert layout.splits["train"][0].images == folder
