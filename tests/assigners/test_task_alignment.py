import functools

import hypothesis
import hypothesis.extra.numpy as hypothesis_numpy
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax.assigners import task_aligned
from tests.assigners import small_pyramid as small

LEVELS = small.squares(1.0)
ANCHORS = np.concatenate(LEVELS)
# Of strides of 1 and 2 pixels, by the rule of LibreYOLO.
REACH = np.repeat([14.99, 2 * 14.99], [16, 4])
YOLO = {"rule": "yolo", "topk": 10, "alpha": 0.5, "eps": 1e-9}

assigned = functools.partial(
    jax.jit, static_argnames=("topk", "alpha", "beta", "rule", "min_side", "eps", "strides")
)(task_aligned)


def run_golden(family, seed, double, options):
    case = small.golden(f"{family}/{seed}")
    anchors = case.get("in|anchors")
    if anchors is None:  # only their centers are given, and asked for
        half = np.repeat(case["in|strides"], case["in|level_sizes"])[:, None] / 2
        anchors = np.concatenate([case["in|centers"] - half, case["in|centers"] + half], axis=1)
    predicted = (case[f"in|{name}"][None] for name in ("logits", "pred"))
    with jax.enable_x64(double):
        matches, targets = assigned(
            small.split_levels(case, anchors),
            *small.golden_truth(case),
            *(small.split_levels(case, array) for array in predicted),
            **options,
        )
        small.assert_assigned(matches, case)
        np.testing.assert_allclose(
            targets[0], case["out|target"], rtol=1e-7 if double else 1e-5, atol=1e-8
        )


@pytest.mark.parametrize(("seed", "double"), [(0, False), (1, False), (1, True)])
def test_equals_the_code_of_tood(seed, double):
    run_golden("tal_tood", seed, double, {})


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "min_side"), [("8.4.190", 16.0), ("nofloor", 0.0)])
def test_equals_the_code_of_ultralytics(seed, name, min_side):
    run_golden(f"tal_ultra_{name}", seed, False, {**YOLO, "min_side": min_side})


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_code_of_libreyolo(seed):
    run_golden("tal_libreyolo", seed, False, {**YOLO, "rule": "libreyolo"})


def overlap_of(rule, predicted, box):
    """IoU, or CIoU from 0, of `[N, 4]` with a box."""
    if rule == "tood":
        return small.iou_with(predicted, box)
    ciou = np.asarray(box_ops.complete_iou(predicted, np.broadcast_to(box, predicted.shape)))
    has_area = np.all(predicted[:, 2:] > predicted[:, :2], axis=1)
    return np.where(has_area, np.maximum(np.float64(ciou), 0), 0)


def reference(rule, options, scores, predicted, labels, image, boxes, objects):
    """Section 3.2 of the paper, or the rule of YOLO, for one image; targets go beside."""
    scores, predicted, labels = scores[image], predicted[image], labels[image]
    overlaps, metrics, insides, chosen = {}, {}, {}, {}
    for m in objects:
        overlaps[m] = overlap_of(rule, predicted, boxes[m])
        metrics[m] = scores[:, labels[m]] ** options["alpha"] * overlaps[m] ** 6.0
        margin = 0.01 if rule == "tood" else 1e-9
        insides[m] = small.distances_to_edges(ANCHORS, boxes[m]).min(axis=1) > margin
        if rule == "libreyolo":
            insides[m] &= small.distances_to_edges(ANCHORS, boxes[m]).max(axis=1) <= REACH
        ranked = metrics[m] if rule == "tood" else np.where(insides[m], metrics[m], 0)
        best = np.argsort(-ranked, kind="stable")[: options["topk"]]
        chosen[m] = {n for n in best if ranked[n] > 0 and insides[m][n]}
        if rule == "libreyolo" and not chosen[m] and metrics[m].max() > 0:
            chosen[m] = {int(np.argmax(metrics[m]))}
    result = {}
    for n in range(len(ANCHORS)):
        rivals = [m for m in objects if n in chosen[m]]
        if len(rivals) > 1 and rule == "yolo":
            rivals = [m for m in objects if insides[m][n]]
        if rivals:
            result[n] = max(rivals, key=lambda m, n=n: (overlaps[m][n], -m))
    targets = np.zeros(len(ANCHORS))
    for m in objects:
        own = [n for n in result if result[n] == m]
        if own:
            share = metrics[m][own] / (metrics[m][own].max() + options["eps"])
            targets[own] = share * overlaps[m][own].max()
    return {n: (m, overlaps[m][n]) for n, m in result.items()}, targets


