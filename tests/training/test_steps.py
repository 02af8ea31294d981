import jax
import numpy as np
import pytest

from ioub_jax.data import batching, pipeline
from ioub_jax.devices import placement
from ioub_jax.from_config import data_parts, training_parts
from ioub_jax.training.compilations import Compilations
from tests import tiny
from tests.objective.test_training import assert_trained
from tests.training import one_batch


def first_steps(devices, count):
    """Metrics of the first steps, and the parameters after them."""
    config = tiny.get_config()
    config.runtime.devices = devices
    config.loss.localization.w_loc = 3.0
    # The paper's rate. At ten times that, rounding grows to more than 1e-4 in twenty steps.
    config.schedule.base_learning_rate = 0.01
    detector = training_parts.detector_of(config, 8)
    trainer = training_parts.trainer_of(config, detector)
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


@pytest.mark.slow
def test_retinanet_trains():
    config = tiny.get_config("baseline")
    config.loss.classification.isr_p = True
    config.loss.localization.update({"name": "giou", "weight": 2.0, "carl_weight": 1.0})
    config.schedule.update({"name": "constant", "warmup_images": 8 * 8})
    # Whoever writes a loop of their own compiles the step once, too.
    with Compilations("jit(train_step)", "Step") as compiled:
        metrics = one_batch.train(config, 60)
        assert compiled.count == 1
    assert_trained(metrics)


def test_too_many_devices_are_refused():
    with pytest.raises(ValueError, match=r"^device_count is 9, but there are 8 devices"):
        placement.create_mesh(9)
