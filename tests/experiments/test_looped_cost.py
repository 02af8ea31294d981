import jax
import jax.numpy as jnp

from experiments.benchmark.looped_cost import looped_cost


def test_every_turn_of_a_loop_counts():
    matrix = jax.ShapeDtypeStruct((500, 500), jnp.float32)
    # A product of 500 x 500 is 2 * 500^3 = .25 GFLOP.
    once = looped_cost(lambda x: x @ x, matrix)
    assert once["GFLOP"] == 0.25

    def eight(x):
        return jax.lax.scan(lambda y, _: (y @ x, None), x, None, length=8, unroll=2)[0]

    assert looped_cost(eight, matrix)["GFLOP"] == 2.0
    # Within each other, too: three times eight.
    nested = looped_cost(lambda x: jax.lax.map(lambda _: eight(x), jnp.zeros(3)), matrix)
    assert nested["GFLOP"] == 6.0

    def until(x, count):
        return jax.lax.fori_loop(0, count, lambda _, y: y @ x, x)

    count = jax.ShapeDtypeStruct((), jnp.int32)
    assert looped_cost(until, matrix, count, turns=5)["GFLOP"] == 1.25
