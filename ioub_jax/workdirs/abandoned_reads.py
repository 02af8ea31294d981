"""Silences the messages that orbax prints after a failed read; the error itself is raised.

If one array of a checkpoint cannot be read, orbax closes the event loop of all reads. Each pending
read then reports an error of its own, hundreds of times and at any later moment: threads of
tensorstore complain that the loop is closed, coroutines and tasks that their errors were never
retrieved.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

_WORDS = ("event loop is closed", "tensorstore", "ocdbt", "orbax")


@contextlib.contextmanager
def kept_quiet() -> Iterator[None]:
    """Lets a failed read raise its error only, without later messages from its threads.

    After a failure the messages stay silenced, since they may arrive at any time.
    """
    hook, asyncio_logger = sys.unraisablehook, logging.getLogger("asyncio")

    def show_others(unraisable: Any) -> None:
        if not _is_of_a_read(f"{unraisable.exc_value} {unraisable.object!r}"):
            hook(unraisable)

    def is_another(record: logging.LogRecord) -> bool:
        return not _is_of_a_read(record.getMessage())

    sys.unraisablehook = show_others
    asyncio_logger.addFilter(is_another)
    with contextlib.ExitStack() as put_back:
        put_back.enter_context(warnings.catch_warnings())
        # From a read that had not begun when the loop was closed.
        warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
        try:
            yield
        except BaseException:
            put_back.pop_all()
            raise
    sys.unraisablehook = hook
    asyncio_logger.removeFilter(is_another)


def _is_of_a_read(words: str) -> bool:
    return any(word in words.lower() for word in _WORDS)
