"""What a loss carries from step to step: in the state and in checkpoints, where it has any."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.devices import placement
from ioub_jax.devices.placement import abstract_batch
from ioub_jax.from_config import training_parts
from ioub_jax.training import train_state
from ioub_jax.workdirs import checkpoints
from tests import tiny


@pytest.mark.parametrize(
    ("name", "state"), [("wiou_v3", {"wiou_mean"}), ("mpdiou", set()), ("nwd", set())]
)
def test_the_step_takes_and_gives_the_same_state(name, state):
    """Of RetinaNet, traced."""
    config = tiny.get_config("baseline")
    config.loss.localization.name = name
    detector = training_parts.detector_of(config, 8)
    trainer = training_parts.trainer_of(config, detector)
    canvas = config.data.canvases[0]
    batch = abstract_batch(config.batch_size, canvas, config.data.max_boxes)
    anchors = jax.eval_shape(lambda: detector.anchors_of(canvas))
    after, _ = jax.eval_shape(trainer.train_step, trainer.abstract_state, batch, anchors)
    shapes = [
        jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (trainer.abstract_state, after)
    ]
    assert shapes[0] == shapes[1]
    assert after.loss_state.keys() == state


class EarlierState(flax.struct.PyTreeNode):
    """The state of a version that had no `loss_state`."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    w_loc: jax.Array
    moving_average: jax.Array
    ema: Any


def parts():
    return {
        "step": jnp.int32(3),
        "params": {"kernel": jnp.arange(3.0)},
        "batch_stats": {},
        "opt_state": (),
        "w_loc": jnp.float32(2.0),
        "moving_average": jnp.float32(50.0),
        "ema": {},
    }


@pytest.mark.parametrize(
    ("saved", "loss_state"),
    [
        (lambda: EarlierState(**parts()), {}),
        (
            lambda: train_state.TrainState(**parts(), loss_state={"wiou_mean": jnp.float32(0.4)}),
            {"wiou_mean": 0.4},
        ),
    ],
)
def test_checkpoints(tmp_path, saved, loss_state):
    everywhere = placement.replicated(placement.create_mesh(1))
    writer = checkpoints.Checkpoints(tmp_path)
    writer.save_last(jax.device_put(saved(), everywhere), {})
    writer.close()
    wanted = {name: jnp.float32(0.0) for name in loss_state}
    template = jax.eval_shape(lambda: train_state.TrainState(**parts(), loss_state=wanted))
    state = checkpoints.resume(tmp_path, template, everywhere)
    np.testing.assert_array_equal(state.params["kernel"], [0, 1, 2])
    assert state.loss_state.keys() == loss_state.keys()
    for name, value in loss_state.items():
        np.testing.assert_allclose(state.loss_state[name], value)
