"""Which errors are about arguments, and what is a name in them."""

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import below, naming

KEYS = below("data.resize", ("mode", "scales")) | {"resize": "data.resize"}


def told(error):
    with pytest.raises(ValueError) as caught, naming(KEYS):
        raise error
    return caught.value


def test_names_become_keys_and_values_stay():
    sentence = (
        "scales is ('mode', \"scales\"); set resize.mode, or mode, not scales_of or re/scales."
    )
    error = told(ValueError(sentence))
    assert type(error) is ConfigError
    assert str(error) == (
        "data.resize.scales is ('mode', \"scales\"); set data.resize.mode, or data.resize.mode, "
        "not scales_of or re/scales."
    )


def test_an_error_of_the_data_stays_one():
    error = told(DataError("mode is bad.", "folder"))
    assert type(error) is DataError
    assert (str(error), error.kind) == ("data.resize.mode is bad.", "folder")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Nothing about a mode."),
        ValueError("modes are many"),
        DataError("mode: there is no such folder.", "folder"),
        ConfigError("mode is told already."),
    ],
)
def test_other_errors_pass_as_they_are(error):
    assert told(error) is error


def test_what_is_no_value_error_passes():
    with pytest.raises(KeyError), naming(KEYS):
        raise KeyError("mode is")
