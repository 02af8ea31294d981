import numpy as np
import pytest

from ioub_jax.weights import WeightsError, mapping

TEMPLATE = {
    "params": {"conv": {"kernel": np.zeros((3, 2, 4, 5)), "bias": np.zeros(5)}},
    "batch_stats": {"norm": {"mean": np.zeros(5)}},
}


def torch_key(path):
    return ".".join(path)


def state_dict(**changes):
    kernel = np.arange(120.0).reshape(5, 4, 3, 2)  # out, in, height, width
    values = {"conv.kernel": kernel, "conv.bias": np.ones(5), "norm.mean": np.full(5, 2.0)}
    values |= {"norm.num_batches_tracked": np.array(7), "fc.weight": np.zeros((9, 5))}
    return {key: value for key, value in (values | changes).items() if value is not None}


def fill(values):
    return mapping.fill(
        TEMPLATE, values, torch_key, ignored=(r"fc\.",), name="file.pth", architecture="toy"
    )


def test_kernels_change_their_order_of_axes_and_everything_becomes_float32():
    values = state_dict()
    filled = fill(values)
    kernel = filled["params"]["conv"]["kernel"]
    assert kernel.shape == (3, 2, 4, 5)
    # Height 2, width 1, input 3, output 4 is the last number in either order.
    assert kernel[2, 1, 3, 4] == values["conv.kernel"][4, 3, 2, 1] == 119.0
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(filled["params"]["conv"]["bias"], np.ones(5))
    np.testing.assert_array_equal(filled["batch_stats"]["norm"]["mean"], np.full(5, 2.0))


def test_every_key_that_does_not_fit_is_listed():
    values = state_dict(**{"conv.bias": None, "norm.mean": np.zeros(6), "extra.weight": np.ones(1)})
    with pytest.raises(WeightsError) as error:
        fill(values)
    message = str(error.value)
    assert message.startswith("file.pth does not have the weights of toy; give the file")
    assert "missing: conv.bias;" in message
    assert "unexpected: extra.weight;" in message
    assert "norm.mean (6,) instead of (5,)" in message
    assert "fc.weight" not in message and "num_batches_tracked" not in message


def test_of_many_keys_the_first_are_named():
    many = {f"extra.{i}": np.ones(1) for i in range(7)}
    with pytest.raises(WeightsError) as error:
        fill(state_dict(**many))
    listed = ", ".join(f"extra.{i}" for i in range(5))
    assert str(error.value).endswith(f" Keys unexpected: {listed} and 2 more.")
