import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.assigners import sim_ota, task_aligned
from tests.assigners import small_pyramid as small

LEVELS = small.squares(1.0)
ANCHORS = np.concatenate(LEVELS)
STRIDES = np.float64([8] * 16 + [16] * 4)

assigned = functools.partial(
    jax.jit, static_argnames=("topk", "iou_weight", "center_radius", "strides", "rule")
)(sim_ota)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rule", ["yolox", "mmdetection"])
def test_equals_the_authors_code(rule, seed):
    case = small.golden(f"simota_{'yolox' if rule == 'yolox' else 'mmdet3'}/{seed}")
    sides = case["in|sizes"][:, None] / 2
    anchors = np.concatenate([case["in|centers"] - sides, case["in|centers"] + sides], axis=1)
    if rule == "yolox":
        logits = case["in|logits"]
        objectness = small.split_levels(case, case["in|objectness"][None, :, None])
    else:  # which takes scores
        logits = np.log(case["in|scores"] / (1 - case["in|scores"]))
        objectness = None
    matches = assigned(
        small.split_levels(case, anchors),
        *small.golden_truth(case),
        small.split_levels(case, logits[None]),
        small.split_levels(case, case["in|pred"][None]),
        objectness=objectness,
        rule=rule,
    )
    small.assert_assigned(matches, case)
    positive = case["out|assigned"] >= 0
    np.testing.assert_allclose(
        np.asarray(matches.iou[0])[positive], case["out|iou"][positive], rtol=1e-5, atol=1e-7
    )


def near_and_cheap(rule, box):
    offsets = np.abs(small.centers_of(ANCHORS) - (box[:2] + box[2:]) / 2).max(axis=1)
    near = offsets < (1.5 if rule == "yolox" else 2.5) * STRIDES
    inside = small.distances_to_edges(ANCHORS, box).min(axis=1) > 0
    return (near, near) if rule == "yolox" else (near | inside, near & inside)


def reference(rule, scores, predicted, labels, image, boxes, objects):
    """Section 2.1 of the paper, and what its code has besides, for one image."""
    scores, predicted, labels = scores[image], predicted[image], labels[image]
    near = {m: near_and_cheap(rule, boxes[m]) for m in objects}
    part = np.any([near[m][0] for m in objects], axis=0) if len(objects) else []
    part = np.flatnonzero(part)
    costs, ious, takers = {}, {}, {n: [] for n in part}
    for m in objects:
        ious[m] = np.where(
            np.isin(np.arange(len(ANCHORS)), part), small.iou_with(predicted, boxes[m]), 0
        )
        is_class = np.arange(small.CLASSES) == labels[m]
        entropy = -np.sum(np.log(np.where(is_class, scores, 1 - scores)), axis=1)
        eps = 1e-8 if rule == "yolox" else 1e-7
        costs[m] = entropy - 3 * np.log(ious[m] + eps) + 1e6 * ~near[m][1]
        count = max(int(np.sum(np.sort(ious[m])[::-1][:4])), 1)
        for n in part[np.argsort(costs[m][part], kind="stable")[:count]]:
            takers[n].append(m)
    result = {}
    for n, rivals in takers.items():
        if len(rivals) > 1:
            rivals = sorted(objects, key=lambda m, n=n: costs[m][n])
        if rivals:
            result[n] = (rivals[0], ious[rivals[0]][n])
    return result


@pytest.mark.parametrize("rule", ["yolox", "mmdetection"])
@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(truth=small.TRUTHS, seed=st.integers(0, 10**6))
def test_equals_the_paper(rule, truth, seed):
    rng = np.random.default_rng(seed)
    count = len(ANCHORS)
    logits = rng.normal(0, 2, (small.IMAGES, count, small.CLASSES)).astype(np.float32)
    # About half of the predictions are near the first box of their image.
    corners = rng.uniform(-10, 45, (small.IMAGES, count, 2, 2))
    predicted = np.sort(corners, axis=-2).reshape(small.IMAGES, count, 4).astype(np.float32)
    close = truth[0][:, :1] + rng.uniform(-1, 1, predicted.shape).astype(np.float32)
    predicted = np.where(rng.random((small.IMAGES, count, 1)) < 0.5, close, predicted)
    levels = (tuple(np.split(array, [len(LEVELS[0])], axis=1)) for array in (logits, predicted))
    matches = assigned(LEVELS, *truth, *levels, topk=4, rule=rule)
    scores = 1 / (1 + np.exp(-np.float64(logits)))
    small.assert_equal_to_reference(
        matches, functools.partial(reference, rule, scores, predicted, truth[1]), ANCHORS, truth
    )


