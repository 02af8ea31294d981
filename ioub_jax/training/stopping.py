"""SIGTERM and Ctrl-C as a request to stop, which a run checks between two steps."""

import signal
import threading
from typing import Any, Self


class StopSignals:
    """Context in which SIGTERM and SIGINT request a stop instead of ending the process.

    Args:
      signals: the signals that request a stop.

    Attributes:
      requested: whether a signal has arrived.
    """

    def __init__(self, signals: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)) -> None:
        """Starts without a request."""
        self._signals = signals
        self.requested = False
        self._previous: dict[int, Any] = {}

    def _request(self, signum: int, frame: Any) -> None:
        """Notes a signal; subclasses do more."""
        self.requested = True

    def __enter__(self) -> Self:
        # Only the main thread can set handlers; a worker thread of a notebook trains without them.
        if threading.current_thread() is threading.main_thread():
            for signum in self._signals:
                self._previous[signum] = signal.signal(signum, self._request)
        return self

    def __exit__(self, *error: Any) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
