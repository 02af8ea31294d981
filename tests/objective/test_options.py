"""Choices that contradict each other are refused in one sentence that names the key."""

import dataclasses
import re

import ml_collections
import pytest

from ioub_jax import objective
from ioub_jax.configs import defaults
from ioub_jax.training import steps


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: objective.ClassificationOptions(name="fokal"), "loss.classification.name is 'fok"),
        (lambda: objective.ClassificationOptions(normalizer_scope="gpu"), "normalizer_scope is"),
        (
            lambda: objective.ClassificationOptions(name="varifocal"),
            "already follows the IoU; set loss.classification.eta to 0",
        ),
        (
            lambda: objective.ClassificationOptions(name="quality_focal", eta=0, isr_p=True),
            "already follows the IoU; set loss.classification.isr_p to False",
        ),
        (
            lambda: objective.ClassificationOptions(isr_p=True),
            "loss.classification.isr_p and loss.classification.eta both weigh",
        ),
        (
            lambda: objective.ClassificationOptions(name="softmax", negatives_per_positive=0),
            "negatives_per_positive is 0; it must be at least 1",
        ),
        (lambda: objective.LocalizationOptions(name="l2"), "loss.localization.name is 'l2'"),
        (
            lambda: objective.LocalizationOptions(power=3.0),
            "loss.localization.power is 3.0, but 'smooth_l1' on deltas has no power",
        ),
        (
            lambda: objective.LocalizationOptions(name="giou", power=0.0),
            "loss.localization.power is 0.0; it must be above 0",
        ),
        (
            lambda: objective.LocalizationOptions(carl_weight=1.0),
            "loss.localization.carl_weight and loss.localization.lambda_ both weigh",
        ),
        (
            lambda: objective.LocalizationOptions(dynamic=True, calibration_lambda=1.5),
            "set loss.localization.calibration_lambda to None",
        ),
        (lambda: objective.ObjectiveOptions(normalizer="none"), "loss.normalizer is 'none'"),
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


@pytest.mark.parametrize("arm", defaults.ARMS)
def test_every_option_is_a_key_with_the_same_default(arm):
    config = defaults.get_config(arm)
    options = steps.objective_options(config)
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
        assert set(config.loss[part].keys()) == fields


@pytest.mark.parametrize(("model", "loss"), [("retinanet", "softmax"), ("ssd", "focal")])
def test_a_softmax_is_for_ssd(model, loss):
    config = ml_collections.ConfigDict(defaults.get_config())
    config.model.name = model
    config.loss.classification.name = loss
    with pytest.raises(ValueError, match=f"name is '{loss}', but model.name is '{model}'"):
        steps.objective_options(config)
