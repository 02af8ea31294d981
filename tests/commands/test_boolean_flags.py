"""Words behind boolean flags."""

import pytest
from absl import flags
from ml_collections import config_dict, config_flags

from ioub_jax.commands import boolean_flags


def checked(*arguments):
    """The positional arguments, once the flags are parsed and looked at."""
    words = ["command", *arguments]
    values = flags.FlagValues()
    flags.DEFINE_bool("ema", True, "", flag_values=values)
    flags.DEFINE_integer("steps", 1, "", flag_values=values)
    config = config_dict.ConfigDict({"part": {"keep": False, "least": 0}})
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=words)
    remaining = values(words)
    boolean_flags.check(values, words)
    return remaining[1:]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["--ema", "false"], "write --ema=false"),
        (["--ema", "No"], "write --ema=false"),
        (["a.jpg", "-ema", "1", "--steps=2"], "write --ema=true"),
        (["--config.part.keep", "true"], "write --config.part.keep=true"),
        (["--noema", "false"], "write --noema alone, or --ema=true"),
    ],
)
def test_a_word_behind_a_boolean_flag_is_refused(arguments, written):
    with pytest.raises(flags.Error, match=written):
        checked(*arguments)


@pytest.mark.parametrize(
    ("arguments", "remaining"),
    [
        (["--ema=false", "a.jpg"], ["a.jpg"]),
        (["--ema", "a.jpg"], ["a.jpg"]),
        (["--noema", "a.jpg"], ["a.jpg"]),
        (["--steps", "0", "--config.part.least", "1", "a.jpg"], ["a.jpg"]),
        (["--", "--ema", "false"], ["--ema", "false"]),
    ],
)
def test_everything_else_is_as_absl_reads_it(arguments, remaining):
    assert checked(*arguments) == remaining
