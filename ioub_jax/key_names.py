"""Errors of parts in terms of a configuration: its keys replace the names of arguments."""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError

# The name of an argument, if it is neither a value nor a part of a word, a path or another name.
_NAME = r"(?<![\w.'\"/\\-])(?:{names})(?![\w'\"/\\-])"


def below(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """The keys of arguments that are named like the keys below a prefix."""
    return {name: f"{prefix}.{name}" for name in names}


def naming_fields(prefix: str, kind: type) -> contextlib.AbstractContextManager[None]:
    """As `naming`, for a dataclass whose fields are named like the keys below a prefix."""
    return naming(below(prefix, [field.name for field in dataclasses.fields(kind)]))


@contextlib.contextmanager
def naming(keys: Mapping[str, str]) -> Iterator[None]:
    """Reports errors about arguments as errors about the keys that set them.

    Such an error begins with the name of its argument, as in "scales is (2.0,); ..."; any other
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
        if told == str(error) or isinstance(error, ConfigError):  # a ConfigError already has keys
            raise
        if isinstance(error, DataError):
            raise DataError(told, error.kind) from error
        raise ConfigError(told) from error


def with_keys(sentence: str, keys: Mapping[str, str]) -> str:
    """A sentence with keys for arguments; unchanged if it does not begin with an argument."""
    pattern = _NAME.format(names="|".join(map(re.escape, keys)))
    if not re.match(f"{pattern} ", sentence):
        return sentence
    return re.sub(pattern, lambda found: keys[found[0]], sentence)
