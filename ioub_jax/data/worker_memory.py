"""Memory allocation of worker processes that decode images."""

import ctypes
import os

# The constants of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 * 2**20  # the most that glibc allows
_MOST_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep freed memory for the next image.

    By default malloc returns the memory of images to the system as soon as a few are freed. The
    system then clears the pages of the next images one by one, which takes as long as decoding
    them. Nothing is changed if the environment configures malloc.
    """
    set_by_user = "glibc.malloc.trim_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if set_by_user or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
