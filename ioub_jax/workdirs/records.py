"""Records of a run's numbers as JSON lines, and the writers that show them."""

import contextlib
import json
import logging
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ioub_jax import files
from ioub_jax.errors import UserError
from ioub_jax.workdirs.writers import Writer

logger = logging.getLogger("ioub_jax")

# How outdated a file in a bucket may be: each update rewrites the whole file.
_FLUSH_SECONDS = 60.0


class NonFiniteError(UserError, RuntimeError):
    """A metric is infinite or not a number; the message is one sentence for the user."""


def check_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Stops a run that has diverged.

    Raises:
      NonFiniteError: names the step and the metrics.
    """
    broken = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteError(
            f"Step {step}: {', '.join(broken)}; the last checkpoint before it is intact: lower "
            "schedule.base_learning_rate or set optimizer.clip_global_norm and start a new run."
        )


def split_histograms(
    values: Mapping[str, np.ndarray],
) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Splits the values of a step into scalars and histograms, as the records hold them."""
    scalars = {name: float(value) for name, value in values.items() if np.ndim(value) == 0}
    return scalars, {name: value.tolist() for name, value in values.items() if name not in scalars}


def read_records(path: pathlib.Path, last_step: int) -> list[dict[str, Any]]:
    """Reads the records of a JSON-lines file up to `last_step`, without incomplete lines."""
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
            is_earlier = record["step"] <= last_step
        except (KeyError, TypeError, ValueError):  # also after a flipped bit on the disk
            continue
        if is_earlier:
            records.append(record)
    return records


def picture_path(workdir: pathlib.Path, step: int) -> pathlib.Path:
    """Path of the picture of an evaluation's detections, which the writers show with its record."""
    return workdir / "evaluation" / f"val_{step}_detections.jpg"


class _Lines:
    """The lines of a growing file; in a bucket, which cannot append, it is rewritten periodically.

    Args:
      path: the file.
      lines: the lines that it contains at first.
    """

    def __init__(self, path: pathlib.Path, lines: Sequence[str]) -> None:
        files.write_text(path, "".join(lines))
        self._path = path
        self._lines = list(lines) if files.is_in_bucket(path) else None
        self._written, self._when = len(lines), time.monotonic()

    def append(self, line: str) -> None:
        if self._lines is None:
            with files.naming(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(line)
            return
        self._lines.append(line)
        if time.monotonic() > self._when + _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Ensures that every line is in the file."""
        if self._lines is not None and len(self._lines) > self._written:
            files.write_text(self._path, "".join(self._lines))
            self._written, self._when = len(self._lines), time.monotonic()


class MetricWriter:
    """Writes `NAME.jsonl`, each step once, and passes every record to the writers.

    On opening, records after `last_step` (of a run that went further than its last checkpoint) are
    dropped, and the remaining ones are passed to the writers. If a writer fails, a warning says so,
    and it is left out from then on: only the files are authoritative.

    Args:
      workdir: the run's folder.
      names: kinds of records, for instance 'train' and 'evaluation'.
      last_step: the step from which the run continues.
      writers: the other writers of the records; None in a process that writes nothing, because
        another process does.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        names: tuple[str, ...],
        last_step: int,
        writers: Sequence[Writer] | None,
    ) -> None:
        """Opens the files, cutting them back to `last_step`."""
        self._workdir = workdir
        self._paths = {name: workdir / f"{name}.jsonl" for name in names}
        self._lines: dict[str, _Lines] = {}
        self._writers = None if writers is None else list(writers)
        if writers is None:
            return
        lost = [path.name for path in self._paths.values() if not path.exists()]
        if last_step > 0 and lost:
            logger.warning(
                "%s %s gone from %s: the records up to step %d in it are lost.",
                ", ".join(lost),
                "are" if len(lost) > 1 else "is",
                workdir,
                last_step,
            )
        for name, path in self._paths.items():
            records = read_records(path, last_step)
            self._lines[name] = _Lines(path, [json.dumps(record) + "\n" for record in records])
            for record in records:
                self._show(name, record)

    def _show(self, name: str, record: Mapping[str, Any]) -> None:
        pictures = {}
        if name == "evaluation" and self._writers:
            path = picture_path(self._workdir, record["step"])
            if path.exists():
                pictures["detections"] = path.read_bytes()
        self._for_each_writer(lambda writer: writer.write(name, record, pictures))

    def _for_each_writer(self, do: Callable[[Writer], None]) -> None:
        for writer in list(self._writers or ()):
            try:
                do(writer)
            # No error of a library, its server or a full disk may end a training.
            except Exception as error:
                self._leave_out(writer, error)

    def _leave_out(self, writer: Writer, error: Exception) -> None:
        """Continues without a writer that has failed."""
        assert self._writers is not None
        self._writers.remove(writer)
        words = " ".join(str(error).split()) or type(error).__name__
        logger.warning(
            "%s failed (%s) and is left out from now on; the rest of the run does not need it, and "
            "it gets all records at the next start.",
            writer.name,
            words,
        )
        with contextlib.suppress(Exception):
            writer.close(failed=True)

    def write(self, name: str, step: int, values: Mapping[str, Any]) -> None:
        """Appends one record, and passes it to the writers."""
        if self._writers is None:
            return
        record = {"step": step, **values}
        self._lines[name].append(json.dumps(record) + "\n")
        self._show(name, record)

    def flush(self) -> None:
        """Ensures that every record is in its file, before a checkpoint to resume from is saved."""
        for lines in self._lines.values():
            lines.flush()

    def has(self, name: str, step: int) -> bool:
        """True if there is a record of that kind and step."""
        return any(record["step"] == step for record in read_records(self._paths[name], step))

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        """Closes the files and the writers, and tells the writers whether there was an error."""
        try:
            self.flush()
        finally:
            self._for_each_writer(lambda writer: writer.close(failed=kind is not None))
