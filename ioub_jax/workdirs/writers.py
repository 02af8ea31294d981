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
    """A writer of records. When a run is opened it gets all that stay, then each new one.

    Attributes:
      name: what a sentence calls it.
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
        """Closes the writer; `failed` after an error."""


def check_project(project: str | None) -> None:
    """Checks that the package is installed that a project of Weights & Biases needs.

    Raises:
      ConfigError: it is not.
    """
    if project is None:
        return
    spec = importlib.util.find_spec("wandb")
    # Python also takes a mere folder wandb/, which W&B leaves where it runs, for a package.
    if spec is None or spec.origin is None:
        raise ConfigError(
            "runtime.wandb_project needs the package wandb, which is not installed: "
            "pip install 'ioub_jax[train,wandb]', or leave the key unset."
        )


def open_writers(
    workdir: pathlib.Path, project: str | None, settings: dict[str, Any]
) -> list[Writer]:
    """The writers of a run: TensorBoard and, if it has a project, Weights & Biases.

    TensorBoard's events grow by appending, so that a run in a bucket has none.

    Args:
      workdir: the run's folder.
      project: of Weights & Biases.
      settings: what it shows of the run besides its records; as JSON can hold it.

    Raises:
      ConfigError: Weights & Biases is not installed, or does not let the run begin.
    """
    check_project(project)
    opened: list[Writer] = []
    if project is not None:
        opened.append(WeightsAndBiases(workdir, project, settings))
    return opened if files.is_in_bucket(workdir) else [TensorBoard(workdir), *opened]


def describe_writers(workdir: pathlib.Path, project: str | None) -> list[str]:
    """The folders that they write into the workdir, in words."""
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
    """Scalars and pictures `NAME/...` in the workdir's `tensorboard/`, which is written anew.

    Everything is written by the thread that calls: tensorboardX's `SummaryWriter` has one of its
    own behind a queue, and where that ends by an error, as on a full disk, whoever adds to the
    queue waits for ever.

    Args:
      workdir: the run's folder.
    """

    name = "TensorBoard"

    def __init__(self, workdir: pathlib.Path) -> None:
        """Starts with nothing open."""
        self._folder = workdir / "tensorboard"
        self._file: tensorboardX.RecordWriter | None = None
        self._flushed = -math.inf

    def _open(self) -> tensorboardX.RecordWriter:
        """Drops the events of an earlier process, since the records that stay come again."""
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

    W&B tells a run that goes on which step of each kind it has last; up to there nothing is sent
    again, and what a kill has kept from it is sent now. Without a connection (WANDB_MODE=offline)
    it tells nothing, so each start writes the whole run into a folder of its own in `wandb/`.

    Args:
      workdir: the run's folder.
      project: the W&B project.
      config: the configuration as JSON can hold it.

    Raises:
      ConfigError: W&B does not let the run begin.
    """

    name = "Weights & Biases"

    def __init__(self, workdir: pathlib.Path, project: str, config: dict[str, Any]) -> None:
        """Begins the run, or resumes it."""
        import wandb  # an extra, and seconds of every start

        try:
            self._run = wandb.init(
                project=project,
                id=_run_id(workdir),
                name="/".join(files.absolute(workdir).parts[-2:]),
                resume="allow",
                # Of a run in a bucket: wandb/ where the training is started.
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
        """Sends what a record has, unless W&B has it."""
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
        """Ends the W&B run, as failed after an error."""
        self._run.finish(exit_code=int(failed))


def _run_id(workdir: pathlib.Path) -> str:
    """The id of the workdir's W&B run, made up once and kept in `wandb.json`."""
    path = workdir / "wandb.json"
    if not path.exists():
        files.write_json(path, {"id": secrets.token_hex(4)})
    return str(configuration.read_json(path)["id"])
