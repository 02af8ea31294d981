"""One case after the other, in a process that may be lost: what each led to."""

import dataclasses
import logging
import multiprocessing.connection
import os
import pathlib
import random
import resource
import shutil
import traceback
import warnings
from collections.abc import Iterator, Sequence

from experiments.fuzz import cases, mutations, readers
from experiments.fuzz.cases import Files
from experiments.fuzz.places import place_of
from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError
from ioub_jax.printing import printable_lines

#: Of a case; some changes double what is there.
_MOST_BYTES = 200_000
#: What a process may have at most: an image may claim any size.
_MOST_MEMORY = 6 << 30


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What reading a case led to.

    Attributes:
      reader: a key of `readers.READERS`.
      kind: 'read', 'refused' or 'finding'.
      place: what tells it from other outcomes: what was read, or where it was refused.
      words: the sentence, or the trace of a finding; empty of what was read.
    """

    reader: str
    kind: str
    place: str
    words: str = ""

    @property
    def signature(self) -> tuple[str, str, str]:
        """Equal of two cases of which one alone is interesting."""
        return self.reader, self.kind, self.place


def attempt(reader: str, folder: pathlib.Path) -> Outcome:
    """Reads the files of a folder.

    Args:
      reader: a key of `readers.READERS`.
      folder: of the case.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Outcome(reader, "read", readers.READERS[reader].read(folder))
    except (DataError, ConfigError) as error:
        fault = _fault_of(str(error))
        if not fault:
            return Outcome(reader, "refused", place_of(error), str(error))
        return Outcome(reader, "finding", f"{fault} {place_of(error)}", str(error))
    except Exception as error:
        place = f"{type(error).__name__} {place_of(error)}"
        return Outcome(reader, "finding", place, traceback.format_exc())


def _fault_of(sentence: str) -> str:
    """Why a text, as commands print it, is not one clear sentence; empty where it is."""
    sentence = printable_lines(sentence)
    if not sentence.strip():
        return "nothing is said"
    if "\n" in sentence or not sentence.isprintable():
        return "several lines or signs that do not print"
    return "too long" if len(sentence) > 3000 else ""


class Trials:
    """Cases of some readers: those of a corpus, then ever new ones.

    Args:
      names: of the readers.
      corpus: the folder with a folder for each reader, with one for each case.
      scratch: the folder for the case at hand, which is still there where the process is lost.
      seed: of what is random.
    """

    def __init__(
        self, names: Sequence[str], corpus: pathlib.Path, scratch: pathlib.Path, seed: int
    ) -> None:
        self._names, self._corpus, self._scratch = tuple(names), corpus, scratch
        self._rng = random.Random(seed)
        self._known: dict[str, list[Files]] = {name: [] for name in names}
        self._seen: set[tuple[str, str, str]] = set()
        self._count = 0

    def replay(self) -> Iterator[Outcome]:
        """Reads what is in the corpus, and the valid files; none of these may be refused."""
        for name in self._names:
            for files in readers.READERS[name].seeds():
                outcome = self._try(name, files)
                if outcome.kind != "read":
                    outcome = dataclasses.replace(outcome, kind="finding")
                yield outcome
            for folder in sorted((self._corpus / name).glob("*")):
                yield self._try(name, cases.read(folder))

    def step(self) -> Outcome:
        """Changes a case and reads it; keeps it where it led to something new."""
        name = self._rng.choice(self._names)
        known = self._known[name]
        files = mutations.mutate(self._rng.choice(known), self._rng, known)
        while sum(map(len, files.values())) > _MOST_BYTES:
            files = mutations.mutate(self._rng.choice(known), self._rng, known)
        is_new = len(self._seen)
        outcome = self._try(name, files)
        if len(self._seen) > is_new and outcome.kind != "finding":
            cases.write(self._corpus / name / cases.name_of(files), files)
        return outcome

    def _try(self, name: str, files: Files) -> Outcome:
        # Another folder each time: what is remembered of a path is not of this case.
        self._count += 1
        folder = self._scratch / f"{name}_{self._count}"
        cases.write(folder, files)
        outcome = attempt(name, folder)
        if outcome.signature not in self._seen and outcome.kind != "finding":
            self._known[name].append(files)
        if outcome.kind != "finding" or outcome.signature in self._seen:
            shutil.rmtree(folder)
        else:
            folder.rename(self._scratch / f"finding_{name}_{cases.name_of(files)}")
        self._seen.add(outcome.signature)
        return outcome


def work(
    connection: multiprocessing.connection.Connection,
    names: Sequence[str],
    corpus: pathlib.Path,
    scratch: pathlib.Path,
    seed: int,
) -> None:
    """Sends the outcome of one case after the other, for ever; the main of a process."""
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where OpenCV's libraries tell of broken images
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    trials = Trials(names, corpus, scratch, seed)
    for outcome in trials.replay():
        connection.send(outcome)
    while True:
        connection.send(trials.step())
