"""The flag `--data=PATH`, which replaces `--config`, and the flags that go with it.

`--data` becomes a `--config` with the recipe `own_data.recipe`, which finds and measures the data
when the configuration is read.
"""

import contextlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from ioub_jax.own_data import OwnData

#: The keys of `own_data.FORMATS`, whose import would make --help wait for jax.
_FORMATS = ("tfds", "cityscapes", "coco", "yolo", "voc")
_RECIPE = pathlib.Path(__file__).parents[1] / "own_data" / "recipe.py"

Given = Mapping[str, str | None]


def define() -> None:
    """Defines --data, --data_format and --recipe for a command that has --config, too."""
    flags.DEFINE_string(
        "data",
        None,
        "A folder of data, in place of --config: a configuration for it is detected and measured.",
    )
    flags.DEFINE_enum(
        "data_format",
        None,
        _FORMATS,
        "The format to read, if the folder has data in several; by default the first one found.",
    )
    flags.DEFINE_string(
        "recipe",
        None,
        "With --data: detector, backbone and losses, such as atss or fcos,small,baseline, as after "
        "the colon of a configuration's name.",
    )


def found() -> "OwnData | None":
    """The data found by --data, once the flags are parsed; None without that flag."""
    values = flags.FLAGS
    if values.data is None:
        return None
    from ioub_jax import own_data  # imports jax, for which --help must not wait

    return own_data.look_at(_place(values.data), values.data_format, values.recipe or "")


def _place(data: str) -> str:
    """The absolute path in --data, since configurations may be used from any folder."""
    return os.path.abspath(os.path.expanduser(data))


def read(arguments: Sequence[str]) -> Given | None:
    """The values of these flags and of --config, before all flags are parsed.

    Args:
      arguments: the command line.

    Returns:
      flag -> value or None; None for a command that does not have these flags.
    """
    if "data" not in flags.FLAGS:
        return None
    known = flags.FlagValues()
    for name in ("data", "data_format", "recipe", "config"):
        flags.DEFINE_string(name, None, "", flag_values=known)
    with contextlib.suppress(flags.Error):  # reported when all flags are parsed
        known(list(arguments), known_only=True)
    return {name: known[name].value for name in known}


def config_flag(given: Given | None) -> list[str]:
    """The --config that replaces --data; empty without --data or if the flags are invalid."""
    if given is None or given["data"] is None or given["config"] is not None:
        return []
    if given["data_format"] not in (None, *_FORMATS):  # absl refuses it
        return []
    words = (given["data_format"] or "", given["recipe"] or "", _place(given["data"]))
    return [f"--config={_RECIPE}:{'|'.join(words)}"]


def check(given: Given | None) -> None:
    """Refuses combinations of flags, each of which is valid by itself.

    Raises:
      flags.Error: --data and --config are both given or both missing, or a flag that needs --data
        is given without it.
    """
    if given is None:
        return
    if given["data"] is not None and given["config"] is not None:
        raise flags.Error(
            "--data and --config are both given: --data finds the configuration by itself; set "
            "single keys by --config.KEY=VALUE"
        )
    if given["data"] is not None:
        return
    for name in ("data_format", "recipe"):
        if given[name] is not None:
            raise flags.Error(f"--{name} goes with --data=PATH, which is not given")
    if given["config"] is None:
        raise flags.Error(
            "give your data's folder as --data=PATH, or a configuration as --config=NAME"
        )
