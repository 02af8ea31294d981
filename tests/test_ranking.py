import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import ranking


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_highest_are_the_same_by_sort_and_by_top_k(dtype):
    few = [-np.inf, -1.0, -0.0, 0.0, 0.5, np.inf]
    values = jnp.asarray(np.random.default_rng(0).choice(few, (2, 3, 50)), dtype)
    for count in (7, 50):
        by_sort, by_top_k = (
            jax.jit(function, static_argnums=1)(values, count)
            for function in (ranking._highest_by_sort, ranking._highest_by_top_k)
        )
        assert by_top_k.dtype == jnp.int32
        np.testing.assert_array_equal(by_sort, by_top_k)
