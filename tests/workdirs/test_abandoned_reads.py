import logging
import sys

import pytest

from ioub_jax.workdirs import abandoned_reads


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """What would be complained of, whatever was kept quiet before; afterwards all is as it was."""
    seen = []
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", [])
    monkeypatch.setattr(sys, "unraisablehook", lambda of: seen.append(str(of.exc_value)))
    return seen


async def read_array():
    pass


class Raises:
    def __init__(self, words):
        self._words = words

    def __del__(self):
        raise RuntimeError(self._words)


def leave_behind():
    read_array()  # never awaited, which is an error in tests
    Raises("Event loop is closed")
    Raises("of something else")


def test_of_a_failed_read_nothing_more_is_told_then_or_later(seen):
    with pytest.raises(ValueError), abandoned_reads.kept_quiet():
        leave_behind()
        raise ValueError
    leave_behind()
    assert seen == ["of something else"] * 2


def test_after_a_read_all_is_told(seen, caplog):
    with abandoned_reads.kept_quiet():
        logging.getLogger("asyncio").warning("orbax")
        leave_behind()
    logging.getLogger("asyncio").warning("orbax")
    leave_behind()
    assert seen == ["of something else", "coroutine 'read_array' was never awaited",
                    "Event loop is closed", "of something else"]  # fmt: skip
    assert caplog.messages == ["orbax"]
