"""Refusal of a word after a boolean flag, which absl takes for a separate argument."""

import itertools
from collections.abc import Sequence

from absl import flags

# Words that users may write after a flag for yes or no; no image for `predict` has such a name.
_YES = frozenset({"true", "yes", "on", "t", "y", "1"})
_NO = frozenset({"false", "no", "off", "f", "n", "0", "none"})


def check(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Refuses `--flag false`, which absl reads as `--flag` and a separate argument `false`.

    Args:
      values: all flags, defined.
      arguments: the command line, including the program's name.

    Raises:
      flags.Error: there is such a flag; the message names it and says how to write it.
    """
    for argument, word in itertools.pairwise(arguments[1:]):
        if argument == "--":  # no flags follow it
            return
        name = argument.lstrip("-")
        if argument == name or "=" in name or word.lower() not in _YES | _NO:
            continue
        if _is_boolean(values, name):
            raise flags.IllegalFlagValueError(
                f"{argument} {word}: a boolean flag takes no separate value, and would be "
                f"true with any word after it; write --{name}={str(word.lower() in _YES).lower()}"
            )
        if name.startswith("no") and _is_boolean(values, name.removeprefix("no")):
            raise flags.IllegalFlagValueError(
                f"{argument} {word}: a boolean flag takes no separate value; write {argument} "
                f"alone, or --{name.removeprefix('no')}=true"
            )


def _is_boolean(values: flags.FlagValues, name: str) -> bool:
    return name in values and bool(values[name].boolean)
