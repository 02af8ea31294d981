"""Files of detections and of ground truth in COCO's JSON formats, read without jax."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError


def names_of(paths: Sequence[pathlib.Path]) -> list[str]:
    """The name of each path, with as many of its folders as are needed to distinguish them.

    Raises:
      ConfigError: a path is given twice.
    """
    parts = [pathlib.Path(os.path.abspath(path).removesuffix(".json")).parts for path in paths]
    if len(set(parts)) < len(parts):
        again = next(path for path, part in zip(paths, parts, strict=True) if parts.count(part) > 1)
        raise ConfigError(f"{again} is given twice; give each workdir or file once.")
    length = next(
        length
        for length in range(1, max(map(len, parts)) + 1)
        if len({part[-length:] for part in parts}) == len(parts)
    )
    return ["/".join(part[-length:]) for part in parts]


def read_json(path: pathlib.Path, kind: type) -> Any:
    """The contents of a file of detections or of ground truth.

    Raises:
      DataError: the file does not exist, is not JSON, or has other contents.
    """
    try:
        value = json.loads(path.read_bytes())  # in any of the encodings of JSON
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; give an existing file."
        raise DataError(message, "broken_annotation") from None
    except ValueError as error:
        message = f"{path} is not a JSON file ({error}); write or download it again."
        raise DataError(message, "broken_annotation") from None
    if not isinstance(value, kind):
        wanted = "a list of detections" if kind is list else "a data set in COCO's format"
        raise DataError(f"{path} does not have {wanted}{_way_to(value)}.", "broken_annotation")
    return value


def _way_to(value: Any) -> str:
    """Returns a hint for a file with images, detections and categories, such as ioub predict's."""
    if not isinstance(value, dict) or not isinstance(value.get("annotations"), list):
        return ""
    return "; its 'annotations' are a list: write them into a file of their own and give that"
