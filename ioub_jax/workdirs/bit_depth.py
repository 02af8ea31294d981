"""Bit depth of a run's 16-bit images, measured on its training data and then fixed.

A second measurement on other images could have another result. The detector would then see
brighter or darker pixels than those that it was trained on.
"""

import pathlib

from ioub_jax import files
from ioub_jax.data import sources
from ioub_jax.data.images import BIT_DEPTHS
from ioub_jax.data.sources.example import Source
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoint_folders, configuration

_NAME = "bit_depth.json"


def is_kept(given: int | None, source: Source) -> bool:
    """True if a run with this training data records its bit depth: it is measured on the files.

    Args:
      given: the configured bit depth; None: it is measured.
      source: the run's training data.
    """
    return given is None and sources.bit_depth_of(source) is not None


def claim(workdir: pathlib.Path, given: int | None, source: Source) -> int | None:
    """The bit depth of a run; a new run measures it and records it in `bit_depth.json`.

    Args:
      workdir: the run's folder.
      given: as in `is_kept`.
      source: its training data as it is now.

    Returns:
      The bit depth; None if the data does not consist of image files.

    Raises:
      ConfigError: the file is broken.
    """
    measured = sources.bit_depth_of(source)
    if not is_kept(given, source):
        return measured
    kept = _read(workdir)
    if kept is None:
        # A run that resumes without the file was begun by a version that measured nothing.
        kept = BIT_DEPTHS[-1] if checkpoint_folders.find(workdir) else measured
        files.write_json(workdir / _NAME, {"bit_depth": kept})
    return kept


def of_run(workdir: pathlib.Path, given: int | None) -> int:
    """The bit depth of a run: the configured one, or the one measured when it began.

    Args:
      workdir: the run's folder.
      given: the configured bit depth, or None.

    Raises:
      ConfigError: the file is broken.
    """
    return given or _read(workdir) or BIT_DEPTHS[-1]


def _read(workdir: pathlib.Path) -> int | None:
    path = workdir / _NAME
    if not path.exists():
        return None
    content = configuration.read_json(path)
    depth = content.get("bit_depth") if isinstance(content, dict) else None
    if depth not in BIT_DEPTHS:
        raise ConfigError(
            f"{path} does not have a `bit_depth` of {', '.join(map(str, BIT_DEPTHS))}; restore the "
            "original file."
        )
    return int(depth)
