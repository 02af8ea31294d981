"""Images with more objects than metrics count, and what AP they leave to a perfect detector."""

import numpy as np
import pytest

from ioub_jax.coco_ceiling import coco_ceiling
from ioub_jax.data.audit.dense_images import find_dense_images
from ioub_jax.data.sources import FileSource
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.evaluation import coco_format, coco_metrics


def source_of(*label_counts, crowds=0):
    """Images of 400x400 with so many objects of each of three classes, none over another."""
    examples = []
    for image_id, counts in enumerate(label_counts, start=1):
        labels = np.repeat(np.arange(3), counts)
        corners = np.stack(np.divmod(np.arange(len(labels)), 20), axis=1) * 20.0
        crowd = np.arange(len(labels)) < crowds
        boxes = np.concatenate([corners, corners + 15], axis=1)
        examples.append(create_example(boxes, labels, image_id, crowd=crowd))
    annotations = collect_annotations(examples, np.full((len(examples), 2), 400))
    paths = [f"{number}.jpg" for number in range(len(examples))]
    return FileSource(annotations, paths, ("a", "b", "c"), (1, 2, 3), []), annotations


def find(*label_counts, most=100, is_for_coco=True, **options):
    source, annotations = source_of(*label_counts, **options)
    found = find_dense_images(source, annotations, max_detections=most, is_for_coco=is_for_coco)
    return {finding.kind: finding for finding in found}


def test_150_objects_of_a_class():
    # 100 / 150 = .667: the recalls 0 to .66, 67 of 101, are reached, .6634. Class b reaches all.
    found = find((150, 20, 0), (10, 0, 0), most=300)
    assert list(found) == ["dense_class"]
    # 110 of a are found of 160, .6875: 69 / 101 = .6832; the mean with b's 1 is .8416.
    assert ".842 here" in found["dense_class"].advice
    assert "evaluation.coco_detections=150 counts enough, as AP@150," in found["dense_class"].advice
    assert found["dense_class"].sentences == ("0.jpg: has 150 objects of class 'a'.",)


def test_the_fullest_image_sets_the_number_of_detections():
    found = find((60, 50, 0), (60, 60, 0))
    assert list(found) == ["dense_image"] and found["dense_image"].count == 2
    assert "--config.evaluation.max_detections=120." in found["dense_image"].advice


def test_what_needs_no_finding():
    assert find((100, 0, 0)) == {}
    assert find((110, 0, 0), crowds=10) == {}
    assert find((150, 0, 0), most=150, is_for_coco=False) == {}
    assert find() == {} and find((0, 0, 0)) == {}


@pytest.mark.parametrize(
    "label_counts", [[(150, 0, 0)], [(101, 99, 3), (100, 130, 0)], [(300, 0, 0), (0, 1, 0)]]
)
def test_the_ceiling_is_that_of_pycocotools(label_counts):
    source, _ = source_of(*label_counts)
    truth = coco_format.to_coco_ground_truth(source)
    detections = [
        {key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for entry in truth["annotations"]
    ]
    counts = np.array(label_counts)
    images, labels = np.nonzero(counts)
    ceiling = coco_ceiling(labels, counts[images, labels])
    expected = coco_metrics.evaluate_detections(truth, detections).summary["AP"]
    assert ceiling == pytest.approx(expected, abs=1e-9) and ceiling < 1
