"""Errors of the machine in one sentence, without jax, whose import may be what fails."""

import errno
import importlib.metadata
import importlib.util
import os
import re
import resource
import sys
import traceback
from collections.abc import Iterator
from typing import Any

# These errors are never a bug of the program, wherever they are raised.
_ERRNOS = {
    getattr(errno, name)
    for name in (
        "EACCES", "EDQUOT", "EEXIST", "EFBIG", "EIO", "EISDIR", "ENAMETOOLONG", "ENOSPC",
        "ENOTDIR", "EPERM", "EROFS", "ESTALE",
    )
    if hasattr(errno, name)
}  # fmt: skip

# The messages of C++, of the library loader and of Python's threads.
_NO_MEMORY = re.compile(
    "can't start new thread|failed to map segment|bad_alloc|cannot allocate memory|out of memory",
    re.IGNORECASE,
)

# Training the smallest detector on a CPU with two cores takes less than 2.3 GiB.
_ENOUGH_BYTES = 3 * 2**30

_LESS = (
    "lower batch_size or data.canvases, raise runtime.gradient_accumulation, or set "
    "runtime.rematerialize to 'blocks'; outside training, lower evaluation.batch_size or "
    "--batch_size"
)


def sentence_of(error: BaseException) -> str | None:
    """An error of the machine as one sentence for the user; None for any other error.

    The causes of an error are searched, too, since libraries wrap the machine's errors.
    """
    for beneath in _chain(error):
        sentence = (
            _sentence_of_file(beneath)
            or _sentence_of_memory(beneath)
            or _sentence_of_device(beneath)
        )
        if sentence:
            return sentence
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _sentence_of_file(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    # The C++ libraries below orbax raise errors with the text but without the error number.
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        if os.strerror(number) in str(error):
            named = re.search(r"(?<=[\"'\[ ])/[^\"'\]\s]+", str(error))
            return f"{os.strerror(number)}{f': {named[0]}' if named else ''}."
    return None


def _sentence_of_memory(error: BaseException) -> str | None:
    text = " ".join(str(error).split())
    if "RESOURCE_EXHAUSTED" in text:
        return f"Not enough memory ({text[:200]}): {_LESS}."
    if text.startswith("Worker process was terminated unexpectedly"):
        return (
            f"A process that loads images was killed ({text.partition('. ')[0]}), often for lack "
            "of memory: lower runtime.workers or batch_size; run the same command to resume from "
            "the last checkpoint."
        )
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or _NO_MEMORY.search(text)
    ):
        why = f" ({text[:200]})" if text else ""
        return (
            f"This process may not have the memory or the threads that it needs{why}: lift its "
            "limits (ulimit -v and -u, those of a container or job) or lower runtime.workers; or "
            f"{_LESS}."
        )
    return None


def _sentence_of_device(error: BaseException) -> str | None:
    """A sentence for an error of jax that does not find the devices that it is set to use."""
    frames = traceback.extract_tb(error.__traceback__)
    asked = isinstance(error, AssertionError) and frames and "xla_bridge" in frames[-1].filename
    if not asked and not str(error).startswith("Unable to initialize backend"):
        return None
    platforms = os.environ.get("JAX_PLATFORMS", "''")
    why = " ".join(str(error).partition("(set JAX_PLATFORMS")[0].split())
    return (
        "jax finds none of the devices that it is set to use, "
        f"JAX_PLATFORMS={platforms}{f' ({why})' if why else ''}: unset it or set it to cpu, or "
        "install jax for that device, for example by pip install 'jax[cuda13]'."
    )


def prepare() -> None:
    """Prepares the process of a command, before anything is imported that takes memory."""
    sys.excepthook = show_uncaught
    _tell_of_limit()
    _hide_lines_of_cached_programs()


def _hide_lines_of_cached_programs() -> None:
    """Hides the log lines of XLA on a machine without an accelerator, if jax is older than 0.12.

    Such a jaxlib logs two long lines for every program that it reads from the cache: it takes two
    preferences of its own compiler for instructions that the processor lacks (xla issue 44565). The
    programs are right: their keys in the cache contain the processor's instructions.
    """
    try:
        jaxlib = importlib.metadata.version("jaxlib")  # does not import it
    except importlib.metadata.PackageNotFoundError:
        return  # the command will say what is missing
    if tuple(map(int, jaxlib.split(".")[:2])) >= (0, 12):
        return
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    if not plugins and importlib.util.find_spec("libtpu") is None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # jaxlib reads it at its import


def _tell_of_limit() -> None:
    """Warns of a memory limit that is so low that C++ may end the process without a message."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < _ENOUGH_BYTES:
        print(
            f"Only {limit / 2**30:.1f} GiB of address space are allowed (ulimit -v). jax needs 2 "
            "to 3 GiB for the smallest detector, and may end with a C++ stack trace if it lacks "
            "them.",
            file=sys.stderr,
        )


def show_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Prints an error outside a command's own handling, such as at import: `sys.excepthook`.

    Python then exits with code 1, which is also the exit code for errors that a user can fix.
    """
    sentence = _sentence_of_memory(error)
    if sentence is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"Error: {sentence}", file=sys.stderr)
