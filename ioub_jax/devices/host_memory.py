"""Memory of a process that computes on a CPU: huge pages, and the return of free memory.

glibc maps every large array anew and unmaps it when it is freed, so each training step touches its
pages for the first time again. Pages of 2 MiB instead of 4 KiB are 512 times fewer of them: a sixth
of the step's time (docs/performance.md). glibc reads that wish from the environment as a process
starts, and nowhere else.
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
      `GLIBC_TUNABLES`; nothing where malloc is not glibc's, where jax may compute on something
      else than the CPU, or where the user's environment sets malloc in its own way.
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

    For the first lines of a command, where nothing has begun yet. Where the command runs inside of
    another program, as a test, nothing is done.
    """
    wanted = environment()
    given = sys.argv[1:]
    is_program = sys.orig_argv[len(sys.orig_argv) - len(given) :] == given
    if wanted and given and is_program:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)


def give_back() -> None:
    """Returns free memory to the system, if malloc is glibc's.

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
    """True if jax is set to use the CPU alone, or has nothing installed for anything else.

    jax itself is not asked: it is not imported yet.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
