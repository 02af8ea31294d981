"""Freed memory stays with a process that computes on a CPU, instead of going back to the system.

glibc maps every large array anew and unmaps it when it is freed, so each training step touches its
pages for the first time again: a fifth of the step of a small detector (docs/performance.md).
"""

import ctypes
import importlib.metadata
import importlib.util
import os

import jax

# Of malloc.h: parameters of mallopt, which gives 1 where it could set one.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep() -> bool:
    """Sets glibc's malloc so, before jax makes its threads and arrays.

    Nothing is done where it is not glibc's, where jax may compute on something else, or where the
    user's environment sets malloc in its own way (`GLIBC_TUNABLES`, `MALLOC_...`).

    Returns:
      Whether it is set.
    """
    if not _is_glibc() or not _is_for_cpu() or _is_set_by_user():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One heap for all threads: those of the others cannot grow beyond 64 MiB, and what does not
    # fit is mapped whatever is set. No mapping, and nothing at the heap's end is given back.
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
    return all([mallopt(*setting) == 1 for setting in settings.items()])


def give_back() -> None:
    """Gives what is free now back to the system, where malloc is glibc's.

    For after a compilation: some hundred megabytes of the compiler's own are free then, in pieces
    in which no array of a step would fit, and the step's memory would come on top.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # not Unix, or another library
        return False


def _is_for_cpu() -> bool:
    """Whether jax is told to use the CPU alone, or has nothing installed for anything else."""
    platforms = jax.config.values["jax_platforms"]
    if platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def _is_set_by_user() -> bool:
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return tuned or any(name.startswith("MALLOC_") for name in os.environ)
