"""Errors of parts in the terms of a configuration: its keys replace the names of arguments."""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError

# An argument's name, but neither a part of a word, of a path or of another name, nor a value.
_NAME = r"(?<![\w.'\"/\\-])(?:{names})(?![\w'\"/\\-])"


def below(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """The keys of arguments that have the names of the keys below a prefix."""
    return {name: f"{prefix}.{name}" for name in names}


def naming_fields(prefix: str, kind: type) -> contextlib.AbstractContextManager[None]:
    """As `naming`, for a dataclass whose fields have the names of the keys below a prefix."""
    return naming(below(prefix, [field.name for field in dataclasses.fields(kind)]))


@contextlib.contextmanager
def naming(keys: Mapping[str, str]) -> Iterator[None]:
    """Reports errors about arguments as errors about the keys that set them.

    Such an error begins with the name of its argument, as "scales is (2.0,); ..." does; any other
    error passes unchanged.

    Args:
      keys: the key of each argument.

    Raises:
      ConfigError: instead of a `ValueError` about an argument.
      DataError: instead of another `DataError` about an argument.
    """
    try:
        yield
    except ValueError as error:
        told = with_keys(str(error), keys)
        if told == str(error) or isinstance(error, ConfigError):  # which has its keys already
            raise
        if isinstance(error, DataError):
            raise DataError(told, error.kind) from error
        raise ConfigError(told) from error


def with_keys(sentence: str, keys: Mapping[str, str]) -> str:
    """A sentence with keys for arguments; unchanged where it does not begin with an argument."""
    pattern = _NAME.format(names="|".join(map(re.escape, keys)))
    if not re.match(f"{pattern} ", sentence):
        return sentence
    return re.sub(pattern, lambda found: keys[found[0]], sentence)
