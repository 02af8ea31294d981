"""Folders of downloads and compiled programs, which can be recreated."""

import os
import pathlib


def cache_folder() -> pathlib.Path:
    """The folder of all caches of this package; it may not exist."""
    return folder_of("IOUB_JAX_CACHE", "~/.cache/ioub_jax")


def folder_of(variable: str, default: str) -> pathlib.Path:
    """The folder that an environment variable names, or the default one."""
    return pathlib.Path(os.environ.get(variable) or default).expanduser()
