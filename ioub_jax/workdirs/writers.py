"""Writers of a run's records besides its JSON lines: TensorBoard, Weights & Biases."""

import importlib.util
import io
import math
import pathlib
import secrets
import socket
import time
import types
from collections.abc import Mapping
from typing import Any, Protocol

import tensorboardX
from PIL import Image
from tensorboardX import summary
from tensorboardX.proto import event_pb2, summary_pb2

from ioub_jax import files
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

# As often as tensorboardX does.
_FLUSH_SECONDS = 120.0
NO_PICTURES: Mapping[str, bytes] = types.MappingProxyType({})


class Writer(Protocol):
    """A writer of records; it gets all records that a run has when it is opened, then each new one.

    Attributes:
      name: the name of the writer in messages.
    """

    name: str

    def write(
        self, name: str, record: Mapping[str, Any], pictures: Mapping[str, bytes] = NO_PICTURES
    ) -> None:
        """Writes the numbers of a record of the kind `name`; `step` is among its values.

        Args:
          name: the kind.
          record: the numbers.
          pictures: JPEG files that go with it, by their names.
        """

    def close(self, *, failed: bool) -> None:
        """Closes the writer; `failed` is true after an error."""


def check_project(project: str | None) -> None:
    """Checks that the package for Weights & Biases is installed if there is a project.

    Raises:
      ConfigError: it is not.
    """
    if project is None:
        return
    spec = importlib.util.find_spec("wandb")
    # Python also finds a mere folder wandb/, which W&B creates where it runs, as a package.
    if spec is None or spec.origin is None:
        raise ConfigError(
            "runtime.wandb_project needs the package wandb, which is not installed: "
            "pip install 'ioub_jax[train,wandb]', or leave the key unset."
        )


def open_writers(
    workdir: pathlib.Path, project: str | None, settings: dict[str, Any]
) -> list[Writer]:
    """The writers of a run: TensorBoard and, if it has a project, Weights & Biases.

    TensorBoard appends to its event file, so a run in a bucket has none.

    Args:
      workdir: the run's folder.
      project: the W&B project, or None.
      settings: the configuration that W&B shows with the run, in types that JSON has.

    Raises:
      ConfigError: Weights & Biases is not installed, or refuses to start the run.
    """
    check_project(project)
    opened: list[Writer] = []
    if project is not None:
        opened.append(WeightsAndBiases(workdir, project, settings))
    return opened if files.is_in_bucket(workdir) else [TensorBoard(workdir), *opened]


def describe_writers(workdir: pathlib.Path, project: str | None) -> list[str]:
    """Describes the folders that the writers create in the workdir."""
    if files.is_in_bucket(workdir):
        return []
    return ["tensorboard/"] + ([f"wandb/ (project {project})"] if project else [])


def _numbers(name: str, record: Mapping[str, Any]) -> dict[str, float]:
    """`NAME/KEY` -> value of each single number, except the step."""
    return {
        f"{name}/{key}": value
        for key, value in record.items()
        if key != "step" and isinstance(value, int | float)
    }


