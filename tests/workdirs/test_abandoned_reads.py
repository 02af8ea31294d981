import logging
import sys

import pytest

from ioub_jax.workdirs import abandoned_reads


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """What would be complained of; afterwards all is as before."""
    seen, logger = [], logging.getLogger("asyncio")
    filters, logger.filters = logger.filters, []  # of other tests' failed reads

    def see(unraisable):
        if "left_behind" in str(unraisable.exc_value):  # not by other tests
            seen.append(str(unraisable.exc_value))

    monkeypatch.setattr(sys, "unraisablehook", see)
    yield seen
    logger.filters = filters


async def left_behind():
    pass


class Raises:
    def __init__(self, words):
        self._words = words

    def __del__(self):
        raise RuntimeError(self._words)


def leave_behind():
    left_behind()  # never awaited, which is an error in tests
    Raises("left_behind: Event loop is closed")
    Raises("left_behind: something else")


def test_of_a_failed_read_nothing_more_is_told_then_or_later(seen):
    with pytest.raises(ValueError), abandoned_reads.kept_quiet():
        leave_behind()
        raise ValueError
    leave_behind()
    assert seen == ["left_behind: something else"] * 2


def test_after_a_read_all_is_told(seen, caplog):
    with abandoned_reads.kept_quiet():
        logging.getLogger("asyncio").warning("orbax")
        leave_behind()
    logging.getLogger("asyncio").warning("orbax")
    leave_behind()
    assert seen == ["left_behind: something else", "coroutine 'left_behind' was never awaited",
                    "left_behind: Event loop is closed", "left_behind: something else"]  # fmt: skip
    assert caplog.messages == ["orbax"]
