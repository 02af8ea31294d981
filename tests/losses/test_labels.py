"""Labels of every integer type are the labels that they are as int32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses, matching, objective, postprocess
from tests.every_day import one_of_a_kind

CLASSES, ANCHORS = 300, 4
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(1, ANCHORS, CLASSES)).astype(np.float32)
IOUS = np.array([[0.9, 0.2, 0.6, 0.5]], np.float32)
LOSS = np.array([[0.3, 0.8, 0.1, 0.4]], np.float32)
SQUARES = np.array([[[0, 0, 9, 9], [20, 0, 29, 9], [0, 20, 9, 29], [50, 50, 60, 60]]], np.float32)
VALID = np.ones((1, ANCHORS), bool)
INDEX = np.array([[0, 1, 0, 0]])


def _objective(labels):
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(name="focal", isr_p=True, eta=0.0),
        objective.LocalizationOptions(),
        "positives",
    )
    return objective.detection_objective(
        (jnp.asarray(LOGITS),),
        (jnp.zeros((1, ANCHORS, 4)),),
        (jnp.asarray(SQUARES[0]),),
        matching.Matches(labels, np.asarray(INDEX, np.asarray(labels).dtype), IOUS),
        jnp.asarray(SQUARES),
        w_loc=jnp.float32(1.0),
        moving_average=jnp.float32(1.0),
        options=options,
    ).metrics


def _suppressed(labels):
    found = postprocess.Candidates(SQUARES, LOSS, labels, VALID)
    return postprocess.suppress(found, nms_iou=0.5, max_detections=6)


# What is done with labels `[1, N]`. Logits of SSD have one more column.
LOSSES = {
    "sigmoid_focal_loss": lambda x: losses.sigmoid_focal_loss(LOGITS, x),
    "matched_class": lambda x: losses.sigmoid_focal_loss_of_matched_class(LOGITS, x),
    "softmax": lambda x: losses.softmax_cross_entropy(np.pad(LOGITS, [(0, 0)] * 2 + [(1, 0)]), x),
    "quality_focal_loss": lambda x: losses.quality_focal_loss(LOGITS, x, IOUS),
    "varifocal_loss": lambda x: losses.varifocal_loss(LOGITS, x, IOUS),
    "matchability_aware_loss": lambda x: losses.matchability_aware_loss(LOGITS, x, IOUS),
    "iou_aware_bce_loss": lambda x: losses.iou_aware_bce_loss(LOGITS, x, IOUS),
    "ghm_c_loss": lambda x: losses.ghm_c_loss(LOGITS, x),
    "rank_and_sort_loss": lambda x: losses.rank_and_sort_loss(LOGITS, x, IOUS),
    "bucketed_rank_and_sort_loss": lambda x: losses.bucketed_rank_and_sort_loss(LOGITS, x, IOUS),
    "average_lrp_loss": lambda x: losses.average_lrp_loss(LOGITS, x, IOUS),
    "iou_balanced_focal": lambda x: losses.iou_balanced_sigmoid_focal_loss(LOGITS, x, IOUS),
    "iou_balanced_softmax": lambda x: losses.iou_balanced_softmax_cross_entropy(
        np.pad(LOGITS, [(0, 0)] * 2 + [(1, 0)]), x, IOUS
    ),
    "hard_negative_mask": lambda x: losses.hard_negative_mask(LOSS, x),
    "isr_p_weights": lambda x: losses.isr_p_weights(LOSS, IOUS, x, INDEX),
    "isr_p_weights, gt_index": lambda x: losses.isr_p_weights(
        LOSS, IOUS, np.array([[2, 2, 2, -1]], np.int32), abs(np.asarray(x))
    ),
    "match": lambda x: matching.match(SQUARES[0], SQUARES, x, VALID, ~VALID),
    "detection_objective": _objective,
    "suppress": _suppressed,
}
# Each with numbers that it can hold; beside class 255, what is -1 in 8 bits.
LABELS = {
    "int8": np.array([[3, -1, -2, 127]], np.int8),
    "uint8": np.array([[3, 200, 255, 254]], np.uint8),
    "int16": np.array([[299, -1, -2, 255]], np.int16),
    "uint16": np.array([[299, 256, 255, 3]], np.uint16),
    "int64": np.array([[299, -1, -2, 255]], np.int64),
    "uint32 on a device": jnp.array([[299, 256, 255, 3]], jnp.uint32),
    "list": [[299, -1, -2, 255]],
}


# The types that are compared as they are most easily wrong; of the others in the slow tests.
@pytest.mark.parametrize("dtype", one_of_a_kind(LABELS, "uint8", "int64"))
@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_any_integer_type(name, dtype):
    labels = LABELS[dtype]
    expected = LOSSES[name](jnp.asarray(np.asarray(labels), jnp.int32))
    found = LOSSES[name](labels)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype, found, expected))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_background_and_ignored_in_8_bits():
    # Focal loss at logit 0: -.75 * .5^2 * log(.5) = .12997 for each class, and a third of that,
    # .25 for .75, for the matched one: 299 * .12997 + .04332, 300 * .12997 and nothing.
    loss = losses.sigmoid_focal_loss(np.zeros((3, 300)), np.array([3, -1, -2], np.int8))
    np.testing.assert_allclose(jnp.sum(loss, axis=-1), [38.9028, 38.9895, 0.0], rtol=1e-4)
    # log 301 each but for what is ignored.
    loss = losses.softmax_cross_entropy(np.zeros((3, 301)), np.array([3, -1, -2], np.int8))
    np.testing.assert_allclose(loss, [5.70711, 5.70711, 0.0], rtol=1e-5)


def test_gt_index_of_8_bits():
    boxes = np.arange(300 * 4, dtype=np.float32).reshape(1, 300, 4)
    found = matching.gather_boxes(boxes, np.array([[3, 200]], np.uint8))
    np.testing.assert_array_equal(found, boxes[:, [3, 200]])


def test_a_label_beyond_24_bits_is_matched_as_it_is():
    labels = np.full((1, ANCHORS), 2**24 + 1)
    found = matching.match(SQUARES[0], SQUARES, labels, VALID, ~VALID)
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("labels", [[[0.0, 1.0, -1.0, -2.0]], [[True, False, True, True]]])
@pytest.mark.parametrize("name", LOSSES)
def test_labels_that_are_no_integers_are_refused(name, labels):
    with pytest.raises(TypeError, match=r"are (float32|bool); they must be integers: convert"):
        LOSSES[name](np.array(labels, np.float32 if labels[0][0] == 0.0 else bool))
