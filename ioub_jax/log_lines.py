"""The package's log messages as sentences on stderr."""

import contextlib
import logging
import sys
from collections.abc import Iterator

import tqdm

from ioub_jax.printing import printable_lines

_logger = logging.getLogger("ioub_jax")


class _AboveProgressBar(logging.Handler):
    """Writes every message literally, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.tqdm.write(printable_lines(self.format(record)), file=sys.stderr)


def show() -> logging.Handler:
    """Shows messages from now on, and returns the handler that writes them."""
    handler = _AboveProgressBar()
    _logger.setLevel(logging.INFO)
    _logger.addHandler(handler)
    _logger.propagate = False  # the root logger may have handlers of libraries
    return handler


@contextlib.contextmanager
def shown_by_default() -> Iterator[None]:
    """Shows the messages of the block, unless the user has configured logging.

    Logging is configured if the logger `ioub_jax` has a level, or the root logger INFO or lower.
    """
    if _logger.level != logging.NOTSET or _logger.isEnabledFor(logging.INFO):
        yield
        return
    handler = show()
    try:
        yield
    finally:
        _logger.removeHandler(handler)
        _logger.setLevel(logging.NOTSET)
        _logger.propagate = True
