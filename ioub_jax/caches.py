"""Where is kept what can be had again: downloads, compiled programs."""

import os
import pathlib


def cache_folder() -> pathlib.Path:
    """The folder of everything of ours; it may not exist."""
    return folder_of("IOUB_JAX_CACHE", "~/.cache/ioub_jax")


def folder_of(variable: str, default: str) -> pathlib.Path:
    """The folder that an environment variable names, or else the default one."""
    return pathlib.Path(os.environ.get(variable) or default).expanduser()
