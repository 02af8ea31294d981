"""Checkpoints by orbax: the last two and the best one, each either complete or absent.

A run resumes from `checkpoints/last/STEP`; `checkpoints/best/STEP` has the best AP so far.
Checkpoints are written asynchronously. An unfinished write leaves a folder with another name, which
the next start removes. An older checkpoint is deleted only after the new one is complete.

A checkpoint is damaged if it cannot be read, or if the checksums of its arrays differ from those
that were saved. Another checkpoint of the run is then read in its place, with a warning.
"""

import functools
import logging
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from ioub_jax import files
from ioub_jax.devices import hosts
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import abandoned_reads, checkpoint_folders, checksums, records
from ioub_jax.workdirs.checkpoint_folders import Folder

logger = logging.getLogger("ioub_jax")

# A tree of arrays, one of which is `step`: `training.train_state.TrainState`.
State = Any

#: Reads the requested contents of a checkpoint; returns them and the names of all its arrays.
ReadArrays = Callable[[Folder], tuple[Any, Iterable[str]]]


def _manager(folder: pathlib.Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
        # If several processes write, the two managers must not wait at the same barriers.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            barrier_sync_key_prefix=folder.name
        ),
    )
    return ocp.CheckpointManager(
        files.absolute(folder), options=options, item_names=("state", "metadata")
    )


class Checkpoints:
    """The checkpoints of one run, for writing.

    Args:
      workdir: the run's folder.
      headline: the key of `evaluation.jsonl` that determines the best checkpoint.
    """

    def __init__(self, workdir: pathlib.Path, headline: str = "AP") -> None:
        """Opens the folders and removes unfinished checkpoints of a killed process."""
        self._workdir = workdir
        # Two, because a disk may damage one.
        self._last = _manager(workdir / "checkpoints" / "last", keep=2)
        self._best = _manager(workdir / "checkpoints" / "best", keep=1)
        self._best_ap = self._read_best_ap(headline)

    def _read_best_ap(self, headline: str) -> float | None:
        step = self._best.latest_step()
        if step is None:
            return None
        try:
            return float(Folder(self._workdir, "best", step).metadata()["AP"])
        except (KeyError, TypeError, ValueError):
            recorded = records.read_records(self._workdir / "evaluation.jsonl", step)
            found = [record.get(headline) for record in recorded if record["step"] == step]
            ap = found[-1] if found else None
            taken = (
                "it is not known either, so the next evaluation counts as the best so far"
                if ap is None
                else f"{ap:.3f} is taken from evaluation.jsonl"
            )
            _warn(
                f"The metadata of the 'best' checkpoint of step {step} in {self._workdir}, which "
                f"has its AP, is damaged; {taken}."
            )
            return ap

    def best_ap(self) -> float | None:
        """The AP of the best checkpoint; None if there is none."""
        return self._best_ap

    def best_step(self) -> int | None:
        """The step of the best checkpoint; None if there is none."""
        return self._best.latest_step()

    def save_last(self, state: State, config: dict[str, Any]) -> None:
        """Saves the state to resume from; returns as soon as the arrays are copied."""
        self._save(self._last, state, {"config": config})

    def save_best(self, state: State, config: dict[str, Any], ap: float) -> None:
        """Saves `state` as the best checkpoint if its AP exceeds the best so far."""
        if self._best_ap is not None and ap <= self._best_ap:
            return
        # A run that resumed from an earlier step may have a best checkpoint of a later step, which
        # would be mistaken for a newer one.
        for step in self._best.all_steps():
            if step >= int(state.step):
                self._best.delete(step)
        self._save(self._best, state, {"config": config, "AP": ap})
        self._best.wait_until_finished()
        self._best_ap = ap

    @staticmethod
    def _save(manager: ocp.CheckpointManager, state: State, metadata: dict[str, Any]) -> None:
        step = int(state.step)
        if step in manager.all_steps():
            return
        metadata = metadata | {"checksums": checksums.checksums_of(state)}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), metadata=ocp.args.JsonSave(metadata)
        )
        manager.save(step, args=args, force=True)

    def close(self) -> None:
        """Waits until everything is written, and closes the checkpoint managers."""
        self._last.close()
        self._best.close()


# ------------------------------------------------------------------ reading


def resume(workdir: pathlib.Path, template: State, sharding: Sharding) -> State | None:
    """The state of the newest intact checkpoint; None if there is no checkpoint.

    Newer checkpoints that are damaged are moved to `checkpoints/damaged/` with a warning, since the
    run will reach their steps again. All processes of a run must call this together.

    Args:
      workdir: the run's folder.
      template: a state of the same shapes, or its `jax.eval_shape`.
      sharding: the sharding of every array, whatever devices wrote it.

    Raises:
      ConfigError: every checkpoint is damaged.
    """
    if not checkpoint_folders.find(workdir):
        return None
    read_arrays = functools.partial(_read_state, template=template, sharding=sharding)
    folder, state, damages = _first_whole(workdir, "last", read_arrays)
    if damages:
        if hosts.is_first():
            for damaged in damages:
                _move_away(damaged)
        hosts.wait_for_all("damaged checkpoints")
        _warn(
            f"{_describe(damages)}: the run resumes from {folder}, and the damaged files are now "
            f"in {workdir / 'checkpoints' / 'damaged'}."
        )
    return state


