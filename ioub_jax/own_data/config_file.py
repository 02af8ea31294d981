"""A user's own configuration file, written from the data set found in a folder."""

import json
import os
import pathlib
import shlex
import textwrap

from ioub_jax import files
from ioub_jax.errors import ConfigError
from ioub_jax.own_data.looking import OwnData
from ioub_jax.own_data.measures import Setting

_WIDTH = 96

_FILE = '''"""{title}, as `ioub check_data --data={place}` found it.

The values below follow from the training images; change them as you like. All other
keys and their meanings: ioub config --config={name}. To train:

ioub train --config={name} --workdir=runs/{stem}
"""

import ml_collections

from ioub_jax.configs import small_data


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """A detector for this data; words such as atss or r50,baseline take precedence."""
    config = small_data.get_config(argument, usual="{argument}")

{body}
    return config
'''


def check_path(path: pathlib.Path) -> None:
    """Checks that a configuration can be written to a file, before any data is read.

    Raises:
      ConfigError: the file exists already, is not a .py, or its folder does not exist.
    """
    if path.suffix != ".py":
        raise ConfigError(f"{path}: a configuration is a Python file; name it {path.stem}.py.")
    if os.path.exists(path):
        raise ConfigError(f"{path} exists already; give another name, or remove it first.")
    if not os.path.isdir(path.parent):
        raise ConfigError(f"{path.parent} is not a folder; create it first, or give another name.")


def write(path: pathlib.Path, data: OwnData) -> None:
    """Writes the configuration of a data set, with a reason for every value.

    Args:
      path: the file, which must not exist yet.
      data: the data set and the values that suit it.

    Raises:
      ConfigError: for the reasons in `check_path`.
    """
    check_path(path)
    files.write_text(path, text(data, path))


def text(data: OwnData, path: pathlib.Path) -> str:
    """The text of the file that `write` writes."""
    lines = [f"    # {line}" for line in _wrapped(f"{data.found.title}, in {data.found.place}.")]
    lines += [_assignment(key, value) for key, value in data.found.keys.items()]
    before = None
    for setting in data.settings:
        if setting.why != before:
            lines += ["", *(f"    # {line}" for line in _wrapped(setting.why))]
        lines += _assigned(setting, starts=setting.why != before)
        before = setting.why
    if data.missing:
        lines += ["", "    # Missing or broken when this file was written:"]
        for sentence in data.missing:
            wrapped = _wrapped(sentence)
            lines += [f"    # - {wrapped[0]}", *(f"    #   {line}" for line in wrapped[1:])]
        if any("on_error" in sentence for sentence in data.missing):
            lines += ["    # To train without them:", '    # config.data.on_error = "skip"']
    return _FILE.format(
        title=data.found.title[0].upper() + data.found.title[1:],
        place=_in_docstring(data.found.place),
        name=_in_docstring(path),
        stem=_in_docstring(path.stem),
        argument=data.argument,
        body="\n".join(lines),
    )


def _in_docstring(path: object) -> str:
    return shlex.quote(str(path)).replace("\\", "\\\\").replace('"', '\\"')


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)


def _assigned(setting: Setting, *, starts: bool) -> list[str]:
    """The lines of a setting; a setting of anchors is conditional on a matching by IoU."""
    line = _assignment(setting.key, setting.value)
    if not setting.key.startswith("anchors."):
        return [line]
    condition = ['    if config.matcher.name == "iou":'] if starts else []
    return [*condition, f"    {line}"]


def _assignment(key: str, value: object) -> str:
    return f"    config.{key} = {_written(value)}"


def _written(value: object) -> str:
    """The source text of a value, in the style of Python's formatters."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        inner = ", ".join(map(_written, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)
