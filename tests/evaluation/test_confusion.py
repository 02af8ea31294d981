import numpy as np
import pytest

from ioub_jax.evaluation.confusion import confusion_matrix
from tests.evaluation.small_data import annotation, data_set, detection

# Classes 1 cell, 2 cat, 3 dog; all boxes 10 x 10 in image 1.
# Ground truth: cells at 0 and 100, cats at 200 and 300, a dog at 400.
# Detections: cell .9 at 0: cell. cat .8 at 1 (IoU 9/11): the cell at 0 is taken: from nothing.
#   cell .7 at 200: a cat. dog .6 at 300: a cat. dog .5 at 400: dog. cat .2 at 100: a cell.
TRUTH = data_set(
    [
        annotation(1, [0, 0, 10, 10]),
        annotation(1, [100, 0, 10, 10]),
        annotation(1, [200, 0, 10, 10], 2),
        annotation(1, [300, 0, 10, 10], 2),
        annotation(1, [400, 0, 10, 10], 3),
    ],
    categories=("cell", "cat", "dog"),
)
FOUND = [
    detection(1, [100, 0, 10, 10], 0.2, 2),
    detection(1, [0, 0, 10, 10], 0.9, 1),
    detection(1, [1, 0, 10, 10], 0.8, 2),
    detection(1, [200, 0, 10, 10], 0.7, 1),
    detection(1, [300, 0, 10, 10], 0.6, 3),
    detection(1, [400, 0, 10, 10], 0.5, 3),
]


def counts(*arguments, **options):
    return confusion_matrix(*arguments, **options).counts.tolist()


def test_by_hand():
    matrix = confusion_matrix(TRUTH, FOUND, 0.3)
    assert matrix.counts.dtype == np.int64
    assert matrix.counts.tolist() == [
        [1, 0, 0, 1],  # the cell at 100 is found by the .2 alone
        [1, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
    ]
    assert counts(TRUTH, FOUND, 0.2) == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert (matrix.names, matrix.category_ids) == (("cell", "cat", "dog"), (1, 2, 3))
    assert (matrix.thresholds, matrix.iou) == ((0.3, 0.3, 0.3), 0.5)
    assert matrix.confusions() == [(0, 3, 1), (1, 0, 1), (1, 2, 1), (3, 1, 1)]


def test_thresholds_by_class():
    by_class = confusion_matrix(TRUTH, FOUND, {1: 0.8, 2: 0.81, "3": 0.6})
    # Left are the cell of .9 and the dog of .6: both cats and the dog but for that are not found.
    assert by_class.counts.tolist() == [[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert by_class.thresholds == (0.8, 0.81, 0.6)


def test_the_best_one_takes_what_it_overlaps_most_of_whatever_class():
    truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(1, [3, 0, 10, 10], 2)])
    # IoU with the cell 8/12, with the cat 9/11: a cell is taken for the cat that is nearer.
    assert counts(truth, [detection(1, [2, 0, 10, 10], 0.9)], 0) == [
        *([0, 0, 1], [1, 0, 0], [0, 0, 0])
    ]
    # Of the same box two annotations: its own class.
    truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(1, [0, 0, 10, 10], 2)])
    for category in (1, 2):
        found = confusion_matrix(truth, [detection(1, [0, 0, 10, 9], 0.9, category)], 0)
        assert found.counts[category - 1, category - 1] == 1


def test_the_iou_is_a_parameter():
    truth, found = data_set([annotation(1, [0, 0, 10, 10])]), [detection(1, [0, 0, 10, 6], 1.0)]
    assert counts(truth, found, 0.5)[0] == [1, 0, 0]
    assert counts(truth, found, 0.5, 0.75) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_crowds_and_ignored_regions_never_count():
    crowd = annotation(1, [0, 0, 100, 100], iscrowd=1)
    region = annotation(2, [0, 0, 100, 100], 2, ignored=1)
    truth = data_set([crowd, region, annotation(1, [10, 10, 10, 10])])
    found = [
        detection(1, [10, 10, 10, 10], 0.9),  # a cell, in the crowd though it is
        detection(1, [50, 50, 10, 10], 0.8),  # in the crowd
        detection(1, [50, 50, 10, 10], 0.7, 2),  # a cat in the crowd of cells
        detection(2, [50, 50, 10, 10], 0.6, 2),  # in the region
    ]
    assert counts(truth, found, 0.5) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_every_box_and_every_kept_detection_is_there_once():
    generator = np.random.default_rng(1)
    boxes = np.concatenate([generator.uniform(0, 60, (90, 2)), np.full((90, 2), 20.0)], axis=1)
    labels = generator.integers(1, 4, 90).tolist()
    rows = list(zip(generator.integers(1, 4, 90).tolist(), boxes.tolist(), labels, strict=True))
    truth = data_set([annotation(*row) for row in rows[:30]], (1, 2, 3), ("cell", "cat", "dog"))
    found = [detection(image, box, generator.random(), label) for image, box, label in rows[30:]]
    kept = sum(row["score"] >= 0.4 for row in found)
    matrix = confusion_matrix(truth, found, 0.4).counts
    assert matrix[:-1].sum(axis=1).tolist() == np.bincount(labels[:30], minlength=4)[1:].tolist()
    assert matrix[:, :-1].sum() == kept and matrix[-1, -1] == 0


def test_nothing_at_all():
    assert counts(data_set([], images=(), categories=()), [], 0.5) == [[0]]
    assert counts(data_set([annotation(1, [0, 0, 9, 9])]), [], 0.5) == [
        *([0, 0, 1], [0, 0, 0], [0, 0, 0])
    ]


@pytest.mark.parametrize(
    ("threshold", "sentence"),
    [
        ({1: 0.5, 2: 0.5}, "score_threshold has none for category 3: give one for each"),
        ({1: 0.5, 2: 0.5, 3: 0.5, 9: 0.5}, "has one for category 9, which is not one of"),
        (float("nan"), "score_threshold of category 1 is nan: give a number"),
        ("best", "score_threshold of category 1 is 'best': give a number"),
    ],
)
def test_thresholds_that_are_none_are_refused(threshold, sentence):
    with pytest.raises(ValueError, match=sentence):
        confusion_matrix(TRUTH, FOUND, threshold)
