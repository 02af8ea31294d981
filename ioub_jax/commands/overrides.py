"""The flags --config.KEY=VALUE: None, tuples as users write them, and the keys of a trained run."""

import ast
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from ioub_jax import files
from ioub_jax.configs import defaults, keys
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

# ------------------------------------------------------------------ values


class _OrNone(flags.ArgumentParser):
    """Parser of None or another parser's values; `check` refuses None for required keys."""

    def __init__(self, parser: flags.ArgumentParser) -> None:
        self._parser = parser
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument: Any) -> Any:
        return None if argument == "None" else self._parser.parse(argument)

    def flag_type(self) -> str:
        return self._parser.flag_type()


class _Tuple(flags.ArgumentParser):
    """Parser of a tuple in Python's notation, or of its members separated by commas.

    ml_collections' own parser joins all flags of a key to one tuple and does not accept bare names.
    """

    def parse(self, argument: Any) -> tuple[Any, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        try:
            value = ast.literal_eval(argument.strip())
        except (SyntaxError, ValueError):
            return tuple(map(_name, _members(argument)))
        return _as_tuples(value) if isinstance(value, tuple | list) else (value,)

    def flag_type(self) -> str:
        return "tuple"


def _members(text: str) -> list[str]:
    """The parts of a text between commas, without outer brackets."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("()", "[]"):
        inner = inner[1:-1]
    members = [member.strip() for member in inner.removesuffix(",").split(",")]
    if not all(members) or re.search(r"[()\[\]{}]", inner):
        raise ValueError("it is not a tuple; write it as \"('a','b')\" or as a,b")
    return members


def _name(member: str) -> str:
    quoted = len(member) > 1 and member[0] == member[-1] and member[0] in "'\""
    return member[1:-1] if quoted else member


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, tuple | list) else value


class _TextOrTuple(flags.ArgumentParser):
    """Parser of a text, or of several as a tuple or separated by commas."""

    syntactic_help = "a text, or several separated by commas"

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        if "," not in argument and argument[:1] + argument[-1:] not in ("()", "[]"):
            return argument
        members = _Tuple().parse(argument)
        return members[0] if len(members) == 1 else members

    def flag_type(self) -> str:
        return "text or tuple"


for _kind, _parser in (
    (bool, flags.BooleanParser()),
    (float, flags.FloatParser()),
    (int, flags.IntegerParser()),
    (str, flags.ArgumentParser()),
    (tuple, _Tuple()),
    (object, _TextOrTuple()),
):
    config_flags.register_flag_parser_for_type(_kind, _OrNone(_parser))


def check(values: flags.FlagValues) -> None:
    """Refuses None for required keys, and turns numbers into names for keys that hold names.

    Args:
      values: the parsed flags, including `--config`.

    Raises:
      flags.Error: a required key is None; the message names the flag.
    """
    config_flag: Any = values["config"]
    for key, value in config_flag.override_values.items():
        *path, last = key.split(".")
        node = config_flag.value
        for name in path:
            node = node[name]
        may_be_none = configuration.is_optional(node, last) or _takes(key, None)
        if value is None and not may_be_none:
            kind = type(values[f"config.{key}"].default).__name__
            raise flags.IllegalFlagValueError(
                f"--config.{key}=None: the key cannot be None, give a value of type {kind}"
            )
        if isinstance(value, tuple) and _has_names(key, value, values[f"config.{key}"].default):
            # Classes may have names such as 1 and 2.
            names = tuple(member if isinstance(member, str) else str(member) for member in value)
            node[last] = config_flag.override_values[key] = names


def _takes(key: str, value: Any) -> bool:
    """True if the table of keys accepts a value for a key without conversion."""
    return any(known.name == key and known.must_be.fault(value) is None for known in keys.KEYS)


def _has_names(key: str, value: tuple[Any, ...], default: Any) -> bool:
    """True if the members of a tuple are names.

    That is the case if the key does not accept the value as it is, and its default is a tuple of
    names or None, which stands for class names.
    """
    if _takes(key, value):
        return False
    return default is None or (
        isinstance(default, tuple) and all(isinstance(member, str) for member in default)
    )


# ------------------------------------------------------------------ keys of a run


class Changes:
    """The flags `--config.KEY=VALUE` of a command that uses a run.

    The keys are read from the run's folder, so the flags are defined only when flags are parsed.

    Args:
      run_flag: the name of the flag whose value is the run, or several runs separated by commas.
    """

    def __init__(self, run_flag: str) -> None:
        self._run_flag = run_flag

    @property
    def value(self) -> dict[str, Any]:
        """Key with dots -> the value given by a flag."""
        flag: Any = flags.FLAGS["config"]
        return dict(flag.override_values)

    def define(self, arguments: Sequence[str]) -> None:
        """Defines the flags.

        Args:
          arguments: the command line.

        Raises:
          flags.Error: a key cannot be changed.
          KeyError, AttributeError: there is no such key.
        """
        arguments = flags.FLAGS.read_flags_from_files(list(arguments), force_gnu=False)
        template = _template(self._workdirs(arguments))
        _check_parts(arguments, template)
        config_flags.DEFINE_config_dict(
            "config",
            template,
            "Keys of the run's configuration to change here, "
            + ", ".join(f"--config.{part}.KEY=VALUE" for part in configuration.CHANGEABLE),
            sys_argv=arguments,
        )
        flags.FLAGS["config"].default_as_str = "the run's own"  # instead of the whole configuration

    def _workdirs(self, arguments: Sequence[str]) -> list[pathlib.Path]:
        """The existing folders of runs that the arguments name."""
        found = flags.FlagValues()
        flags.DEFINE_string(self._run_flag, "", "", flag_values=found)
        try:
            found(arguments, known_only=True)
        except flags.Error:  # reported when all flags are parsed
            return []
        text = found[self._run_flag].value or ""
        return [path for path in map(files.path_of, {text, *text.split(",")}) if path.is_dir()]


def _template(workdirs: Sequence[pathlib.Path]) -> ml_collections.ConfigDict:
    """All keys that can be changed, with their types, from `defaults.py` and from the runs."""
    full = defaults.get_config()
    template = ml_collections.ConfigDict({part: full[part] for part in configuration.CHANGEABLE})
    for workdir in workdirs:
        try:
            stored = configuration.read_workdir(workdir)
        except ConfigError:  # reported when the run is opened
            continue
        with template.ignore_type():
            template.update(
                {
                    part: stored[part].to_dict()
                    for part in configuration.CHANGEABLE
                    if part in stored
                }
            )
    return template


def _check_parts(arguments: Sequence[str], template: ml_collections.ConfigDict) -> None:
    """Refuses a configuration file, and keys of parts that training has fixed."""
    allowed = ", ".join(f"config.{part}" for part in template)
    fixed = set(defaults.get_config()) - set(template)
    for argument in arguments:
        found = re.match(r"--?(?:no)?config(?:\.(?P<key>[^=]*))?(?:=|$)", argument)
        if found and found["key"] is None:
            raise flags.Error(
                "--config takes no file here, the run has its own configuration; set keys of "
                f"{allowed}"
            )
        if found and found["key"].split(".")[0] in fixed:
            raise flags.Error(
                f"--config.{found['key']} was fixed by the training; only keys of "
                f"{allowed} can be changed"
            )
