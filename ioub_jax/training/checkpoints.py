"""Checkpoints by orbax: the last one and the best one, each whole or not there.

`checkpoints/last/STEP` is where a run goes on; `checkpoints/best/STEP` has the best AP so far.
Writing is asynchronous; an unfinished write leaves a folder with another name, which the next run
removes, and the one before it is deleted only after the new one is complete.
"""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from ioub_jax.training.configuration import ConfigError
from ioub_jax.training.state import TrainState


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1,
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
        # Where several processes write, two managers at once must not wait at the same barriers.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            barrier_sync_key_prefix=folder.name
        ),
    )
    return ocp.CheckpointManager(
        folder.absolute(), options=options, item_names=("state", "metadata")
    )


class Checkpoints:
    """The checkpoints of one run.

    Args:
      workdir: the run's folder.
    """

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens the folders and removes what a killed writer left."""
        self._last = _manager(workdir / "checkpoints" / "last")
        self._best = _manager(workdir / "checkpoints" / "best")

    def last_step(self) -> int | None:
        """The step of the last complete checkpoint, None where there is none."""
        return self._last.latest_step()

    def best_ap(self) -> float | None:
        """The AP of the best checkpoint, None where there is none."""
        step = self._best.latest_step()
        if step is None:
            return None
        args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        return self._best.restore(step, args=args)["metadata"]["AP"]

    def save_last(self, state: TrainState, config: dict[str, Any]) -> None:
        """Saves where the run goes on; returns as soon as the arrays are copied."""
        self._save(self._last, state, {"config": config})

    def save_best(self, state: TrainState, config: dict[str, Any], ap: float) -> None:
        """Saves `state` as the best one if its AP is above the best so far."""
        best = self.best_ap()
        if best is None or ap > best:
            self._save(self._best, state, {"config": config, "AP": ap})
            self._best.wait_until_finished()

    @staticmethod
    def _save(manager: ocp.CheckpointManager, state: TrainState, metadata: dict[str, Any]) -> None:
        step = int(state.step)
        if manager.latest_step() == step:
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), metadata=ocp.args.JsonSave(metadata)
        )
        manager.save(step, args=args, force=True)

    def close(self) -> None:
        """Waits and releases the writers."""
        self._last.close()
        self._best.close()


def restore(
    workdir: pathlib.Path, which: str, template: TrainState, sharding: Sharding
) -> TrainState:
    """Reads a checkpoint onto the devices of `sharding`, whatever devices wrote it.

    Args:
      workdir: the run's folder.
      which: 'last' or 'best'.
      template: a state of the same shapes, or its `jax.eval_shape`.
      sharding: where every array goes.

    Raises:
      ConfigError: there is no such checkpoint, or it is damaged.
    """
    with _reader(workdir, which) as reader:
        try:
            return _read(reader, template, sharding)
        except _DAMAGES as error:
            raise _damaged(workdir, which, error) from error


def read_variables(
    workdir: pathlib.Path, which: str, sharding: Sharding, *, ema: bool = True
) -> dict[str, Any]:
    """Parameters and running statistics of a checkpoint, whatever optimizer trained them.

    Args:
      workdir: the run's folder.
      which: 'last' or 'best'.
      sharding: where every array goes.
      ema: whether the moving average is read where the run keeps one.

    Returns:
      The variables of the model: `params` and `batch_stats`.

    Raises:
      ConfigError: there is no such checkpoint, or it is damaged.
    """
    state, _ = read_tree(workdir, which, sharding)
    if ema and state.get("ema"):  # earlier versions had none
        return state["ema"]
    return {"params": state["params"], "batch_stats": state["batch_stats"]}


def read_tree(workdir: pathlib.Path, which: str, sharding: Sharding) -> tuple[dict[str, Any], int]:
    """Everything in a checkpoint as nested dicts, and its step; raises as `read_variables`."""
    with _reader(workdir, which) as reader:
        step = reader.latest_step()
        try:
            metadata = reader.item_metadata(step)["state"]
            return _read(reader, metadata.tree, sharding), step
        except _DAMAGES as error:
            raise _damaged(workdir, which, error) from error


def step_of(workdir: pathlib.Path, which: str) -> int | None:
    """The step of a checkpoint, None where there is none; nothing is written."""
    try:
        with _reader(workdir, which) as reader:
            return reader.latest_step()
    except ConfigError:
        return None


# What orbax raises where files are missing, cut off or of another shape.
_DAMAGES = (AttributeError, KeyError, OSError, ValueError)


def _damaged(workdir: pathlib.Path, which: str, error: Exception) -> ConfigError:
    first = (str(error).strip().splitlines() or [""])[0]
    return ConfigError(
        f"The '{which}' checkpoint of {workdir} is damaged, or of another version ({first}); put "
        "back a copy of it, use the other one, or train in another --workdir."
    )


def no_checkpoint(workdir: pathlib.Path, which: str) -> ConfigError:
    """The error of whoever needs a checkpoint that is not there."""
    return ConfigError(
        f"{workdir} has no '{which}' checkpoint; let experiments.train reach one first."
    )


def _reader(workdir: pathlib.Path, which: str) -> ocp.CheckpointManager:
    """Opens the checkpoints of one kind, of which there is at least one, for reading alone."""
    folder = (workdir / "checkpoints" / which).absolute()
    if folder.is_dir():
        # Nothing is written without `create`. With `read_only`, orbax would warn at every opening.
        options = ocp.CheckpointManagerOptions(create=False)
        reader = ocp.CheckpointManager(
            folder,
            options=options,
            item_names=("state", "metadata"),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "metadata": ocp.JsonCheckpointHandler(),
            },
        )
        if reader.latest_step() is not None:
            return reader
    raise no_checkpoint(workdir, which)


def _read(reader: ocp.CheckpointManager, template: Any, sharding: Sharding) -> Any:
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), template
    )
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    return reader.restore(reader.latest_step(), args=args)["state"]
