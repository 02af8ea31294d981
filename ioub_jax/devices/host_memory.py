"""Memory of a process that computes on a CPU: huge pages, and the return of free memory.

glibc maps every large array when it is allocated and unmaps it when it is freed, so each training
step touches new pages. Pages of 2 MiB instead of 4 KiB are 512 times fewer, which saves a sixth of
the step's time (docs/performance.md). glibc reads this setting only from the environment when a
process starts.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

_HUGE_PAGES = "glibc.malloc.hugetlb=1"


def environment() -> dict[str, str]:
    """Environment variables with which a process has its arrays in huge pages.

    Returns:
      `GLIBC_TUNABLES`. The dict is empty if malloc is not glibc's, if jax may compute on another
      device than the CPU, or if the user's environment configures malloc.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    is_set_by_user = "glibc.malloc" in tunables or any(
        name.startswith("MALLOC_") for name in os.environ
    )
    if is_set_by_user or not _is_glibc() or not _is_for_cpu():
        return {}
    return {"GLIBC_TUNABLES": ":".join(filter(None, (tunables, _HUGE_PAGES)))}


def restart_with_huge_pages() -> None:
    """Restarts this program once, as the same process, with `environment()`.

    This is for the first lines of a command, before anything has begun. If the command runs within
    another program, such as a test, nothing is done.
    """
    wanted = environment()
    given = sys.argv[1:]
    is_program = sys.orig_argv[len(sys.orig_argv) - len(given) :] == given
    if wanted and given and is_program:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)


def give_back() -> None:
    """Returns free memory to the system, if malloc is glibc's.

    This is for the time after a compilation: some hundred megabytes of the compiler are then free,
    in pieces that are too small for the arrays of a step, so they would add to the step's memory.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # not Unix, or another library
        return False


def _is_for_cpu() -> bool:
    """True if jax is set to use only the CPU, or nothing is installed for other devices.

    The function does not ask jax, which is not imported yet.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