class TensorBoard:
    """Scalars and pictures `NAME/...` in the workdir's `tensorboard/`, rewritten at every start.

    Everything is written by the calling thread. tensorboardX's `SummaryWriter` writes in a separate
    thread behind a queue; if that thread ends with an error, as on a full disk, calls that add to
    the queue wait forever.

    Args:
      workdir: the run's folder.
    """

    name = "TensorBoard"

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens no file yet."""
        self._folder = workdir / "tensorboard"
        self._file: tensorboardX.RecordWriter | None = None
        self._flushed = -math.inf

    def _open(self) -> tensorboardX.RecordWriter:
        """Opens a new event file and deletes earlier ones, whose records are passed again."""
        self._folder.mkdir(exist_ok=True)
        for events in self._folder.glob("events.out.tfevents.*"):
            events.unlink(missing_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        return tensorboardX.RecordWriter(str(self._folder / name))

    def write(
        self, name: str, record: Mapping[str, Any], pictures: Mapping[str, bytes] = NO_PICTURES
    ) -> None:
        """Adds the contents of a record, and flushes them to the file every two minutes."""
        if self._file is None:
            self._file = self._open()
            self._add(file_version="brain.Event:2")
        for key, value in _numbers(name, record).items():
            self._add(step=record["step"], summary=summary.scalar(key, value))
        for key, content in pictures.items():
            value = summary_pb2.Summary.Value(tag=f"{name}/{key}", image=_image_of(content))
            self._add(step=record["step"], summary=summary_pb2.Summary(value=[value]))
        if time.monotonic() > self._flushed + _FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def _add(self, **fields: Any) -> None:
        assert self._file is not None
        self._file.write(event_pb2.Event(wall_time=time.time(), **fields).SerializeToString())

    def close(self, *, failed: bool) -> None:
        """Flushes and closes the file."""
        del failed
        if self._file is not None:
            self._file.close()


def _image_of(jpeg: bytes) -> summary_pb2.Summary.Image:
    with Image.open(io.BytesIO(jpeg)) as image:
        width, height = image.size
    return summary_pb2.Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=jpeg
    )


class WeightsAndBiases:
    """Metrics `NAME/...` over `NAME/step` in one W&B run, whose id the workdir keeps.

    When a run is resumed, W&B reports the last step that it has of each kind. Records up to that
    step are not sent again; later ones, which it did not receive before the run was killed, are
    sent now. Without a connection (WANDB_MODE=offline) it reports nothing, so each start writes the
    whole run into a separate folder in `wandb/`.

    Args:
      workdir: the run's folder.
      project: the W&B project.
      config: the configuration, in types that JSON has.

    Raises:
      ConfigError: W&B refuses to start the run.
    """

    name = "Weights & Biases"

    def __init__(self, workdir: pathlib.Path, project: str, config: dict[str, Any]) -> None:
        """Begins the run, or resumes it."""
        import wandb  # optional, and its import takes seconds

        try:
            self._run = wandb.init(
                project=project,
                id=_run_id(workdir),
                name="/".join(files.absolute(workdir).parts[-2:]),
                resume="allow",
                # For a run in a bucket, wandb/ is in the folder where the training is started.
                dir=None if files.is_in_bucket(workdir) else str(workdir),
                config=config,
                allow_val_change=True,  # `runtime.*`, and a longer run
            )
        except wandb.Error as error:
            raise ConfigError(
                f"Weights & Biases cannot start ({' '.join(str(error).split())}); run `wandb "
                "login`, set WANDB_MODE=offline, or leave runtime.wandb_project unset."
            ) from error
        self._image = wandb.Image
        self._sent: dict[str, int] = {}

    def write(
        self, name: str, record: Mapping[str, Any], pictures: Mapping[str, bytes] = NO_PICTURES
    ) -> None:
        """Sends the contents of a record, unless W&B has them already."""
        numbers, step_key = _numbers(name, record), f"{name}/step"
        if not numbers:
            return
        if name not in self._sent:
            self._run.define_metric(f"{name}/*", step_metric=step_key)
            self._sent[name] = int(self._run.summary.get(step_key, -1))
        if record["step"] > self._sent[name]:
            images = {
                f"{name}/{key}": self._image(Image.open(io.BytesIO(content)))
                for key, content in pictures.items()
            }
            self._run.log({step_key: record["step"], **numbers, **images})
            self._sent[name] = record["step"]

    def close(self, *, failed: bool) -> None:
        """Ends the W&B run, and marks it as failed after an error."""
        self._run.finish(exit_code=int(failed))


def _run_id(workdir: pathlib.Path) -> str:
    """Returns the id of the workdir's W&B run, generated once and kept in `wandb.json`."""
    path = workdir / "wandb.json"
    if not path.exists():
        files.write_json(path, {"id": secrets.token_hex(4)})
    return str(configuration.read_json(path)["id"])
