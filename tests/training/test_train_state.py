"""The moving average of the weights."""

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.training import train_state


def state_with(step, value, average):
    return train_state.TrainState(
        step=jnp.int32(step),
        params={"kernel": jnp.full(2, value), "frozen": jnp.float32(0.3)},
        batch_stats={"mean": jnp.float32(10.0 * value)},
        opt_state=(),
        w_loc=jnp.float32(1.0),
        moving_average=jnp.float32(100.0),
        ema=average,
    )


def test_the_average_starts_with_the_first_step_and_warms_up():
    average = jax.tree.map(jnp.zeros_like, state_with(0, 0.0, {}).variables)
    values = []
    for step, value in enumerate((2.0, 4.0, 6.0), start=1):
        average = train_state.with_average(state_with(step, value, average), 0.15).ema
        values.append(float(average["params"]["kernel"][0]))
    # d = 0: 2. d = 1 / 10: .1 * 2 + .9 * 4 = 3.8. d = min(.15, 2 / 11): .15 * 3.8 + .85 * 6 = 5.67.
    np.testing.assert_allclose(values, [2.0, 3.8, 5.67], rtol=1e-6)
    np.testing.assert_allclose(average["batch_stats"]["mean"], 56.7, rtol=1e-6)
    assert average["params"]["frozen"] == jnp.float32(0.3)
