import pytest

from tests.commands import forked


@pytest.fixture(scope="module")
def commands():
    """`commands(verb, *arguments)` runs a command: its exit code and what it printed."""
    served = forked.Commands()
    yield served.run
    served.close()
