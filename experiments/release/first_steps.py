"""First steps with a wheel or sdist in an empty environment outside the clone."""

import os
import pathlib
import subprocess
import tempfile
import venv

#: Six training steps of the recipe that needs no data.
_TRAINING = (
    "train", "--config=shapes_retinanet", "--workdir=run", "--config.batch_size=8",
    "--config.schedule.images=48", "--config.schedule.warmup_images=8",
    "--config.evaluation.every_images=48", "--config.data.shapes.num_train=64",
    "--config.data.shapes.num_val=8", "--config.evaluation.batch_size=8",
    "--config.loss.calibration_batches=1",
)  # fmt: skip
_LOSSES = (
    "import jax, jax.numpy as jnp, ioub_jax, sys\n"
    "from ioub_jax import losses\n"
    "value = losses.iou_loss(jnp.array([0., 0., 2., 2.]), jnp.array([0., 0., 2., 1.]))\n"
    "assert value == 0.5, value\n"
    "assert 'flax' not in sys.modules\n"
    "print(ioub_jax.__version__, ioub_jax.__file__)\n"
)


class FailedError(Exception):
    """A program failed in the environment; the message has its output."""


class EmptyEnvironment:
    """A virtual environment without packages, and an empty working folder.

    Args:
      folder: the folder in which both are created.
      constraints: the constraints file with the versions to install.
    """

    def __init__(self, folder: pathlib.Path, constraints: pathlib.Path) -> None:
        self._bin = folder / "environment" / "bin"
        self._empty, self._constraints = folder / "empty", constraints
        self._empty.mkdir()
        venv.create(folder / "environment", with_pip=True)

    def run(self, *words: str) -> str:
        """Runs a program of the environment, and returns its output; raises `FailedError`."""
        hidden = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(self._bin / words[0]), *words[1:]],
            cwd=self._empty,
            env=hidden | {"JAX_PLATFORMS": "cpu", "IOUB_JAX_CACHE": str(self._empty / "cache")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise FailedError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def install(self, requirement: str) -> None:
        """Installs a requirement, with dependencies in the versions of the constraints."""
        quiet = ("--quiet", "--disable-pip-version-check")
        limits = ("--constraint", str(self._constraints))
        self.run("python", "-m", "pip", "install", *quiet, *limits, requirement)


def try_losses(archive: pathlib.Path, constraints: pathlib.Path) -> str:
    """Installs an archive without an extra, and computes a loss.

    Returns:
      The version and the path of the imported package.

    Raises:
      FailedError: something did not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = EmptyEnvironment(pathlib.Path(folder), constraints)
        environment.install(str(archive))
        return _checked_place(environment.run("python", "-c", _LOSSES), folder)


def try_training(archive: pathlib.Path, constraints: pathlib.Path) -> str:
    """Installs an archive with the extra `train`, trains a few steps and uses the result.

    Returns:
      The last lines that the training printed.

    Raises:
      FailedError: something did not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = EmptyEnvironment(pathlib.Path(folder), constraints)
        environment.install(f"{archive}[train]")
        if "  train " not in (verbs := environment.run("ioub")):
            raise FailedError(f"ioub lists no verb `train`:\n{verbs}")
        trained = environment.run("ioub", *_TRAINING)
        environment.run("ioub", "evaluate", "--workdir=run", "--checkpoint=last")
        program = (
            "import numpy as np, ioub_jax\n"
            "detector = ioub_jax.load('run', checkpoint='last')\n"
            "detector(np.zeros((48, 64, 3), np.uint8))\n"
            "print(ioub_jax.__version__, ioub_jax.__file__)\n"
        )
        _checked_place(environment.run("python", "-c", program), folder)
    return "\n".join(trained.splitlines()[-4:])


def _checked_place(printed: str, folder: str) -> str:
    last = printed.strip().splitlines()[-1]
    place = last.partition(" ")[2]
    if not pathlib.Path(place).resolve().is_relative_to(pathlib.Path(folder).resolve()):
        raise FailedError(f"the package was imported from {place}, not from the environment")
    return last