def predictions(*shape, elements):
    return hypothesis_numpy.arrays(
        np.float32, (small.IMAGES, len(ANCHORS), *shape), elements=elements
    )


# Scores of few digits and boxes of whole pixels, no two alike by rounding alone.
@pytest.mark.parametrize("rule", ["tood", "yolo", "libreyolo"])
@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    truth=small.TRUTHS,
    logits=predictions(small.CLASSES, elements=st.sampled_from([-3.0, -1.0, 0.5, 2.0])),
    corners=predictions(2, 2, elements=st.integers(-10, 45)),
)
def test_equals_the_paper(rule, truth, logits, corners):
    options = {"topk": 4, "alpha": 1.0, "eps": 1e-7}
    predicted = np.sort(corners, axis=-2).reshape(small.IMAGES, -1, 4)
    levels = (tuple(np.split(array, [len(LEVELS[0])], axis=1)) for array in (logits, predicted))
    matches, targets = assigned(LEVELS, *truth, *levels, **options, rule=rule, strides=(1.0, 2.0))
    scores = 1 / (1 + np.exp(-np.float64(logits)))
    of_image = functools.partial(reference, rule, options, scores, predicted, truth[1])
    small.assert_equal_to_reference(matches, lambda *image: of_image(*image)[0], ANCHORS, truth)
    for image in range(small.IMAGES):
        boxes, _, valid, ignored = (array[image] for array in truth)
        expected = of_image(image, boxes, small.objects_of(boxes, valid, ignored))[1]
        np.testing.assert_allclose(targets[image], expected, rtol=1e-4, atol=1e-7)


def test_what_is_no_number_is_aligned_with_nothing():
    nan, inf = np.float32("nan"), np.float32("inf")
    anchors = np.tile(np.float32([[0, 0, 8, 8]]), (5, 1))
    predicted = np.tile(np.float32([0, 0, 8, 8]), (1, 5, 1))
    predicted[0, 0], predicted[0, 1] = [0, 0, nan, 8], [-inf, 0, inf, 8]
    logits = np.float32([[[9], [9], [nan], [-inf], [0]]])
    valid = np.array([[True, True]])
    boxes = np.float32([[[0, 0, 8, 8], [0, nan, 8, 8]]])
    matches, targets = assigned(
        (anchors,), boxes, np.zeros((1, 2), np.int32), valid, ~valid, (logits,), (predicted,)
    )
    # Scores of 0 and overlaps of 1: positive, but only the last with more than a target of 0.
    assert matches.labels.tolist() == [[-1, -1, 0, 0, 0]]
    np.testing.assert_allclose(targets, [[0, 0, 0, 0, 1]], atol=1e-6)


def test_arguments_that_do_not_fit():
    truth = (
        np.zeros((2, 3, 4), np.float32),
        np.zeros((2, 3), np.int32),
        *[np.ones((2, 3), bool)] * 2,
    )
    logits = tuple(np.zeros((2, len(level), 3), np.float32) for level in LEVELS)
    boxes = tuple(np.zeros((2, len(level), 4), np.float32) for level in LEVELS)
    for given, words in (
        (
            (logits[0], boxes),
            r"logits has \(2, 16, 3\); it must have one array for each of 2 levels",
        ),
        ((logits, boxes[:1]), "predicted_boxes has 1 arrays; it must have one array for each of 2"),
        ((boxes[::-1], boxes), r"logits\[0\] has shape \(2, 4, 4\); it must be \(2, 16, C\)"),
        ((logits, logits), r"predicted_boxes\[0\] has shape \(2, 16, 3\); it must be \(2, 16, 4\)"),
    ):
        with pytest.raises(ValueError, match=words):
            assigned(LEVELS, *truth, *given)
    for options, words in (
        ({"rule": "tal"}, "rule is 'tal'; it must be 'tood', 'yolo' or 'libreyolo'"),
        ({"min_side": 8.0}, "min_side is 8.0; by the rule 'tood' it must be 0"),
        ({"alpha": -1.0}, "alpha is -1.0; it must be at least 0"),
        ({"eps": 0.0}, "eps is 0.0; it must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            assigned(LEVELS, *truth, logits, boxes, **options)
