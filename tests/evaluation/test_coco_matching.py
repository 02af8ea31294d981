import numpy as np
import pytest
from hypothesis import given, settings

from ioub_jax.diagnostics.coco_matches import matches_of
from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.coco_matching import match_as_coco, matches_by_class
from ioub_jax.evaluation.compared_boxes import compared_boxes
from tests.evaluation.scenes import scenes
from tests.evaluation.small_data import annotation, data_set, detection


def matches(truth, found, iou=0.5):
    compared = compared_boxes(check_input(truth, found))
    return match_as_coco(compared, compared.pairs(0.1), iou)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_every_match_is_pycocotools(scene):
    truth, found = scene
    for row in truth["annotations"]:
        row.pop("area", None)  # COCO leaves out what is larger than 1e10
    checked = check_input(truth, found)
    compared = compared_boxes(checked)
    names = [category["name"] for category in checked.categories]
    ours = matches_by_class(compared, match_as_coco(compared, compared.pairs(0.5), 0.5), names)
    theirs = matches_of(checked, coco_metrics.run_evaluator(checked, "pycocotools"))
    for row, expected in zip(ours, theirs, strict=True):
        assert (row.name, row.boxes) == (expected.name, expected.boxes)
        np.testing.assert_array_equal(row.scores, expected.scores)
        np.testing.assert_array_equal(row.true, expected.true)
        np.testing.assert_allclose(row.ious, expected.ious, rtol=1e-12)


def test_the_better_one_takes_the_box_and_the_next_the_free_one():
    truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(1, [4, 0, 10, 10])])
    found = [
        detection(1, [2, 0, 10, 10], 0.7),  # IoU 8/12 with both, and the first is free
        detection(1, [4, 0, 10, 10], 0.9),  # IoU 1 with the second
        detection(1, [0, 0, 10, 10], 0.6),  # IoU 1 with the first, which is taken
    ]
    assert matches(truth, found).objects.tolist() == [0, 1, -1]
    # Of equal overlaps the last is taken, as pycocotools does.
    assert matches(truth, found[:1]).objects.tolist() == [1]


def test_the_very_threshold_is_enough():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    for iou in (0.5, 1.0):
        # From 1/10 on binary fractions are not exact, but equal boxes and half ones are.
        found = [detection(1, [0, 0, 10, 10 * iou], 0.9)]
        assert matches(truth, found, iou).true.tolist() == [True]


def test_huge_and_flat_boxes_overlap_nothing():
    truth = data_set([annotation(1, [0, 0, 1e200, 1e200], area=1), annotation(1, [0, 0, 0, 9])])
    found = [detection(1, row["bbox"], 1) for row in truth["annotations"]]
    assert not matches(truth, found).true.any()


def test_many_pairs_are_looked_at_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    boxes = np.concatenate([generator.uniform(0, 90, (400, 2)), np.full((400, 2), 20.0)], axis=1)
    images, labels = generator.integers(1, 9, 400).tolist(), generator.integers(1, 3, 400).tolist()
    rows = list(zip(images, boxes.tolist(), labels, strict=True))
    truth = data_set([annotation(*row) for row in rows[:150]], images=range(1, 9))
    found = [detection(image, box, 0.5, label) for image, box, label in rows[150:]]
    expected = matches(truth, found)
    assert expected.true.sum() > 30
    for together in (1, 7, 100):
        monkeypatch.setattr("ioub_jax.evaluation.compared_boxes._TOGETHER", together)
        np.testing.assert_array_equal(matches(truth, found).objects, expected.objects)
        np.testing.assert_array_equal(matches(truth, found).ious, expected.ious)


@pytest.mark.parametrize("annotations", [[], [annotation(1, [0, 0, 9, 9])]])
def test_nothing_found(annotations):
    found = matches(data_set(annotations), [])
    assert found.objects.shape == found.ious.shape == found.ignored.shape == (0,)
