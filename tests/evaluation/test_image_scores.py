import numpy as np
import pytest

from ioub_jax.evaluation.image_scores import ImageScore, score_image

NOTHING = np.zeros((0, 4)), np.zeros(0)


def test_by_hand():
    # Object 0 is found by the better of two detections of it (IoU 1 and .8), so the other is wrong;
    # object 1 is overlapped by .4 alone; that at object 2 is of another class.
    objects = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    found = [[0, 2, 10, 10], [0, 0, 10, 10], [20, 0, 24, 10], [40, 0, 50, 10]]
    score = score_image(objects, [0, 0, 1], found, [0, 0, 0, 0], [0.5, 0.9, 0.8, 0.7])
    assert score == ImageScore(found=1, wrong=3, missed=2)
    assert score.f1 == pytest.approx(2 / 7)
    # A lower threshold: the third detection finds object 1.
    score = score_image(objects, [0, 0, 1], found, [0, 0, 0, 0], [0.5, 0.9, 0.8, 0.7], iou=0.4)
    assert score == ImageScore(found=2, wrong=2, missed=1)


def test_each_object_is_found_once_and_by_the_one_that_overlaps_it_most():
    objects = [[0, 0, 10, 10], [0, 4, 10, 14]]  # IoU 60 / 140
    # The first, at y 3 to 13, has 70 / 130 with object 0 and 90 / 110 with object 1.
    score = score_image(objects, [0, 0], [[0, 3, 10, 13], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])
    assert score == ImageScore(2, 0, 0) and score.f1 == 1.0


def test_what_lies_in_a_crowd_counts_nowhere():
    boxes, crowd = [[0, 0, 100, 100], [0, 0, 10, 10]], [True, False]
    found = [[50, 50, 60, 60], [95, 95, 115, 115], [0, 0, 10, 10]]
    score = score_image(boxes, [1, 1], found, [1, 1, 1], [0.9, 0.8, 0.7], crowd=crowd)
    assert score == ImageScore(found=1, wrong=1, missed=0)  # 25 of 400 of the second
    # Of another class it is wrong there, but in a region of no class.
    score = score_image(boxes, [1, 1], found[:1], [0], [0.9], crowd=crowd)
    assert score == ImageScore(0, 1, 1)
    score = score_image(boxes, [-1, 1], found[:1], [0], [0.9], crowd=crowd)
    assert score == ImageScore(0, 0, 1)


def test_nothing_in_nothing_is_all_right():
    assert score_image(*NOTHING, *NOTHING, []).f1 == 1.0
    assert score_image(*NOTHING, [[0, 0, 1, 1]], [0], [0.5]) == ImageScore(0, 1, 0)
    assert score_image([[0, 0, 1, 1]], [0], *NOTHING, []).f1 == 0.0