def test_a_box_takes_as_many_anchors_as_fit_it():
    # Four locations at the center, IoUs of 1, .8, .6 and .5: the sum is 2.9, the two cheapest are
    # its. With scores of 1/2 everywhere the cheapest are those of the highest IoU.
    anchors = np.tile(np.float32([[0, 0, 10, 10]]), (4, 1))
    predicted = np.float32([[[0, 0, 10, 5], [0, 0, 10, 8], [0, 0, 10, 10], [0, 0, 10, 6]]])
    valid, boxes = np.ones((1, 1), bool), np.float32([[[0, 0, 10, 10]]])
    truth = (boxes, np.int32([[0]]), valid, ~valid)
    matches = assigned((anchors,), *truth, (np.zeros((1, 4, 2), np.float32),), (predicted,))
    assert matches.labels.tolist() == [[-1, 0, 0, -1]]
    np.testing.assert_allclose(matches.iou, [[0, 0.8, 1, 0]], rtol=1e-6)
    # A score of the other class that is higher by far makes the third dearer than the last.
    logits = np.zeros((1, 4, 2), np.float32)
    logits[0, 2, 1] = 9.0
    matches = assigned((anchors,), *truth, (logits,), (predicted,))
    assert matches.labels.tolist() == [[-1, 0, -1, 0]]
    for options, words in (
        ({"rule": "yolo"}, "rule is 'yolo'; it must be 'yolox' or 'mmdetection'"),
        ({"iou_weight": -1.0}, "iou_weight is -1.0; it must be at least 0"),
        ({"center_radius": 0.0}, "center_radius is 0.0; it must be above 0"),
        ({"objectness": (logits,)}, r"objectness.0. has shape .1, 4, 2.; it must be .1, 4, 1."),
    ):
        with pytest.raises(ValueError, match=words):
            assigned((anchors,), *truth, (logits,), (predicted,), **options)


def test_many_anchors_are_summed_in_parts():
    # 5,000 of two parts and a rest: an anchor at the end is as cheap as one of the first part.
    count = 5000
    anchors = np.tile(np.float32([[0, 0, 10, 10]]), (count, 1))
    logits = np.full((1, count, 2), 5.0, np.float32)
    logits[0, [7, 4999], 1] = -5.0  # sure of class 0; all others of both
    predicted = np.tile(np.float32([[0, 0, 10, 5]]), (1, count, 1))
    valid, boxes = np.ones((1, 1), bool), np.float32([[[0, 0, 10, 10]]])
    truth = (boxes, np.int32([[0]]), valid, ~valid)
    matches = assigned((anchors,), *truth, (logits,), (predicted,), topk=5)
    # Five IoUs of 1/2: two anchors.
    assert np.flatnonzero(matches.labels[0] == 0).tolist() == [7, 4999]


@pytest.mark.parametrize("assigner", [sim_ota, task_aligned])
def test_any_dtypes_go_together(assigner):
    # Level by level: truth, logits and predicted boxes of all three types.
    boxes = np.array([[[0, 0, 14, 14]]])
    valid = np.ones((1, 1), bool)
    found = []
    for dtypes in (("float64", "bfloat16", "float32"), ("float32", "float32", "float64")):
        with jax.enable_x64(True):
            of_boxes, of_logits, of_predicted = map(jnp.dtype, dtypes)
            result = jax.jit(assigner)(
                LEVELS,
                boxes.astype(of_boxes),
                np.int8([[2]]),
                valid,
                ~valid,
                tuple(jnp.zeros((1, len(level), 3), of_logits) for level in LEVELS),
                tuple(level[None].astype(of_predicted) for level in LEVELS),
            )
            found.append(result[0] if assigner is task_aligned else result)
    assert found[0].labels.dtype == jnp.int32
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    assert np.any(np.asarray(found[0].labels) == 2)
