"""Pixel convention of a run's VOC XMLs, decided when it began and then fixed.

Other files, or more of them, may be evidence for another convention. All boxes would then move by
a pixel, both those of a resumed run and those that it is evaluated on.
"""

import pathlib

from ioub_jax import files
from ioub_jax.data import sources
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.voc_pixels import CONVENTIONS
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

_NAME = "voc_pixels.json"


def is_kept(source: Source) -> bool:
    """True if a run with this training data records a convention: the data is VOC's XMLs."""
    return sources.voc_pixels_of(source) is not None


def claim(workdir: pathlib.Path, source: Source) -> None:
    """Records a run's convention in `voc_pixels.json`; a resumed run is checked against it.

    This must be called before the run's configuration is written again: the configuration of an
    earlier version says how pixels are counted, which a current one may leave open.

    Args:
      workdir: the run's folder.
      source: its training data as it is read now.

    Raises:
      ConfigError: as in `check`.
    """
    check(workdir, source)
    if is_kept(source) and not (workdir / _NAME).exists():
        files.check_can_write(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / _NAME, {"pixels": sources.voc_pixels_of(source)})


def check(workdir: pathlib.Path, source: Source) -> None:
    """Checks that a resumed run still has the convention that it began with.

    Args:
      workdir: the run's folder.
      source: its training data as it is read now.

    Raises:
      ConfigError: it has another one, or the file is broken.
    """
    kept, now = of_run(workdir), sources.voc_pixels_of(source)
    if kept is not None and now is not None and kept != now:
        raise ConfigError(
            f"The run in {workdir} reads the pixels of VOC's XMLs as {kept!r}, but its training "
            f"data is now read as {now!r}; resume with --config.data.voc.pixels={kept}, or choose "
            "another --workdir."
        )


def of_run(workdir: pathlib.Path) -> str | None:
    """The convention of a run; None if it has not begun or has no XMLs.

    Args:
      workdir: the run's folder.

    Raises:
      ConfigError: the file is broken.
    """
    path = workdir / _NAME
    if path.exists():
        content = configuration.read_json(path)
        pixels = content.get("pixels") if isinstance(content, dict) else None
        if pixels not in CONVENTIONS:
            raise ConfigError(
                f"{path} does not have `pixels` that are one of {', '.join(CONVENTIONS)}; restore "
                "the original file."
            )
        return str(pixels)
    data = (configuration.read_stored(workdir) or {}).get("data", {})
    if data.get("source") != "voc":
        return None
    configured: str | None = data["voc"].get("pixels")
    return configured
