"""A word behind a boolean flag, which absl takes for an argument of its own."""

import itertools
from collections.abc import Sequence

from absl import flags

# What somebody may write behind a flag to say yes or no; files of `predict` are not called so.
_YES = frozenset({"true", "yes", "on", "t", "y", "1"})
_NO = frozenset({"false", "no", "off", "f", "n", "0", "none"})


def check(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Refuses `--flag false`, which absl reads as `--flag` and an argument that is called false.

    Args:
      values: the flags, all of them defined.
      arguments: the command line, the program's name at its beginning.

    Raises:
      flags.Error: names the flag and how it is written.
    """
    for argument, word in itertools.pairwise(arguments[1:]):
        if argument == "--":  # nothing behind it is a flag
            return
        name = argument.lstrip("-")
        if argument == name or "=" in name or word.lower() not in _YES | _NO:
            continue
        if _is_boolean(values, name):
            raise flags.IllegalFlagValueError(
                f"{argument} {word}: a boolean flag takes no word behind it, it would be true "
                f"whatever the word is; write --{name}={str(word.lower() in _YES).lower()}"
            )


def _is_boolean(values: flags.FlagValues, name: str) -> bool:
    return name in values and bool(values[name].boolean)
