import jax
import jax.numpy as jnp
import pytest

from ioub_jax.training.compilations import CompilationError, Compilations


def fresh_program():
    @jax.jit
    def counted(x):
        return x + 1

    return counted


def test_a_second_compilation_for_a_canvas_ends_the_training():
    program = fresh_program()
    with Compilations("jit(counted)") as compiled:
        program(jnp.zeros((4, 6)))
        compiled.check(1, (4, 6))
        program(jnp.zeros((4, 6)))
        compiled.check(2, (4, 6))
        program(jnp.zeros((6, 4)))
        compiled.check(3, (6, 4))
        assert compiled.count == 2
        program(jnp.zeros((4, 6), jnp.int32))
        with pytest.raises(CompilationError, match=r"compiled 3 times by step 4, for 2 canvases"):
            compiled.check(4, (4, 6))


def test_only_the_named_program_is_counted_and_only_while_entered():
    program = fresh_program()
    with Compilations("jit(other)") as other, Compilations("jit(counted)") as compiled:
        program(jnp.zeros(3))
    program(jnp.zeros(4))
    assert (other.count, compiled.count) == (0, 1)
