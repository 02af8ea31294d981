"""Which images of a run are drawn, and what is said of the worst."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from ioub_jax import plotting, trained
from ioub_jax.commands import detections_sheets
from ioub_jax.data.sources.chosen_images import ChosenImages
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    workdir = tiny.train_two_steps(tmp_path_factory.mktemp("run"))
    return trained.load_run(workdir, "best", "val")


@pytest.fixture
def drawn(monkeypatch, model, tmp_path):
    """Draws with some options; gives the lines and what is on each sheet."""
    sheets = []

    def sheet(path, images, truths, detections, *_, **options):
        sheets.append((path.name, images, truths, detections, options["title"]))
        Image.new("RGB", (4, 4)).save(path)

    monkeypatch.setattr(plotting, "contact_sheet", sheet)

    def run(images=4, per_class=None, worst=False, of=model):
        sheets.clear()
        options = {"images": images, "per_class": per_class, "worst": worst}
        options["least_scores"] = np.zeros(len(of.source.classes))
        return detections_sheets.draw_detections(tmp_path, of, "mine", **options), sheets

    return run


def perfect(model, chosen):
    """A `find` that knows the objects of some images by their position, and nothing else."""

    def find(of, _):
        found = {}
        for index in range(len(of.source)):
            example = of.source.annotations(index)
            kept = slice(None) if index in chosen else slice(0)
            ones = np.ones(len(example.labels))
            found[example.image_id] = (example.boxes[kept], example.labels[kept], ones[kept])
        return found

    return find


def test_images_are_from_all_over_with_what_is_found_in_them(drawn, model):
    lines, ((name, images, truths, detections, title),) = drawn(images=3)
    assert lines == [] and name == "detections.png" and title.startswith("mine: ground truth")
    assert len(images) == len(truths) == len(detections) == 3
    for place, index in enumerate((0, 5, 11)):  # of twelve
        example = model.source[index]
        np.testing.assert_array_equal(images[place], example.image)
        np.testing.assert_array_equal(truths[place][0], example.boxes)
    assert all(len(boxes) for boxes, _, _ in detections)
    # The same as an evaluation finds.
    results = [r for r in model.evaluate().results if r["image_id"] == model.source.image_id(11)]
    np.testing.assert_allclose(
        sorted(detections[2][2]), sorted(r["score"] for r in results), rtol=1e-5
    )


def test_the_worst_come_first_and_are_told(drawn, model, monkeypatch):
    bad = {2, 7}
    monkeypatch.setattr(detections_sheets, "find", perfect(model, set(range(12)) - bad))
    lines, ((_, images, _, detections, title),) = drawn(images=3, worst=True)
    # Of two with F1 0 the one with more errors is first.
    first, second = sorted(bad, key=lambda index: -len(model.source.annotations(index).labels))
    np.testing.assert_array_equal(images[0], model.source[first].image)
    np.testing.assert_array_equal(images[1], model.source[second].image)
    assert [len(boxes) > 0 for boxes, _, _ in detections] == [False, False, True]
    objects = len(model.source.annotations(first).labels)
    assert lines[0].startswith(f"  F1 0.00: {objects} missed, 0 wrong, 0 found in ")
    assert lines[2].startswith("  F1 1.00: 0 missed, 0 wrong") and len(lines) == 3
    assert title.endswith("the lowest F1 first")


def test_a_class_has_a_lowest_score_of_its_own(model):
    least = np.zeros(len(model.source.classes))
    every = detections_sheets.find(model, least)
    label = next(labels[0] for _, labels, _ in every.values() if len(labels))
    least[label] = 1.1
    for image_id, (boxes, labels, scores) in detections_sheets.find(model, least).items():
        kept = every[image_id][1] != label
        np.testing.assert_array_equal(labels, every[image_id][1][kept])
        assert len(boxes) == len(scores) == kept.sum()


def test_so_many_of_each_class_are_on_as_many_sheets_as_they_need(drawn, model, monkeypatch):
    monkeypatch.setattr(detections_sheets, "_ON_A_SHEET", 2)
    monkeypatch.setattr(detections_sheets, "find", perfect(model, ()))
    _, sheets = drawn(per_class=1)
    assert [name for name, *_ in sheets[:2]] == ["detections.png", "detections_2.png"]
    labels = np.concatenate([labels for _, _, truths, *_ in sheets for _, labels in truths])
    every = np.concatenate([model.source.annotations(i).labels for i in range(12)])
    assert set(labels) == set(every)


def test_what_cannot_be_read_is_left_out_and_few_images_are_enough(drawn, model, monkeypatch):
    find = perfect(model, range(12))
    missing = model.source.image_id(3)
    monkeypatch.setattr(
        detections_sheets,
        "find",
        lambda of, _: {id_: f for id_, f in find(of, 0).items() if id_ != missing},
    )
    lines, ((_, images, *_),) = drawn(images=99, worst=True)
    assert len(images) == len(lines) == 11
    one = dataclasses.replace(model, source=ChosenImages(model.source, np.array([3])))
    _, ((_, images, *_),) = drawn(of=one)
    assert images == []
