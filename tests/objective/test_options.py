"""Choices that contradict each other are refused in one sentence that names them."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses, objective
from ioub_jax.box_codecs import DeltaCodec
from ioub_jax.configs import defaults
from ioub_jax.detectors import anchor_detector
from ioub_jax.errors import ConfigError
from ioub_jax.objective import per_anchor


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: objective.ClassificationOptions(name="fokal"), "name is 'fok"),
        (lambda: objective.ClassificationOptions(normalizer_scope="gpu"), "normalizer_scope is"),
        (
            lambda: objective.ClassificationOptions(name="varifocal"),
            "already follows the IoU; set eta to 0",
        ),
        (
            lambda: objective.ClassificationOptions(name="quality_focal", eta=0, isr_p=True),
            "already follows the IoU; set isr_p to False",
        ),
        (
            lambda: objective.ClassificationOptions(isr_p=True),
            "isr_p and eta both give weights",
        ),
        (
            lambda: objective.ClassificationOptions(name="softmax", negatives_per_positive=0),
            "negatives_per_positive is 0; it must be at least 1",
        ),
        *(
            (
                lambda name=name: objective.ClassificationOptions(name=name),
                "already follows the IoU; set eta to 0",
            )
            for name in ("mal", "ia_bce", "rank_and_sort", "bucketed_rank_and_sort", "average_lrp")
        ),
        (
            lambda: objective.ClassificationOptions(name="ghm_c"),
            "name 'ghm_c' has weights of its own; set eta to 0",
        ),
        (
            lambda: objective.ClassificationOptions(name="ghm_c", eta=0, class_weights=(1.0,)),
            "name 'ghm_c' has weights of its own; set class_weights to None",
        ),
        (
            lambda: objective.ClassificationOptions(correlation_kind="kendall"),
            "correlation_kind is 'kendall'; it must be one of",
        ),
        (
            lambda: objective.ClassificationOptions(name="average_lrp", eta=0, delta=-1.0),
            "delta is -1.0; it must be at least 0",
        ),
        (
            lambda: objective.ClassificationOptions(name="ghm_c", eta=0, bins=0),
            "bins is 0; it must be at least 1",
        ),
        (
            lambda: objective.ClassificationOptions(name="ghm_c", eta=0, gamma=2.0),
            "gamma is 2.0, but 'ghm_c' has none; set gamma to None, or name to one of focal",
        ),
        (
            lambda: objective.ClassificationOptions(name="mal", eta=0, alpha=0.25),
            "alpha is 0.25, but 'mal' has none; set alpha to None, or name to one of focal, vari",
        ),
        (
            lambda: objective.ClassificationOptions(name="softmax", delta=0.5),
            "delta is 0.5, but 'softmax' has none; set delta to None, or name to one of rank_and",
        ),
        (
            lambda: objective.ClassificationOptions(bins=30),
            "bins is 30, but 'focal' has none; set bins to 10, or name to ghm_c",
        ),
        (
            lambda: objective.ClassificationOptions(name="varifocal", eta=0, alpha=-1.0),
            "alpha is -1.0; it must be at least 0",
        ),
        (lambda: objective.LocalizationOptions(name="l2"), "name is 'l2'"),
        (
            lambda: objective.LocalizationOptions(power=3.0),
            "power is 3.0, but 'smooth_l1' on deltas has none",
        ),
        (
            lambda: objective.LocalizationOptions(name="giou", power=0.0),
            "power is 0.0; it must be above 0",
        ),
        (
            lambda: objective.LocalizationOptions(name="giou", scale=0.7),
            "scale is 0.7, but 'giou' has none; set scale to 0.0, or name to one of shape_iou",
        ),
        (
            lambda: objective.LocalizationOptions(name="nwd", inner=0.7),
            "inner is 0.7, but 'nwd' has none; set inner to None, or name to one of iou, giou",
        ),
        (
            lambda: objective.LocalizationOptions(name="nwd", power=3.0),
            "power is 3.0, but 'nwd' has none",
        ),
        (
            lambda: objective.LocalizationOptions(name="wiou_v3", wiou_alpha=1.0),
            "wiou_alpha is 1.0; it must be above 1",
        ),
        (
            lambda: objective.LocalizationOptions(name="giou", focaler=(0.5, 0.5)),
            "focaler is (0.5, 0.5); d must be below u",
        ),
        (
            lambda: objective.LocalizationOptions(carl_weight=1.0),
            "carl_weight and lambda_ both give weights",
        ),
        (
            lambda: objective.LocalizationOptions(dynamic=True, calibration_lambda=1.5),
            "set calibration_lambda to None",
        ),
        (lambda: objective.ObjectiveOptions(normalizer="none"), "normalizer is 'none'"),
        (
            lambda: objective.ObjectiveOptions(
                objective.ClassificationOptions(name="softmax"),
                objective.LocalizationOptions(instance_weights="score"),
            ),
            "localization has instance_weights 'score', but classification has the name 'softmax'",
        ),
        (
            lambda: objective.LocalizationOptions(dynamic=True, w_loc=2.3),
            "w_loc is 2.3, but dynamic normalizes the weights in every batch; set w_loc to None",
        ),
    ],
)
def test_what_no_formula_knows_is_refused(make, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        make()
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("chosen", "w_loc"),
    [({}, None), ({"w_loc": 3.0}, 3.0), ({"dynamic": True}, 1.0)],
)
def test_what_w_loc_starts_as(chosen, w_loc):
    assert objective.LocalizationOptions(**chosen).initial_w_loc == w_loc


def test_none_is_the_published_number_of_the_loss():
    """Focal: alpha .25, gamma 2; varifocal: alpha .75; MAL: gamma 1.5; balanced L1: beta 1."""
    logits, labels, ious = jnp.array([[0.3, -1.2]]), jnp.array([1]), jnp.array([0.6])
    published = {
        "quality_focal": losses.quality_focal_loss(logits, labels, ious, beta=2.0),
        "varifocal": losses.varifocal_loss(logits, labels, ious, alpha=0.75, gamma=2.0),
        "mal": losses.matchability_aware_loss(logits, labels, ious, gamma=1.5),
        "ia_bce": losses.iou_aware_bce_loss(logits, labels, ious, alpha=0.25, gamma=2.0),
    }
    for name, expected in published.items():
        options = objective.ClassificationOptions(name=name, eta=0.0)
        found = per_anchor.iou_target_loss(options)(logits, labels, ious)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        explicit = dataclasses.replace(options, gamma=0.5)
        other = per_anchor.iou_target_loss(explicit)(logits, labels, ious)
        assert not np.array_equal(other, expected), name
    assert objective.LocalizationOptions(lambda_=0.0).linear_from == 0.11
    balanced = objective.LocalizationOptions(name="balanced_l1", lambda_=0.0)
    assert (balanced.linear_from, dataclasses.replace(balanced, beta=0.2).linear_from) == (1.0, 0.2)


@pytest.mark.parametrize("arm", defaults.ARMS)
def test_every_option_is_a_key_with_the_same_default(arm):
    config = defaults.get_config(arm)
    options = anchor_detector.losses_of(config.loss, DeltaCodec(tuple(config.anchors.box_weights)))
    eta, lambda_, _ = defaults.ARMS[arm]
    assert (options.classification.eta, options.localization.lambda_) == (eta, lambda_)
    # What an arm does not choose is the same here and there, and every field is a key.
    assert options.classification == objective.ClassificationOptions(eta=eta)
    assert options.localization == objective.LocalizationOptions(
        lambda_=lambda_,
        w_loc=options.localization.w_loc,
        calibration_lambda=options.localization.calibration_lambda,
    )
    for part in ("classification", "localization"):
        fields = {field.name for field in dataclasses.fields(getattr(options, part))}
        # What makes class weights out of counts, before they are an option.
        of_the_data = {"effective_number_beta"} if part == "classification" else set()
        assert set(config.loss[part].keys()) - of_the_data == fields


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classification.name": "fokal"}, "loss.classification.name is 'fokal'; it must be one"),
        ({"classification.isr_p": True}, "loss.classification.isr_p and loss.classification.eta "),
        ({"localization.power": 3.0}, "loss.localization.power is 3.0, but 'smooth_l1' on deltas"),
        ({"normalizer": "none"}, "loss.normalizer is 'none'; it must be one of"),
    ],
)
def test_a_configuration_is_told_by_its_keys(change, words):
    loss = defaults.get_config().loss
    loss.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=re.escape(words)):
        anchor_detector.losses_of(loss, (1.0, 1.0, 1.0, 1.0))
