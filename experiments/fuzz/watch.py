"""Watches the reading process, restarts it if it is lost, and counts its outcomes."""

import collections
import multiprocessing
import pathlib
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from experiments.fuzz import trials
from experiments.fuzz.trials import Outcome
from ioub_jax import files

#: The time limit for a case; a process that takes longer is considered to hang.
_PATIENCE_SECONDS = 60.0


def fuzz(
    names: Sequence[str], corpus: pathlib.Path, seconds: float, seed: int | None
) -> dict[str, Any]:
    """Reads changed files for a while.

    Args:
      names: keys of `readers.READERS`.
      corpus: the folder of the interesting cases; it is created if necessary and extended.
      seconds: the duration.
      seed: the seed of the random changes; None for another one each time.

    Returns:
      The counts of each reader by outcome, the size of the corpus, and every distinct finding with
      its folder, in types that JSON has.
    """
    seed = random.randrange(2**32) if seed is None else seed
    corpus.mkdir(parents=True, exist_ok=True)
    watched = _Watched(names, corpus, seed)
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        watched.run_until(start + seconds)
    return {
        "minutes": round((time.monotonic() - start) / 60, 2),
        "seed": seed,
        "cases": {name: dict(watched.counts[name]) for name in names},
        "corpus": {name: len(list((corpus / name).glob("*"))) for name in names},
        "processes lost": watched.lost,
        "findings": watched.findings,
    }


class _Watched:
    def __init__(self, names: Sequence[str], corpus: pathlib.Path, seed: int) -> None:
        self._names, self._corpus, self._seed = names, corpus, seed
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.findings: dict[str, str] = {}
        self.lost = 0

    def run_until(self, end: float) -> None:
        """Runs one process until a moment of the monotonic clock, or until it is lost."""
        context = multiprocessing.get_context("spawn")
        ours, its = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as folder:
            scratch = pathlib.Path(folder)
            arguments = (its, self._names, self._corpus, scratch, self._seed + self.lost)
            process = context.Process(target=trials.work, args=arguments, daemon=True)
            process.start()
            its.close()
            try:
                while time.monotonic() < end:
                    if not ours.poll(_PATIENCE_SECONDS):
                        process.kill()  # else it could change its files in the meantime
                        process.join()
                        self._lose(scratch, "takes more than a minute")
                        return
                    self._count(ours.recv(), scratch)
            except EOFError:
                process.join()
                self._lose(scratch, f"the process ended with {process.exitcode}")
            finally:
                process.kill()
                process.join()
                ours.close()

    def _count(self, outcome: Outcome, scratch: pathlib.Path) -> None:
        self.counts[outcome.reader][outcome.kind] += 1
        if outcome.kind == "finding":
            name = f"{outcome.reader}: {outcome.place}"
            folder = next(iter(scratch.glob(f"finding_{outcome.reader}_*")), None)
            self._keep(name, folder, outcome.words)

    def _lose(self, scratch: pathlib.Path, how: str) -> None:
        """Counts the current case as a finding."""
        self.lost += 1
        at_hand = next((path for path in scratch.iterdir() if "finding" not in path.name), None)
        reader = at_hand.name.partition("_")[0] if at_hand else "none"
        self.counts[reader]["finding"] += 1
        self._keep(f"{reader}: {how} ({self.lost})", at_hand, how)

    def _keep(self, name: str, folder: pathlib.Path | None, words: str) -> None:
        """Keeps the files of a finding; if it occurs repeatedly, only those of the first time."""
        if folder is None or name in self.findings:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            return
        place = self._corpus / "findings" / folder.name.removeprefix("finding_")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place / "files")
        shutil.rmtree(folder, ignore_errors=True)
        files.write_text(place / "trace.txt", f"{name}\n{words}\n")
        self.findings[name] = str(place)
