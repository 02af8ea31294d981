"""The configuration behind `--data=PATH`: a recipe whose argument contains the path."""

import ml_collections

from ioub_jax import own_data

SEPARATOR = "|"


def get_config(argument: str) -> ml_collections.ConfigDict:
    """A configuration that suits the data set in a folder.

    Args:
      argument: the format or nothing, the words of the recipe's argument, and the folder, separated
        by `SEPARATOR`.

    Raises:
      DataError: for the reasons in `own_data.look_at`.
    """
    data_format, words, path = argument.split(SEPARATOR, maxsplit=2)
    return own_data.look_at(path, data_format or None, words).config()
