import jax
import jax.numpy as jnp
import pytest

from ioub_jax import building
from ioub_jax.devices import self_test
from ioub_jax.errors import ConfigError
from ioub_jax.models import convolutions
from tests import tiny

DEVICE = jax.devices()[0]


def wrong(what):
    """A convolution that is wrong in one of its three results."""
    right = convolutions.spatial_convolution

    @jax.custom_vjp
    def convolve(x, kernel):
        return right(x, kernel, stride=1, padding="symmetric") * (2 if what == "result" else 1)

    def backward(kept, gradient):
        by_x, by_kernel = jax.vjp(convolve_right, *kept)[1](gradient)
        if what == "kernel":  # rows of the kernel exchanged: as large as the right one
            by_kernel = by_kernel[::-1]
        return (by_x * jnp.nan if what == "input" else by_x), by_kernel

    def convolve_right(x, kernel):
        return right(x, kernel, stride=1, padding="symmetric")

    convolve.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), backward)
    return lambda x, kernel, **_: convolve(x, kernel)


@pytest.fixture
def fresh():
    """What is compiled of other convolutions is forgotten, before and after."""
    self_test._by_jax.clear_cache()
    yield
    self_test._by_jax.clear_cache()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_this_machine_computes_convolutions(fresh, dtype):
    self_test.check_convolution(jnp.dtype(dtype), DEVICE)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("result", "computes a convolution in bfloat16 wrongly on this cpu .it is off by 100%"),
        (
            "input",
            "computes the gradient of a convolution with respect to its input in bfloat16 wrongly",
        ),
        (
            "kernel",
            "computes the gradient of a convolution with respect to its kernel in bfloat16 wrongly",
        ),
    ],
)
def test_wrong_numbers_are_a_sentence(fresh, monkeypatch, what, words):
    monkeypatch.setattr(convolutions, "spatial_convolution", wrong(what))
    with pytest.raises(ConfigError, match=f"{words}.*; set --config.model.dtype=float32, or"):
        self_test.check_convolution(jnp.bfloat16, DEVICE)


def test_only_a_training_in_bfloat16_is_refused(monkeypatch):
    computed = self_test._by_jax
    key = "the gradient of a convolution with respect to its kernel"
    monkeypatch.setattr(
        self_test, "_by_jax", lambda **given: computed(**given) | {key: -given["kernel"]}
    )
    config = tiny.get_config()
    building.build(config)
    config.model.dtype = "bfloat16"
    with pytest.raises(ConfigError, match="with respect to its kernel in bfloat16 wrongly"):
        building.build(config)
