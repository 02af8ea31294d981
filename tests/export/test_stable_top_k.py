import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.export import stable_top_k as ranking


def backwards(values, count, top_k=jax.lax.top_k):
    """As `jax.lax.top_k`, but of equal numbers the higher index first."""
    highest, indices = top_k(values[..., ::-1], count)
    return highest, values.shape[-1] - 1 - indices


@pytest.mark.parametrize(("number", "count"), [(6, 4), (6, 6), (6, 1), (40, 13)])
def test_of_equal_numbers_the_lower_index_is_first_whatever_a_runtime_does(
    number, count, monkeypatch
):
    generator = np.random.default_rng(number + count)
    few = generator.integers(0, 3, (2, number)).astype(np.float32)
    values = np.stack([few, np.where(few > 1.0, -np.inf, few), np.zeros_like(few)])
    expected = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    assert not (backwards(jnp.asarray(values), count)[1] == expected).all()
    monkeypatch.setattr(ranking.jax.lax, "top_k", backwards)
    highest, indices = ranking.stable_top_k(jnp.asarray(values), count)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(highest, np.take_along_axis(values, expected, axis=-1))
    assert indices.dtype == jnp.int32
