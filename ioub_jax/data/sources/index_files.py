"""Writing of indexes, which cache the parsed annotations of a data set."""

import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Suffix of a file that is still being written.
PARTIAL = ".partial"


def write_index(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Writes an .npz atomically and readable by everyone; several hosts may write it at once.

    Args:
      path: the file; its folder is created if needed.
      arrays: the contents of the file, by name.

    Raises:
      OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name is unique across hosts; a process id is not.
    descriptor, partial = tempfile.mkstemp(suffix=PARTIAL, prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)
        os.chmod(partial, 0o644)  # mkstemp makes the file readable by its owner only
        os.replace(partial, path)
    finally:
        pathlib.Path(partial).unlink(missing_ok=True)
