"""Where the numbers of a run go: JSON lines, which are the record, and TensorBoard scalars."""

import json
import math
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorboardX

from ioub_jax import files


class NonFiniteError(RuntimeError):
    """A metric is infinite or not a number; its message is one sentence for the user."""


def check_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Stops a run that has diverged.

    Raises:
      NonFiniteError: names the step and the metrics.
    """
    broken = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteError(
            f"Step {step}: {', '.join(broken)}; the last checkpoint before it stands, so lower "
            "schedule.base_learning_rate or set optimizer.clip_global_norm and start a new run."
        )


def split_histograms(
    values: Mapping[str, np.ndarray],
) -> tuple[dict[str, float], dict[str, list[int]]]:
    """A step's single numbers and its histograms, as the records hold them."""
    scalars = {name: float(value) for name, value in values.items() if np.ndim(value) == 0}
    return scalars, {name: value.tolist() for name, value in values.items() if name not in scalars}


def read_records(path: pathlib.Path, last_step: int) -> list[dict[str, Any]]:
    """The records of a JSON-lines file up to `last_step`; a line cut off by a kill is dropped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= last_step:
            records.append(record)
    return records


class MetricWriter:
    """Writes `NAME.jsonl` and TensorBoard scalars `NAME/...`, each step once.

    On opening, records after `last_step` (of a run that went further than its last checkpoint) are
    dropped and the TensorBoard events are written anew from what stays, so that no step is there
    twice after a resume.

    Args:
      workdir: the run's folder.
      names: kinds of records, for instance 'train' and 'evaluation'.
      last_step: the step from which the run goes on.
      writes: False in a process that leaves the writing to another.
    """

    def __init__(
        self, workdir: pathlib.Path, names: tuple[str, ...], last_step: int, *, writes: bool = True
    ) -> None:
        """Opens the files, cutting them back to `last_step`."""
        self._paths = {name: workdir / f"{name}.jsonl" for name in names}
        self._tensorboard: tensorboardX.SummaryWriter | None = None
        if not writes:
            return
        events = workdir / "tensorboard"
        shutil.rmtree(events, ignore_errors=True)
        self._tensorboard = tensorboardX.SummaryWriter(str(events))
        for name, path in self._paths.items():
            records = read_records(path, last_step)
            files.write_text(path, "".join(json.dumps(record) + "\n" for record in records))
            for record in records:
                self._add_scalars(name, record)

    def _add_scalars(self, name: str, record: Mapping[str, Any]) -> None:
        assert self._tensorboard is not None, "this process does not write"
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float):
                self._tensorboard.add_scalar(f"{name}/{key}", value, record["step"])

    def write(self, name: str, step: int, values: Mapping[str, Any]) -> None:
        """Appends one record; numbers among `values` also become TensorBoard scalars."""
        if self._tensorboard is None:
            return
        record = {"step": step, **values}
        with self._paths[name].open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._add_scalars(name, record)

    def has(self, name: str, step: int) -> bool:
        """Whether a record of that kind and step is there."""
        return any(record["step"] == step for record in read_records(self._paths[name], step))

    def close(self) -> None:
        """Flushes and closes the TensorBoard file."""
        if self._tensorboard is not None:
            self._tensorboard.close()
