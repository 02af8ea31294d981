"""The parts of a run outside its configuration, by their qualified names in `parts.json`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ioub_jax import files
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

_NAME = "parts.json"


def qualified_name(part: Any) -> str:
    """Qualified name of a part: `package.module.Class`, or `package.module.function`.

    An optimizer of optax is a pair of functions. Its name is that of the function that created
    them, followed by the parts of its state, which distinguish Adam from Lion.
    """
    if isinstance(part, tuple) and hasattr(part, "init"):
        return f"{qualified_name(part.init)}({', '.join(_states(part))})"
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}.{named.__qualname__.partition('.<locals>')[0]}"


def _states(optimizer: Any) -> list[str]:
    """The names of the parts of an optimizer's state, from left to right."""

    def names(state: Any) -> list[str]:
        if not isinstance(state, tuple):
            return []
        inner = [name for part in state for name in names(part)]
        own = [] if type(state) is tuple else [type(state).__name__]
        return own + inner

    return names(optimizer.init({"kernel": np.zeros(1, np.float32)}))


def check(workdir: pathlib.Path, given: Mapping[str, str]) -> None:
    """Checks that the run in a workdir, if there is one, has the same user-supplied parts.

    Args:
      workdir: the run's folder.
      given: part -> qualified name.

    Raises:
      ConfigError: the run has other parts.
    """
    if not (workdir / "config.json").exists() and not (workdir / _NAME).exists():
        return
    before = read(workdir)
    for part in sorted(before.keys() | given.keys()):
        was, now = before.get(part), given.get(part)
        if was != now:
            raise ConfigError(
                f"{workdir} holds a run with {_in_words(part, was)}, not {_in_words(part, now)}; "
                "give the same one to resume it, or another workdir."
            )


def claim(workdir: pathlib.Path, given: Mapping[str, str]) -> None:
    """Writes `parts.json` into a workdir that has been checked, if there are any parts."""
    if given:
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / _NAME, dict(given), indent=2)


def read(workdir: pathlib.Path) -> dict[str, str]:
    """Part -> qualified name; empty if the configuration describes all parts.

    Raises:
      ConfigError: the file is broken.
    """
    path = workdir / _NAME
    found = configuration.read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path} is not the JSON object that ioub train wrote; restore the original file."
        )
    return found


def check_detector(workdir: pathlib.Path, *, network: Any = None, detector: Any = None) -> None:
    """Checks that a run trained with a user's own network or detector is given the same one.

    Args:
      workdir: the run's folder.
      network: the network that is given, or None.
      detector: the network of the detector that is given, or None.

    Raises:
      ConfigError: another one is given, or one is given although the run was trained without.
    """
    before = read(workdir)
    now = {"network": network, "detector": detector}
    # The parts of the run are reported first, since those are the ones to give.
    for part in sorted(now, key=lambda part: part not in before):
        was = before.get(part)
        name = None if now[part] is None else qualified_name(now[part])
        if was == name:
            continue
        way_out = (
            f"leave {part} out."
            if was is None
            else f"give the same in Python, as ioub_jax.load(workdir, {part}=...) to detect and "
            f"ioub_jax.load_run(workdir, {part}=...) to evaluate."
        )
        raise ConfigError(
            f"{workdir} was trained with {_in_words(part, was)}, not {_in_words(part, name)}; "
            f"{way_out}"
        )


def check_openable(workdir: pathlib.Path, *, network: Any = None, detector: Any = None) -> None:
    """Checks a run's detector like `check_detector`, and that its configuration describes its data.

    Raises:
      ConfigError: the detector or the data was given in Python and is not given here.
    """
    check_detector(workdir, network=network, detector=detector)
    if name := read(workdir).get("source"):
        raise ConfigError(
            f"{workdir} was trained on source={name}, which its configuration does not describe; "
            "evaluate it from Python: ioub_jax.train(experiment, workdir).evaluate(), which does "
            "not train if the run is finished."
        )


def _in_words(part: str, name: str | None) -> str:
    return f"the {part} of its configuration" if name is None else f"{part}={name}"
