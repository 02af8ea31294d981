"""Changes to a configuration that make an arm of a comparison, parsed from their text."""

import ast
import re
from collections.abc import Callable
from typing import Any

import ml_collections

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

#: An arm's name is that of its folder.
_ARM_NAME = re.compile(r"\w[\w.-]*")

#: What makes an arm of a configuration.
Change = Callable[[ml_collections.ConfigDict], None]


def setting(key: str, text: str, flag: str) -> Change:
    """The change that sets a key, such as `loss.classification.eta`, to a value in Python syntax.

    It raises `ConfigError`, naming the flag, where there is no such key, or it takes no such value.
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
            if kind is object:  # a text, or several of something
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
    """An arm that sets any keys, from its text `NAME: KEY=VALUE KEY=VALUE`, values without blanks.

    Args:
      text: the name, which becomes a folder's, and what is set; nothing after the colon: nothing.
      flag: what the text was given by, for errors.

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
