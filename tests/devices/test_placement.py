import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ioub_jax.devices import placement


def test_each_device_goes_on_until_its_own_images_are_done():
    def halved_to(images, least):
        def any_is_more(state):
            return jnp.any(state[0] > least)

        def halve(state):
            return state[0] / 2.0, state[1] + 1

        values, turns = jax.lax.while_loop(
            any_is_more, halve, (images["values"], jnp.zeros_like(images["values"], jnp.int32))
        )
        return {"values": values, "turns": turns, "best": jax.lax.top_k(images["values"], 1)[1]}

    # Of two images a device: the first from 8 to 1 in three turns, the second from 2 in one.
    images = {"values": np.float32([[8, 1], [2, 1], [2, 1], [1, 2]])}
    alone = jax.jit(placement.on_each_device(halved_to, placement.create_mesh(1)))
    assert alone(images, 1.0)["turns"].tolist() == [[3, 3]] * 4

    mesh = placement.create_mesh(2)
    split = NamedSharding(mesh, PartitionSpec("data"))
    shared = jax.jit(placement.on_each_device(halved_to, mesh))
    found = shared(jax.device_put(images, split), 1.0)
    assert found["turns"].tolist() == [[3, 3], [3, 3], [1, 1], [1, 1]]
    assert found["values"].tolist() == [[1, 0.125], [0.25, 0.125], [1, 0.5], [0.5, 1]]
    assert found["best"].tolist() == [[0], [0], [0], [1]]
    assert found["best"].sharding == split
    compiled = shared.lower(jax.device_put(images, split), 1.0).compile().as_text()
    assert not re.search(r"all-reduce|all-gather|all-to-all|collective-permute", compiled)
