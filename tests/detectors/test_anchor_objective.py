"""Which boxes anchors learn, and the objective as a callable of a detector."""

import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import matching, objective
from ioub_jax.detectors import AnchorObjective, Carried, MatchingOptions
from ioub_jax.models import Predictions

# One anchor on each of three boxes, and one on nothing.
ANCHORS = (
    jnp.array([[0, 0, 9, 9], [20, 20, 52, 52], [40, 0, 56, 16], [0, 40, 9, 49]], jnp.float32),
)


def batch_of(ignored=False):
    """An object, a crowd, a difficult object and an empty slot."""
    return {
        "boxes": jnp.array(
            [[[0, 0, 9, 9], [20, 20, 52, 52], [40, 0, 56, 16], [0, 0, 0, 0]]], float
        ),
        "labels": jnp.array([[1, 2, 3, -1]]),
        "valid": jnp.array([[True, True, True, False]]),
        "crowd": jnp.array([[False, True, False, False]]),
        "difficult": jnp.array([[False, False, True, False]]),
        "ignored": jnp.array([[False, False, ignored, False]]),
    }


def create(**treatments):
    losses = objective.ObjectiveOptions(localization=objective.LocalizationOptions(w_loc=1.0))
    return AnchorObjective(MatchingOptions(**treatments), losses)


def roles(ignored=False, **treatments):
    matches, targets = create(**treatments).match(batch_of(ignored), ANCHORS)
    assert isinstance(matches, matching.Matches)
    np.testing.assert_array_equal(targets[0, 0], [0, 0, 9, 9])
    return matches.labels[0].tolist()


@pytest.mark.parametrize(
    ("treatments", "labels"),
    [
        ({"crowd": "ignore", "difficult": "keep"}, [1, -2, 3, -1]),
        ({"crowd": "drop", "difficult": "ignore"}, [1, -1, -2, -1]),
        ({"crowd": "keep", "difficult": "drop"}, [1, 2, -1, -1]),
    ],
)
def test_crowds_and_difficult_objects_are_ignored_dropped_or_kept(treatments, labels):
    assert roles(**treatments) == labels


def test_a_region_to_ignore_is_ignored_whatever_becomes_of_crowds():
    # The third box is one: the anchor on it is neither its object nor background.
    assert roles(ignored=True, crowd="keep", difficult="keep") == [1, 2, -2, -1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crowd": "hide"}, "crowd is 'hide'; it must be 'ignore', 'drop' or 'keep'"),
        ({"difficult": ""}, "difficult is ''; it must be"),
        ({"foreground_iou": 0.3}, "background_iou=0.4 and foreground_iou=0.3 must satisfy"),
        ({"low_quality": "all"}, "low_quality='all' is not a rule"),
        ({"ignore_iof": 0.0}, "ignore_iof=0.0 must be above 0"),
    ],
)
def test_rules_that_do_not_exist_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        MatchingOptions(**options)


def predictions():
    rng = np.random.default_rng(0)
    logits, deltas = rng.normal(size=(1, 2, 2, 4)), rng.normal(size=(1, 2, 2, 4)) / 10
    return Predictions((jnp.asarray(logits, jnp.float32),), (jnp.asarray(deltas, jnp.float32),))


def test_it_is_the_objective_of_its_matches():
    of_anchors = create()
    carried = Carried(jnp.float32(2.0), jnp.float32(50.0))
    found = of_anchors(predictions(), batch_of(), ANCHORS, carried)
    matches, targets = of_anchors.match(batch_of(), ANCHORS)
    expected = objective.detection_objective(
        *predictions()[:2],
        ANCHORS,
        matches,
        targets,
        w_loc=carried.w_loc,
        moving_average=carried.moving_average,
        options=of_anchors.losses,
    )
    assert float(found.loss) == float(expected.loss)
    # Two positives: .9 * 50 + .1 * 2.
    assert float(found.moving_average) == pytest.approx(45.2)


def test_an_inspection_shows_what_is_weighed():
    seen = create(difficult="drop").inspect(predictions().per_anchor(), batch_of(), ANCHORS)
    np.testing.assert_array_equal(seen.positive, [[True, False, False, False]])
    assert seen.boxes.shape == (1, 4, 4)
    assert 0 < float(seen.ious[0, 0]) < 1
    # The one positive of the image has the whole weight, whatever its IoU.
    np.testing.assert_allclose(seen.weights, 1.0, rtol=1e-6)
