"""Bad input of the losses of localization: an error names the argument and what it must be."""

import re

import jax
import numpy as np
import pytest

from ioub_jax import losses

BOXES = np.array([[0.0, 0.0, 4.0, 2.0], [1.0, 1.0, 3.0, 3.0]], "f4")
IOUS = np.array([0.5, 0.7], "f4")
FLAGS = np.array([True, False])
OF_BOXES = {
    "iou_loss": losses.iou_loss,
    "normalized_wasserstein_distance": losses.normalized_wasserstein_distance,
    "iou_balanced_iou_loss": losses.iou_balanced_iou_loss,
    "wise_iou_loss": lambda boxes, targets: losses.wise_iou_loss(boxes, targets, 1.0),
}
OF_DELTAS = {
    "smooth_l1_loss": lambda pred, target: losses.smooth_l1_loss(pred, target, beta=1.0),
    "balanced_l1_loss": losses.balanced_l1_loss,
    "iou_balanced_smooth_l1_loss": lambda pred, target: losses.iou_balanced_smooth_l1_loss(
        pred, target, IOUS
    ),
}


@pytest.mark.parametrize("name", OF_BOXES)
def test_boxes(name):
    loss = OF_BOXES[name]
    for bad, words in (
        (BOXES[:, :3], "target_boxes has shape (2, 3); it must be [..., 4]"),
        (np.float32(1.0), "target_boxes has shape (); it must be [..., 4]"),
        (np.zeros((3, 4)), "target_boxes has shape (3, 4); it must be that of boxes, (2, 4)"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            loss(BOXES, bad)
        with pytest.raises(ValueError, match=re.escape(words)):  # while it is traced
            jax.eval_shape(lambda bad: loss(BOXES, bad), bad)
    for bad in (BOXES > 1, BOXES.astype(complex), np.full((2, 4), "a"), None):
        with pytest.raises(TypeError, match=r"boxes is of .*; it must be of real numbers"):
            loss(bad, BOXES)


@pytest.mark.parametrize("name", OF_DELTAS)
def test_deltas(name):
    loss = OF_DELTAS[name]
    with pytest.raises(ValueError, match=re.escape("target has shape (3, 4); it must be that of")):
        loss(BOXES, np.zeros((3, 4)))
    with pytest.raises(TypeError, match="pred is of bool; it must be of real numbers"):
        loss(BOXES > 1, BOXES)


@pytest.mark.parametrize("name", [*OF_BOXES, *OF_DELTAS])
def test_a_column_beside_a_row_is_no_table_of_all_pairs(name):
    """A network's `[n, 1, 4]` beside targets `[n, 4]` would be `[n, n, 4]`, and no error."""
    loss = (OF_BOXES | OF_DELTAS)[name]
    words = (
        r"has shape \(2, 4\) and (boxes|pred) \(2, 1, 4\), which would be broadcast to \(2, 2, 4\)"
    )
    with pytest.raises(ValueError, match=words):
        loss(BOXES[:, None], BOXES)
    # Against one for all, and as the pairs that somebody asks for.
    assert jax.tree.leaves(loss(BOXES, BOXES[:1]))[0].shape[0] == 2
    if name != "iou_balanced_smooth_l1_loss":
        assert jax.tree.leaves(loss(BOXES[:, None], BOXES[None]))[0].shape[:2] == (2, 2)


def test_a_column_of_numbers_beside_a_row_of_boxes_is_refused():
    column = IOUS[:, None]
    for words, call in {
        "ious has shape (2, 1); it must be (2,), one for each box of pred": lambda: (
            losses.iou_balanced_smooth_l1_loss(BOXES, BOXES, column)
        ),
        "ious has shape (2,); it must be (2, 1), one for each box of pred": lambda: (
            losses.iou_balanced_smooth_l1_loss(BOXES[:, None], BOXES[:, None], IOUS)
        ),
        "where has shape (2,); it must be (2, 1), one for each of ious": lambda: (
            losses.wise_iou_weights(column, 1.0, where=FLAGS)
        ),
        "ious has shape (2, 1); it must be (2,), one for each of loss": lambda: (
            losses.calibrate_w_loc(IOUS, column, FLAGS)
        ),
    }.items():
        with pytest.raises(ValueError, match=re.escape(words)):
            call()


NUMBERS = {
    "beta is -1": lambda: losses.smooth_l1_loss(BOXES, BOXES, beta=-1),
    "beta is 0": lambda: losses.balanced_l1_loss(BOXES, BOXES, beta=0),
    "alpha is 0": lambda: losses.balanced_l1_loss(BOXES, BOXES, alpha=0),
    "power is 0": lambda: losses.iou_loss(BOXES, BOXES, power=0),
    "power is nan": lambda: losses.iou_loss(BOXES, BOXES, power=float("nan")),
    "inner is 0": lambda: losses.iou_loss(BOXES, BOXES, inner=0),
    "focaler is (0.5, 0.2); d must be below u": lambda: losses.iou_loss(
        BOXES, BOXES, focaler=(0.5, 0.2)
    ),
    "focaler is 0.5; it must be two numbers": lambda: losses.iou_loss(BOXES, BOXES, focaler=0.5),
    "gamma is -1": lambda: losses.iou_loss(BOXES, BOXES, kind="focal_eiou", gamma=-1),
    "theta is 0.5; it must be at least 1": lambda: losses.iou_loss(
        BOXES, BOXES, kind="siou", theta=0.5
    ),
    "scale is 0.7, but the kind 'giou' has none; leave it at 0.0, or take 'shape_iou'": lambda: (
        losses.iou_loss(BOXES, BOXES, kind="giou", scale=0.7)
    ),
    "image_size is not given; 'mpdiou' needs": lambda: losses.iou_loss(BOXES, BOXES, kind="mpdiou"),
    "image_size has shape (3,); it must be [..., 2]": lambda: losses.iou_loss(
        BOXES, BOXES, kind="mpdiou", image_size=(1, 2, 3)
    ),
    "image_size is (0, 2); both": lambda: losses.iou_loss(
        BOXES, BOXES, kind="mpdiou", image_size=(0, 2)
    ),
    "'wiou_v3' has a running mean": lambda: losses.iou_loss(BOXES, BOXES, kind="wiou_v3"),
    "constant is 0": lambda: losses.normalized_wasserstein_distance(BOXES, BOXES, constant=0),
    "eps is -1": lambda: losses.normalized_wasserstein_distance(BOXES, BOXES, eps=-1),
    "version is 4; it must be 1, 2 or 3": lambda: losses.wise_iou_loss(
        BOXES, BOXES, 1.0, version=4
    ),
    "alpha is 1; it must be above 1": lambda: losses.wise_iou_weights(IOUS, 1.0, alpha=1),
    "momentum is 2": lambda: losses.wise_iou_weights(IOUS, 1.0, momentum=2),
    "mean has shape (2,); it must be ()": lambda: losses.wise_iou_weights(IOUS, IOUS),
    "where has shape (3,); it must be (2,)": lambda: losses.wise_iou_loss(
        BOXES, BOXES, 1.0, where=[True] * 3
    ),
    "ious has shape (3,); it must be (2,), one for each box of pred": lambda: (
        losses.iou_balanced_smooth_l1_loss(BOXES, BOXES, np.zeros(3))
    ),
    "lambda_ is -1": lambda: losses.iou_balanced_localization_weights(IOUS, lambda_=-1),
    "w_loc has shape (2,)": lambda: losses.iou_balanced_localization_weights(IOUS, w_loc=IOUS),
    "ious has shape (3,); it must be (2,), one for each of loss": lambda: losses.calibrate_w_loc(
        IOUS, np.zeros(3), FLAGS
    ),
}


@pytest.mark.parametrize("words", NUMBERS)
def test_numbers(words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        NUMBERS[words]()
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("bad", ["3", True, None, 1j])
def test_what_is_no_number(bad):
    with pytest.raises(TypeError, match=r"power is .*; it must be a number\."):
        losses.iou_loss(BOXES, BOXES, power=bad)


def test_traced_numbers():
    traced = jax.eval_shape(
        lambda lambda_: losses.iou_balanced_localization_weights(IOUS, lambda_=lambda_), 1.5
    )
    assert traced.shape == (2,)
    with pytest.raises(TypeError, match="power is traced; it must be a number that is known"):
        jax.eval_shape(lambda power: losses.iou_loss(BOXES, BOXES, power=power), 1.5)
