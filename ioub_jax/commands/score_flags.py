"""Flags for a lowest score: a number, or `best` for the score of each class measured by a run.

This module does not import jax, since a command defines its flags before it imports other modules.
"""

from typing import Any

from absl import flags

BEST = "best"


class _ScoreParser(flags.ArgumentParser):
    """Parser of a number from 0 to 1, or `best`."""

    syntactic_help = "a number from 0 to 1, or 'best' for the measured scores"

    def parse(self, argument: Any) -> float | str:
        """A score, or `BEST`."""
        if argument == BEST:
            return BEST
        try:
            score = float(argument)
        except (TypeError, ValueError):
            score = -1.0
        if not 0 <= score <= 1:
            raise ValueError(f"it must be {self.syntactic_help}")
        return score


def define(name: str, default: float | None, words: str) -> flags.FlagHolder:
    """A flag for a lowest score.

    Args:
      name: name of the flag.
      default: default value of the flag.
      words: help text of the flag.
    """
    return flags.DEFINE(_ScoreParser(), name, default, words)


def drawn(given: Any, *, is_measured: bool) -> Any:
    """The lowest score to draw: the given one, or else `BEST` if measured, or else `UNMEASURED`."""
    if given is not None:
        return given
    from ioub_jax.evaluation.thresholds import UNMEASURED  # with numpy

    return BEST if is_measured else UNMEASURED


def describe(score: Any, measured: object) -> str:
    """A lowest score, as part of a sentence.

    Args:
      score: a number, or `BEST`.
      measured: the measured best scores.
    """
    return str(measured) if score == BEST else f"a score of {score:g}"
