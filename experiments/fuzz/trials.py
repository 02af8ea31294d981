"""Cases read one after the other, in a process that may be lost, and their outcomes."""

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
from ioub_jax.errors import UserError
from ioub_jax.printing import printable_lines

#: The maximum size of a case; some changes double it.
_MOST_BYTES = 200_000
#: The memory limit of a process: an image may claim any size.
_MOST_MEMORY = 6 << 30


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcome of reading a case.

    Attributes:
      reader: a key of `readers.READERS`.
      kind: 'read', 'refused' or 'finding'.
      place: a text that distinguishes outcomes: what was read, or where the case was refused.
      words: the message, or the trace of a finding; empty if the case was read.
    """

    reader: str
    kind: str
    place: str
    words: str = ""

    @property
    def signature(self) -> tuple[str, str, str]:
        """Equal for two cases if only one of them is interesting."""
        return self.reader, self.kind, self.place


def attempt(reader: str, folder: pathlib.Path) -> Outcome:
    """Reads the files of a folder.

    Args:
      reader: a key of `readers.READERS`.
      folder: the folder of the case.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Outcome(reader, "read", readers.READERS[reader].read(folder))
    except UserError as error:
        fault = _fault_of(str(error))
        if not fault:
            return Outcome(reader, "refused", place_of(error), str(error))
        return Outcome(reader, "finding", f"{fault} {place_of(error)}", str(error))
    except Exception as error:
        place = f"{type(error).__name__} {place_of(error)}"
        return Outcome(reader, "finding", place, traceback.format_exc())


def _fault_of(sentence: str) -> str:
    """Returns why a message, as commands print it, is not one clear sentence; empty if it is."""
    sentence = printable_lines(sentence)
    if not sentence.strip():
        return "nothing is said"
    if "\n" in sentence or not sentence.isprintable():
        return "several lines or signs that do not print"
    return "too long" if len(sentence) > 3000 else ""


class Trials:
    """Cases of some readers: first those of a corpus, then new ones without end.

    Args:
      names: the names of the readers.
      corpus: a folder with a folder for each reader, which has a folder for each case.
      scratch: the folder for the current case, which remains if the process is lost.
      seed: the seed of the random changes.
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
        """Reads the valid files, none of which may be refused, and the cases in the corpus."""
        for name in self._names:
            for files in readers.READERS[name].seeds():
                outcome = self._try(name, files)
                if outcome.kind != "read":
                    outcome = dataclasses.replace(outcome, kind="finding")
                yield outcome
            for folder in sorted((self._corpus / name).glob("*")):
                yield self._try(name, cases.read(folder))

    def step(self) -> Outcome:
        """Changes a case and reads it; keeps it if its outcome is new."""
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
        # Another folder each time, since a reader may have cached something for a path.
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
    """Sends the outcomes of cases without end; the main function of a process."""
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # OpenCV's libraries report broken images there
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    trials = Trials(names, corpus, scratch, seed)
    for outcome in trials.replay():
        connection.send(outcome)
    while True:
        connection.send(trials.step())