def _move_away(folder: Folder) -> None:
    place = folder.workdir / "checkpoints" / "damaged" / f"{folder.kind}_{folder.step}"
    files.remove_folder(place)
    place.parent.mkdir(exist_ok=True)
    folder.path.rename(place)


def read_variables(
    workdir: pathlib.Path, which: str, sharding: Sharding, *, ema: bool = True
) -> dict[str, Any]:
    """Parameters and running statistics of a checkpoint, whatever optimizer trained them.

    Arguments and errors are those of `read_checkpoint`.
    """
    return read_checkpoint(workdir, which, sharding, ema=ema)[1]


def read_checkpoint(
    workdir: pathlib.Path, which: str, sharding: Sharding, *, ema: bool = True
) -> tuple[Folder, dict[str, Any]]:
    """The checkpoint that is read, and its parameters and running statistics.

    Nothing else is loaded: neither the state of the optimizer, nor the variables if their moving
    average is requested.

    Args:
      workdir: the run's folder.
      which: 'last' or 'best'. If that checkpoint is damaged or missing, another one is read, with
        a warning.
      sharding: the sharding of every array.
      ema: whether the moving average is read, if the run keeps one.

    Returns:
      The folder, and the variables of the model: `params` and `batch_stats`.

    Raises:
      ConfigError: there is no checkpoint, or every one is damaged.
    """
    read_arrays = functools.partial(_read_parts, ema=ema, sharding=sharding)
    folder, parts, damages = _first_whole(workdir, which, read_arrays)
    if damages:
        _warn(f"{_describe(damages)}: {folder} is used instead.")
    elif folder.kind != which:
        _warn(f"{workdir} has no '{which}' checkpoint: {folder} is used instead.")
    return folder, parts.get("ema", parts)


def to_read(workdir: pathlib.Path, which: str) -> Folder:
    """The checkpoint that is read unless it is damaged; no file is opened.

    Raises:
      ConfigError: there is no checkpoint.
    """
    folders = checkpoint_folders.find(workdir, which)
    if not folders:
        raise ConfigError(f"{workdir} has no '{which}' checkpoint; let ioub train reach one first.")
    return folders[0]


# ------------------------------------------------------------------ intact checkpoints


class _DamageError(Exception):
    """A checkpoint is damaged; the message continues a sentence."""


class _OtherArraysError(ConfigError):
    """A checkpoint is intact, but belongs to another network or optimizer."""


# A run that trains replaces its checkpoints, so that one may disappear while it is read.
_TRIES = 3


def _first_whole(
    workdir: pathlib.Path, which: str, read_arrays: ReadArrays, tries: int = _TRIES
) -> tuple[Folder, Any, dict[Folder, str]]:
    """Returns the first intact checkpoint, its contents, and the damage of each one before it.

    Args:
      workdir: the run's folder.
      which: the checkpoint to begin with, 'last' or 'best'.
      read_arrays: reads the requested contents of a checkpoint.
      tries: how often all is tried again because a checkpoint has disappeared meanwhile.

    Raises:
      ConfigError: there is no checkpoint, or every one is damaged.
    """
    to_read(workdir, which)
    folders = checkpoint_folders.find(workdir, which)
    damages: dict[Folder, str] = {}
    # If only the checksums are lost, the arrays may still be intact, so they are the last resort.
    for must_be_checked in (True, False):
        for folder in folders:
            try:
                tree = _read_on_all(folder, read_arrays, must_be_checked)
            except _DamageError as damage:
                if tries and not hosts.all_agree(folder.path.exists()):
                    return _first_whole(workdir, which, read_arrays, tries - 1)
                damages[folder] = str(damage)
                continue
            if folder in damages:
                _warn(
                    f"Whether {folder} in {workdir} is as it was saved cannot be checked "
                    f"({damages[folder]}), and no other one is better."
                )
            before = folders[: folders.index(folder)]
            return folder, tree, {other: damages[other] for other in before}
    raise ConfigError(
        f"{_describe(damages)}, or of another version, and there is no other one; put back a copy, "
        "or train in another --workdir."
    )


def _read_on_all(folder: Folder, read_arrays: ReadArrays, must_be_checked: bool) -> Any:
    """As `_read`; if one process of a run cannot read a checkpoint, none uses it."""
    try:
        tree, damage = _read(folder, read_arrays, must_be_checked), None
    except _DamageError as error:
        tree, damage = None, error
    if not hosts.all_agree(damage is None):
        raise damage or _DamageError("another process cannot read it")
    return tree


