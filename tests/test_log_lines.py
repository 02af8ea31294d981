"""The lines of a training on stderr."""

import io
import logging

import pytest

from ioub_jax import log_lines

LOGGER = logging.getLogger("ioub_jax")


@pytest.fixture
def heard():
    """What reaches the root logger."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def test_lines_are_shown_once_and_the_logger_is_as_before(heard, capsys):
    with log_lines.shown_by_default():
        LOGGER.info("Step 1: all\x1b[2J well")
    assert capsys.readouterr().err == "Step 1: all\\x1b[2J well\n"
    assert heard.getvalue() == ""
    assert (LOGGER.level, LOGGER.handlers, LOGGER.propagate) == (logging.NOTSET, [], True)


def test_who_listens_already_is_not_talked_over(heard, capsys):
    logging.getLogger().setLevel(logging.INFO)
    with log_lines.shown_by_default():
        LOGGER.info("Step 1")
    assert heard.getvalue() == "Step 1\n"
    assert capsys.readouterr().err == ""


def test_a_level_of_its_own_is_kept(capsys):
    LOGGER.setLevel(logging.WARNING)
    try:
        with log_lines.shown_by_default():
            LOGGER.info("Step 1")
    finally:
        LOGGER.setLevel(logging.NOTSET)
    assert capsys.readouterr().err == ""


def test_after_an_error_the_logger_is_as_before():
    with pytest.raises(ZeroDivisionError), log_lines.shown_by_default():
        raise ZeroDivisionError
    assert (LOGGER.level, LOGGER.handlers, LOGGER.propagate) == (logging.NOTSET, [], True)
