"""Errors at trace time: the argument by name, the shape that it has and the one it needs."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses

LOGITS, LABELS, IOUS = np.zeros((2, 5, 3), np.float32), np.zeros((2, 5), int), np.zeros((2, 5))
SOFTMAX = np.zeros((2, 5, 4), np.float32)
INDEX, POSITIVE = np.zeros((2, 5), int), np.ones((2, 5), bool)

#: A loss -> the arguments it takes, by name.
VALID = {
    "sigmoid_focal_loss": {"logits": LOGITS, "labels": LABELS},
    "sigmoid_focal_loss_of_matched_class": {"logits": LOGITS, "labels": LABELS},
    "softmax_cross_entropy": {"logits": SOFTMAX, "labels": LABELS},
    **{
        name: {"logits": LOGITS, "labels": LABELS, "ious": IOUS}
        for name in (
            *("quality_focal_loss", "varifocal_loss", "iou_balanced_sigmoid_focal_loss"),
            *("matchability_aware_loss", "iou_aware_bce_loss"),
            *("rank_and_sort_loss", "bucketed_rank_and_sort_loss"),
        )
    },
    "iou_balanced_softmax_cross_entropy": {"logits": SOFTMAX, "labels": LABELS, "ious": IOUS},
    "average_lrp_loss": {"logits": LOGITS, "labels": LABELS, "localization_losses": IOUS},
    "ghm_c_loss": {"logits": LOGITS, "labels": LABELS, "state": np.zeros(10)},
    "ghm_r_loss": {"pred": IOUS, "target": IOUS, "state": np.zeros(10)},
    "correlation_loss": {"scores": IOUS, "ious": IOUS},
    "distribution_focal_loss": {"logits": LOGITS, "targets": IOUS},
    "decode_distribution": {"logits": LOGITS},
    "iou_balanced_classification_weights": {"loss": IOUS, "ious": IOUS, "positive": POSITIVE},
    "hard_negative_mask": {"loss": IOUS, "labels": LABELS},
    "isr_p_weights": {"loss": IOUS, "ious": IOUS, "labels": LABELS, "gt_index": INDEX},
    "carl_weights": {"scores": IOUS, "positive": POSITIVE},
    "weights_of_classes": {"labels": LABELS, "class_weights": np.ones(3)},
}
#: Arguments that decide what the others must be.
_FIRST = ("logits", "loss", "pred", "scores")
_OF_LABELS = ("hard_negative_mask", "isr_p_weights")


@pytest.mark.parametrize("name", VALID)
def test_valid_arguments_pass(name):
    jax.eval_shape(lambda: getattr(losses, name)(**VALID[name]))


def wrong_shapes():
    for name, arguments in VALID.items():
        decides = "labels" if name in _OF_LABELS else next(iter(arguments))
        for argument in arguments:
            if argument != decides and name != "weights_of_classes":
                yield name, argument


@pytest.mark.parametrize(("name", "argument"), list(wrong_shapes()))
def test_another_shape_is_refused(name, argument):
    right = VALID[name][argument]
    wrong = np.zeros((2, 7), right.dtype)
    with pytest.raises(ValueError, match=rf"^{argument} has shape \(2, 7\); it must be") as refused:
        jax.eval_shape(lambda: getattr(losses, name)(**{**VALID[name], argument: wrong}))
    assert str(right.shape) in str(refused.value)


@pytest.mark.parametrize(("name", "argument"), list(wrong_shapes()))
def test_a_column_beside_a_row_is_refused(name, argument):
    """It would broadcast to a table of all pairs, as `optax.losses` let it."""
    column = VALID[name][argument][..., None]
    with pytest.raises(ValueError, match=rf"^{argument} has shape .*, 1\); it must be \("):
        jax.eval_shape(lambda: getattr(losses, name)(**{**VALID[name], argument: column}))


@pytest.mark.parametrize("name", [name for name in VALID if "labels" in VALID[name]])
def test_labels_that_are_floats_are_refused(name):
    with pytest.raises(TypeError, match=r"^labels are float32; they must be integers: convert"):
        getattr(losses, name)(**{**VALID[name], "labels": np.zeros((2, 5), np.float32)})


@pytest.mark.parametrize("name", [name for name in VALID if "logits" in VALID[name]])
def test_logits_that_are_no_numbers_or_have_no_dimension_are_refused(name):
    with pytest.raises(TypeError, match=r"^logits is of complex64; it must be of real numbers"):
        getattr(losses, name)(**{**VALID[name], "logits": np.zeros((2, 5, 3), np.complex64)})
    with pytest.raises(ValueError, match=r"^logits has shape \(\); it must be"):
        getattr(losses, name)(**{**VALID[name], "logits": np.float32(1)})


#: A loss, a hyperparameter and what is wrong with it.
OUT_OF_RANGE = [
    ("sigmoid_focal_loss", {"alpha": 1.5}, r"alpha is 1.5; it must be at least 0 and at most 1"),
    ("sigmoid_focal_loss", {"gamma": -1.0}, r"gamma is -1.0; it must be at least 0"),
    ("quality_focal_loss", {"beta": float("nan")}, r"beta is nan; it must be at least 0"),
    ("varifocal_loss", {"alpha": -0.1}, r"alpha is -0.1; it must be at least 0"),
    ("matchability_aware_loss", {"gamma": -0.1}, r"gamma is -0.1; it must be at least 0"),
    ("matchability_aware_loss", {"alpha": -1}, r"alpha is -1; it must be at least 0"),
    ("iou_aware_bce_loss", {"alpha": 2}, r"alpha is 2; it must be at least 0 and at most 1"),
    ("iou_aware_bce_loss", {"least_target": 2}, r"least_target is 2; it must be"),
    ("rank_and_sort_loss", {"delta": -0.5}, r"delta is -0.5; it must be at least 0"),
    ("bucketed_rank_and_sort_loss", {"sorting_weight": -1}, r"sorting_weight is -1; it must be"),
    ("average_lrp_loss", {"delta": float("inf")}, r"delta is inf; it must be at least 0"),
    ("ghm_c_loss", {"momentum": 1.0}, r"momentum is 1.0; it must be at least 0 and below 1"),
    ("ghm_c_loss", {"bins": 0}, r"bins is 0; it must be at least 1"),
    ("ghm_r_loss", {"bins": 2.5}, r"bins is 2.5; it must be a whole number"),
    ("ghm_r_loss", {"mu": 0.0}, r"mu is 0.0; it must be above 0"),
    ("ghm_r_loss", {"where": np.ones(5, bool)}, r"where has shape \(5,\); it must be \(2, 5\)"),
    ("correlation_loss", {"kind": "kendall"}, r"kind is 'kendall'; it must be one of concordance"),
    ("correlation_loss", {"where": POSITIVE[0]}, r"where has shape \(5,\); it must be \(2, 5\)"),
    ("correlation_loss", {"regularization_strength": 0}, r"regularization_strength is 0; it must"),
    ("rank_and_sort_loss", {"where": POSITIVE[0]}, r"where has shape \(5,\); it must be \(2, 5\)"),
    (
        "iou_aware_bce_loss",
        {"target_weights": IOUS[0]},
        r"target_weights has shape \(5,\); it must",
    ),
    ("isr_p_weights", {"bias": 1.5}, r"bias is 1.5; it must be at least 0 and at most 1"),
    ("carl_weights", {"k": -1.0}, r"k is -1.0; it must be at least 0"),
    ("hard_negative_mask", {"ratio": -1}, r"ratio is -1; it must be at least 0"),
    ("iou_balanced_sigmoid_focal_loss", {"eta": -1.0}, r"eta is -1.0; it must be at least 0"),
]
OUT_OF_RANGE += [
    (name, {"class_weights": np.ones(2)}, r"class_weights has shape \(2,\); it must be \(3,\)")
    for name in VALID
    if "class_weights" in inspect.signature(getattr(losses, name)).parameters
    and name != "weights_of_classes"
]


@pytest.mark.parametrize(("name", "options", "says"), OUT_OF_RANGE)
def test_hyper_parameters_are_refused_by_name(name, options, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        jax.eval_shape(lambda: getattr(losses, name)(**VALID[name], **options))


def test_class_weights_of_no_dimension_are_refused():
    with pytest.raises(ValueError, match=r"^class_weights has shape \(\); it must be \[C\]"):
        losses.weights_of_classes(LABELS, 1.0)


def test_fewer_than_two_bins_are_refused():
    with pytest.raises(ValueError, match=r"^logits has shape \(2, 1\); it must be \[\.\.\., K\]"):
        losses.decode_distribution(np.zeros((2, 1)))


def test_checks_cost_nothing_in_the_compiled_program():
    """What is checked leaves no operation: labels of int32 are not even converted."""

    def loss(logits, labels):
        return losses.sigmoid_focal_loss(logits, labels)

    shapes = jax.ShapeDtypeStruct((2, 5, 3), jnp.float32), jax.ShapeDtypeStruct((2, 5), jnp.int32)
    text = jax.jit(loss).lower(*shapes).as_text()
    # One comparison of the labels with the classes, one with -2, and those of the formula.
    assert text.count("stablehlo.iota") <= 1
    assert "custom_call" not in text


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", "varifocal_loss"])
def test_hyper_parameters_may_be_traced(name):
    loss = jax.jit(lambda gamma: getattr(losses, name)(**VALID[name], gamma=gamma))
    np.testing.assert_array_equal(loss(2.0), getattr(losses, name)(**VALID[name], gamma=2.0))