def _read(folder: Folder, read_arrays: ReadArrays, must_be_checked: bool) -> Any:
    """Returns the requested contents of a checkpoint if they are intact."""
    try:
        saved = folder.metadata().get("checksums")  # earlier versions had none
    except ValueError as error:
        if must_be_checked:
            raise _DamageError(str(error)) from error
        saved = None
    try:
        with abandoned_reads.kept_quiet():
            tree, names = read_arrays(folder)
    except (MemoryError, jax.errors.JaxRuntimeError, _OtherArraysError):
        raise  # an error of this machine or this run, not of the file
    except Exception as error:  # orbax raises errors of many types, once a bare Exception
        raise _DamageError(_in_short(error)) from error
    if saved:
        # An array that was not read is checked for its presence only.
        found = {name: saved.get(name) for name in names} | checksums.checksums_of(tree)
        difference = checksums.difference(saved, found)
        if difference is not None:
            raise _DamageError(difference)
    return tree


def _read_state(folder: Folder, template: State, sharding: Sharding) -> tuple[State, list[str]]:
    """Returns the state in a checkpoint, in the template's structure, and its arrays' names."""
    with _reader(folder) as reader:
        saved = reader.item_metadata(folder.step)["state"].tree
        _check_arrays(folder.workdir, str(folder), saved, template)
        # All arrays exist. A part without arrays, such as one that earlier versions lacked, may be
        # missing, so the structure is restored partially.
        state = _restore(reader, folder.step, template, sharding, partial=True)
    return state, checksums.names_of(state)


def _read_parts(folder: Folder, ema: bool, sharding: Sharding) -> tuple[dict[str, Any], list[str]]:
    """Reads `params` and `batch_stats` as nested dicts, or `ema` if it is requested and exists.

    Also returns the names of all arrays in the checkpoint.
    """
    with _reader(folder) as reader:
        shapes = reader.item_metadata(folder.step)["state"].tree
        has_average = bool(shapes.get("ema"))  # earlier versions had none
        parts = ("ema",) if ema and has_average else ("params", "batch_stats")
        wanted = {part: shapes[part] for part in parts}
        read = _restore(reader, folder.step, wanted, sharding, partial=True)
    return read, checksums.names_of(shapes)


def check_variables(workdir: pathlib.Path, variables: Any, wanted: Any) -> None:
    """Checks that variables read from a run have the shapes of those of the given network.

    Args:
      workdir: the run's folder.
      variables: the variables that `read_variables` returned.
      wanted: the variables of the network, or their `jax.eval_shape`.

    Raises:
      ConfigError: the shapes differ.
    """
    _check_arrays(workdir, "its checkpoint", variables, wanted)


def _check_arrays(workdir: pathlib.Path, place: str, saved: Any, template: Any) -> None:
    """Checks that a checkpoint has the arrays of a template; damage cannot change these."""
    there, wanted = _shapes(saved), _shapes(template)
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            before, now = (
                "nothing" if shape is None else f"an array of shape {shape}"
                for shape in (there.get(name), wanted.get(name))
            )
            raise _OtherArraysError(
                f"{workdir} has a run of another network or optimizer: for {name}, {place} has "
                f"{before}, but the given part has {now}; give the part that it was trained with, "
                "or another workdir."
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array by its path."""
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(tree)]
    return dict(zip(checksums.names_of(tree), shapes, strict=True))


def _reader(folder: Folder) -> ocp.CheckpointManager:
    # Without `create`, nothing is written. With `read_only`, orbax would warn whenever a manager is
    # opened, and without a handler for the metadata at every read.
    return ocp.CheckpointManager(
        files.absolute(folder.path.parent),
        options=ocp.CheckpointManagerOptions(create=False),
        item_names=("state", "metadata"),
        item_handlers={
            "state": ocp.PyTreeCheckpointHandler(),
            "metadata": ocp.JsonCheckpointHandler(),
        },
    )


def _restore(
    reader: ocp.CheckpointManager, step: int, shapes: Any, sharding: Sharding, *, partial: bool
) -> Any:
    """Reads the arrays of `shapes`, which has the whole structure unless `partial` is true."""
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
    arguments = ocp.args.PyTreeRestore(
        abstract,
        restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
        partial_restore=partial,
    )
    return reader.restore(step, args=ocp.args.Composite(state=arguments))["state"]


def _in_short(error: BaseException) -> str:
    """Describes the cause of an error: the array that cannot be read, or else its first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    # "NAME.WITH.DOTS/.zarray" in OCDBT database at local file ...
    if array := re.search(r'"([\w.]+)/[^"]*" in OCDBT', str(error)):
        return f"{array[1].replace('.', '/')} cannot be read"
    words = str(error).strip().splitlines() or [type(error).__name__]
    return f"it cannot be read: {textwrap.shorten(words[0], 120, placeholder=' ...')}"


def _describe(damages: Mapping[Folder, str]) -> str:
    """Describes the damaged checkpoints of a run as the beginning of a sentence."""
    each = ", ".join(f"{folder} ({why})" for folder, why in damages.items())
    workdir = next(iter(damages)).workdir
    return f"{each[0].upper()}{each[1:]} in {workdir} {'are' if len(damages) > 1 else 'is'} damaged"


def _warn(sentence: str) -> None:
    if hosts.is_first():
        logger.warning("%s", sentence)
