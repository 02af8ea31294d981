import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.training.train_state import TrainState
from ioub_jax.workdirs import checkpoints


def state_of(step, devices=8, width=3):
    params = {
        "backbone": {"stem": {"kernel": jnp.arange(float(width)) + step}},
        "head": jnp.ones(2),
    }
    state = TrainState(
        step=jnp.int32(step),
        params=params,
        batch_stats={"backbone": {"stem": {"mean": jnp.full(width, float(step))}}},
        opt_state=(jax.tree.map(jnp.zeros_like, params), jnp.int32(step)),
        w_loc=jnp.float32(2.5),
        moving_average=jnp.float32(100.0),
    )
    return jax.device_put(state, placement.replicated(placement.create_mesh(devices)))


def with_ema(state):
    return state.replace(ema=jax.tree.map(lambda x: x + 1.0, state.variables))


def equal(first, second):
    return jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), first, second))


def test_a_checkpoint_of_eight_devices_restores_on_one(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save_last(state_of(7), {"seed": 0})
    saved.close()
    one = placement.replicated(placement.create_mesh(1))
    template = jax.eval_shape(lambda: state_of(0))
    restored = checkpoints.resume(tmp_path, template, one)
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored)} == {1}
    assert equal(jax.device_get(restored), jax.device_get(state_of(7)))
    variables = checkpoints.read_variables(tmp_path, "last", one)
    np.testing.assert_array_equal(variables["params"]["backbone"]["stem"]["kernel"], [7, 8, 9])


def test_variables_are_the_average_unless_told_otherwise(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save_last(with_ema(state_of(7)), {"seed": 0})
    saved.close()
    one = placement.replicated(placement.create_mesh(1))
    template = jax.eval_shape(lambda: with_ema(state_of(0)))
    restored = checkpoints.resume(tmp_path, template, one)
    assert equal(jax.device_get(restored), jax.device_get(with_ema(state_of(7))))
    kernels = [
        checkpoints.read_variables(tmp_path, "last", one, ema=ema)["params"]["backbone"]["stem"]
        for ema in (True, False)
    ]
    np.testing.assert_array_equal([x["kernel"] for x in kernels], [[8, 9, 10], [7, 8, 9]])


def test_the_last_and_the_best_are_kept(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path)
    for step, ap in ((1, 0.2), (2, 0.5), (3, 0.5), (4, 0.4)):
        saved.save_last(state_of(step), {})
        saved.save_best(state_of(step), {}, ap)
    saved.close()
    folders = {f"{path.parent.name}/{path.name}" for path in tmp_path.glob("checkpoints/*/*")}
    assert folders == {"last/3", "last/4", "best/2"}
    again = checkpoints.Checkpoints(tmp_path)
    # The best survives a restart: .5 at step 2 is not replaced by .3, but by .6.
    again.save_best(state_of(5), {}, 0.3)
    assert again.best_ap() == 0.5
    again.save_best(state_of(6), {}, 0.6)
    assert again.best_ap() == 0.6
    again.close()


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save_last(state_of(3), {})
    saved.close()
    left = tmp_path / "checkpoints" / "last" / "4.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "half").write_text("written")
    assert checkpoints.to_read(tmp_path, "last").step == 3
    again = checkpoints.Checkpoints(tmp_path)
    # It is removed in the background, at the latest before the next save, also of that step.
    again.save_last(state_of(4), {})
    again.close()
    assert not left.exists()
    assert {path.name for path in left.parent.iterdir()} == {"3", "4"}


def test_reading_warns_of_nothing_and_writes_nothing(tmp_path, caplog):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save_last(state_of(7), {"seed": 0})
    saved.close()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))}
    one = placement.replicated(placement.create_mesh(1))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert checkpoints.to_read(tmp_path, "last").step == 7
        checkpoints.read_variables(tmp_path, "last", one)
        template = jax.eval_shape(lambda: state_of(0))
        checkpoints.resume(tmp_path, template, one)
    assert caplog.messages == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))} == before


def test_a_missing_checkpoint_is_one_sentence(tmp_path):
    everywhere = placement.replicated(placement.create_mesh(1))
    with pytest.raises(ConfigError, match=r"has no 'best' checkpoint; let ioub train reach"):
        checkpoints.read_variables(tmp_path, "best", everywhere)


def test_a_damaged_checkpoint_is_told_in_a_sentence(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save_last(state_of(7), {})
    saved.close()
    assert checkpoints.to_read(tmp_path, "last").step == 7
    for path in (tmp_path / "checkpoints" / "last" / "7" / "state").iterdir():
        if path.is_file():
            path.unlink()
    one = placement.replicated(placement.create_mesh(1))
    with pytest.raises(
        ConfigError, match=r"The 'last' checkpoint of step 7 \(.* is damaged, or of"
    ):
        checkpoints.read_variables(tmp_path, "last", one)
