import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import matching
from ioub_jax.data import batching, pipeline
from ioub_jax.devices import placement
from ioub_jax.from_config import data_parts
from ioub_jax.training import steps
from ioub_jax.training.compilations import Compilations
from ioub_jax.training.detector import create_detector, create_trainer
from tests import tiny
from tests.objective.test_training import assert_trained


def first_steps(devices, count):
    """Metrics of the first steps, and the parameters after them."""
    config = tiny.get_config()
    config.runtime.devices = devices
    config.loss.localization.w_loc = 3.0
    # The paper's rate. At ten times that, rounding grows to more than 1e-4 in twenty steps.
    config.schedule.base_learning_rate = 0.01
    detector = create_detector(config, 8)
    trainer = create_trainer(detector)
    state = trainer.create_state()
    source = data_parts.create_source(config.data, "train")
    plan = batching.BatchPlan(source.sizes, 8, 0, config.data.canvases)
    metrics = []
    with pipeline.training_batches(
        source, plan, seed=0, start_step=0, num_steps=count, max_boxes=16
    ) as batches:
        for batch in batches:
            state, values = trainer.train_step(state, *detector.on_devices(batch))
            metrics.append(jax.device_get(values))
    return metrics, jax.device_get(state.params)


@pytest.mark.slow
def test_twenty_steps_agree_on_one_and_eight_devices():
    one, params_one = first_steps(1, 20)
    eight, params_eight = first_steps(8, 20)
    assert one[0]["loss"] != one[-1]["loss"]
    for first, second in zip(one, eight, strict=True):
        for name, value in first.items():
            np.testing.assert_allclose(second[name], value, rtol=1e-4, err_msg=name)
    for first, second in zip(
        jax.tree.leaves(params_one), jax.tree.leaves(params_eight), strict=True
    ):
        # Relative to the largest of the array: some entries are nearly zero.
        assert np.abs(first - second).max() <= 1e-4 * np.abs(first).max() + 1e-6


def test_retinanet_trains():
    config = tiny.get_config("baseline")
    config.loss.classification.isr_p = True
    config.loss.localization.update({"name": "giou", "weight": 2.0, "carl_weight": 1.0})
    config.schedule.update({"name": "constant", "warmup_images": 8 * 8})
    detector = create_detector(config, 8)
    trainer = create_trainer(detector)
    state = trainer.create_state()
    source = data_parts.create_source(config.data, "train")
    plan = batching.BatchPlan(source.sizes, 8, 0, config.data.canvases)
    with pipeline.training_batches(
        source, plan, seed=0, start_step=0, num_steps=1, max_boxes=16
    ) as batches:
        on_devices = detector.on_devices(next(iter(batches)))
    history = []
    # Whoever writes a loop of their own compiles the step once, too.
    with Compilations("jit(train_step)", "Step") as compiled:
        for _ in range(60):
            state, metrics = trainer.train_step(state, *on_devices)
            history.append(jax.device_get(metrics))
        assert compiled.count == 1
    assert_trained({name: np.array([step[name] for step in history]) for name in history[0]})


def roles(ignored=False, **treatments):
    matcher = tiny.get_config().matcher
    matcher.update(treatments)
    batch = {
        # An object, a crowd, a difficult object and an empty slot.
        "boxes": jnp.array(
            [[[0, 0, 9, 9], [20, 20, 52, 52], [40, 0, 56, 16], [0, 0, 0, 0]]], float
        ),
        "labels": jnp.array([[1, 2, 3, -1]]),
        "valid": jnp.array([[True, True, True, False]]),
        "crowd": jnp.array([[False, True, False, False]]),
        "difficult": jnp.array([[False, False, True, False]]),
        "ignored": jnp.array([[False, False, ignored, False]]),
    }
    # One anchor on each of them and one on nothing.
    anchors = (
        jnp.array([[0, 0, 9, 9], [20, 20, 52, 52], [40, 0, 56, 16], [0, 40, 9, 49]], jnp.float32),
    )
    matches, targets = steps.match_batch(batch, anchors, matcher)
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


def test_an_unknown_treatment_is_refused():
    with pytest.raises(ValueError, match=r"matcher.crowd is 'hide'; it must be 'ignore'"):
        roles(crowd="hide")


def test_too_many_devices_are_refused():
    with pytest.raises(ValueError, match=r"runtime.devices is 9, but there are 8 devices"):
        placement.create_mesh(9)
