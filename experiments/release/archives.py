"""The sdist and the wheel of a clone."""

import pathlib
import subprocess
import sys
import tarfile
import tempfile

from experiments.release import contents
from ioub_jax.errors import ConfigError


def build(root: pathlib.Path, output: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Builds the sdist of a clone, and the wheel from the sdist; returns the paths of both.

    Raises:
      ConfigError: an archive cannot be built, or the folder has one of another version.
    """
    output.mkdir(parents=True, exist_ok=True)
    version = contents.version_of(root)
    sdist = output / f"ioub_jax-{version}.tar.gz"
    wheel = output / f"ioub_jax-{version}-py3-none-any.whl"
    others = {*output.glob("ioub_jax-*")} - {sdist, wheel}
    if others:
        raise ConfigError(f"{others.pop()} is of another version; empty {output} first.")
    _hatchling("sdist", root, output)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        _hatchling("wheel", pathlib.Path(folder, f"ioub_jax-{version}"), output)
    return sdist, wheel


def _hatchling(target: str, root: pathlib.Path, output: pathlib.Path) -> None:
    words = ["-m", "hatchling", "build", "--target", target, "--directory", str(output.absolute())]
    done = subprocess.run(
        [sys.executable, *words], cwd=root, text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise ConfigError(f"The {target} cannot be built: {' '.join(done.stdout.split())[-1500:]}")
