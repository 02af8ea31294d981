"""Reads valid files of every format with random changes, for some minutes.

python -m experiments.fuzz --minutes=10 --corpus=runs/fuzz
python -m experiments.fuzz --minutes=1 --readers=coco,image --seed=7

Only two outcomes are allowed: the files are read, or one sentence says what is wrong with them.
Files with a new outcome are added to the corpus, which the next call begins with. Other outcomes
are findings and kept in its folder `findings`, each with its files and its trace. The counts are
printed as JSON; the exit code is 1 if there is a finding.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line

_MINUTES = flags.DEFINE_float("minutes", 60.0, "Minutes to run.", lower_bound=0.0)
_CORPUS = flags.DEFINE_string("corpus", "runs/fuzz", "The folder of the corpus.")
_READERS = flags.DEFINE_list("readers", None, "The formats to read; by default all.")
_SEED = flags.DEFINE_integer(
    "seed", None, "Seed of the random changes; by default, a new one each time."
)

if __name__ == "__main__":
    command_line.parse_flags()

from experiments.fuzz import watch
from experiments.fuzz.readers import READERS
from ioub_jax.errors import ConfigError


def names() -> list[str]:
    """The requested readers; raises `ConfigError` if one of them does not exist."""
    chosen = _READERS.value or list(READERS)
    if unknown := sorted(set(chosen) - set(READERS)):
        raise ConfigError(f"There is no reader {unknown[0]!r}; there are {', '.join(READERS)}.")
    return list(chosen)


def main() -> None:
    """Reads changed files and prints the counts."""
    found = watch.fuzz(names(), pathlib.Path(_CORPUS.value), 60 * _MINUTES.value, _SEED.value)
    print(json.dumps(found, indent=2))
    if found["findings"]:
        sys.exit(command_line.USER_ERROR)


def dry_run() -> Sequence[str]:
    """Lines that describe what would be read."""
    return [f"Reads {', '.join(names())} for {_MINUTES.value:g} minutes, corpus {_CORPUS.value}."]


if __name__ == "__main__":
    command_line.run(main, dry_run)
