import pytest
from absl import flags

from ioub_jax.commands import score_flags


def parsed(*arguments):
    values = flags.FlagValues()
    flags.DEFINE(score_flags._ScoreParser(), "score", None, "", flag_values=values)
    values(["program", *arguments])
    return values.score


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), None), (("--score=best",), "best"), (("--score=0.25",), 0.25), (("--score=1",), 1.0)],
)
def test_a_number_or_the_best(arguments, expected):
    assert parsed(*arguments) == expected


@pytest.mark.parametrize("text", ["1.5", "-0.1", "nan", "high", ""])
def test_anything_else_is_refused(text):
    with pytest.raises(flags.IllegalFlagValueError, match="a number from 0 to 1, or 'best'"):
        parsed(f"--score={text}")


def test_what_is_drawn():
    assert score_flags.drawn(0.1, is_measured=True) == 0.1
    assert score_flags.drawn(None, is_measured=True) == "best"
    assert score_flags.drawn(None, is_measured=False) == 0.4
    assert score_flags.describe(0.25, None) == "a score of 0.25"
    assert score_flags.describe("best", "the best") == "the best"
