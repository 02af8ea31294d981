"""Changes to a configuration that define an arm of a comparison, parsed from text."""

import ast
import re
from collections.abc import Callable
from typing import Any

import ml_collections

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

#: An arm's name is also the name of its folder.
_ARM_NAME = re.compile(r"\w[\w.-]*")

#: Changes a configuration in place into that of an arm.
Change = Callable[[ml_collections.ConfigDict], None]


def setting(key: str, text: str, flag: str) -> Change:
    """The change that sets a key, such as `loss.classification.eta`, to a value in Python syntax.

    The change raises `ConfigError`, which names the flag, if the key does not exist or does not
    accept the value.
    """

    def change(config: ml_collections.ConfigDict) -> None:
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node.get(name) if isinstance(node, ml_collections.ConfigDict) else None
        if not isinstance(node, ml_collections.ConfigDict) or last not in node:
            raise ConfigError(f"No such key in the configuration: {key!r}, in {flag}.")
        kind = node.get_type(last)
        try:
            if text == "None" and configuration.is_optional(node, last):
                node[last] = None
                return
            if kind is object:  # a string, or a tuple
                node[last] = _literal_or_text(text)
                return
            value = text if kind is str else ast.literal_eval(text)
            if value is None:
                raise TypeError
            node[last] = value
        except (SyntaxError, TypeError, ValueError):
            raise ConfigError(
                f"{flag} sets {key} to {text!r}, which is not of type {kind.__name__}."
            ) from None

    return change


def arm_of_settings(text: str, flag: str) -> tuple[str, Change]:
    """An arm that sets any keys, from the text `NAME: KEY=VALUE KEY=VALUE`.

    Args:
      text: the name, which is also that of a folder, and the values, which contain no spaces. If
        nothing follows the colon, the arm changes nothing.
      flag: the flag that the text was passed by, for errors.

    Raises:
      ConfigError: the text is not of that form.
    """
    name, colon, settings = text.partition(":")
    pairs = [each.partition("=") for each in settings.split()]
    if (
        not colon
        or not _ARM_NAME.fullmatch(name)
        or not all(key and equal for key, equal, _ in pairs)
    ):
        raise ConfigError(
            f"{flag}={text!r} is not an arm; write {flag}='NAME: KEY=VALUE KEY=VALUE', with a name "
            "of letters, digits, '_', '-' and '.', and values without blanks."
        )
    changes = [setting(key, value, flag) for key, _, value in pairs]

    def change(config: ml_collections.ConfigDict) -> None:
        for each in changes:
            each(config)

    return name, change


def _literal_or_text(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
