"""Writing of indexes, which keep what was read of a data set for the next time."""

import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

#: How the name of a file ends that is being written.
PARTIAL = ".partial"


def write_index(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Writes an .npz completely or not at all, readable for all; several hosts may do so at once.

    Args:
      path: the file; its folder is made.
      arrays: what it holds, by name.

    Raises:
      OSError: it cannot be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its name is new on every host: process ids are not.
    descriptor, partial = tempfile.mkstemp(suffix=PARTIAL, prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)
        os.chmod(partial, 0o644)  # mkstemp lets nobody else read it
        os.replace(partial, path)
    finally:
        pathlib.Path(partial).unlink(missing_ok=True)
