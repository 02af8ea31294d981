import logging
import re

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ioub_jax.training.compilations import CompilationError, Compilations


def fresh_program():
    @jax.jit
    def counted(x):
        return x + 1

    return counted


def test_a_second_compilation_for_a_canvas_ends_the_training():
    program = fresh_program()
    with Compilations("jit(counted)", "Step") as compiled:
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
    with (
        Compilations("jit(other)", "Other") as other,
        Compilations("jit(counted)", "Step") as compiled,
    ):
        program(jnp.zeros(3))
    program(jnp.zeros(4))
    assert (other.count, compiled.count) == (0, 1)


@pytest.fixture
def kept_programs(tmp_path):
    """Lets programs be kept in a folder, however little they take to compile."""
    before = {
        name: jax.config.values[name]
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def told_of(caplog):
    """What is told of a new process's first call; of the programs here are two."""
    caplog.clear()
    with caplog.at_level(logging.INFO), Compilations("jit(counted)", "Step"):
        fresh_program()(jnp.zeros(5))
        jax.jit(lambda x: x * 3)(jnp.zeros(5))
    return caplog.messages


def test_what_a_step_takes_is_told_and_whether_it_was_read_or_is_kept(kept_programs, caplog):
    [compiled] = told_of(caplog)
    assert re.fullmatch(r"Step compiled in \d\.\d s, kept for the next start\.", compiled)
    [read] = told_of(caplog)
    assert re.fullmatch(r"Step read from the cache of compiled programs in \d\.\d s\.", read)


def test_a_step_that_is_not_kept_is_not_said_to_be(caplog):
    name = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[name]
    jax.config.update(name, 1000.0)
    try:
        [compiled] = told_of(caplog)
    finally:
        jax.config.update(name, before)
    assert re.fullmatch(r"Step compiled in \d\.\d s\.", compiled)
