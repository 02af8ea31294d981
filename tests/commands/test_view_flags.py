import types

import pytest
from absl import flags

from ioub_jax.commands import view_flags
from ioub_jax.detectors import Views
from ioub_jax.detectors.views import MERGES
from ioub_jax.errors import ConfigError


@pytest.fixture
def given(monkeypatch):
    """`given(flip, scales, merge)` are what the flags were given."""

    def parse(flip=False, scales=None, merge=None):
        values = types.SimpleNamespace(flip=flip, scales=scales, merge=merge)
        monkeypatch.setattr(flags, "FLAGS", values)

    return parse


def test_flags_say_which_views(given):
    given()
    assert view_flags.views() is None and view_flags.made_by() == {}
    given(flip=True)
    assert view_flags.views() == Views(flip=True)
    given(scales=["0.8", "1"], merge="nms")
    assert view_flags.views() == Views(scales=(0.8, 1.0), merge="nms")
    assert view_flags.made_by() == {"scales": ["0.8", "1"], "merge": "nms"}
    assert view_flags._MERGES == MERGES


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"merge": "nms"}, "--merge goes with --flip or --scales, which are not given"),
        ({"scales": ["big"]}, "--scales is big; it must be numbers, such as 0.8,1,1.25"),
        ({"scales": ["nan", "1"]}, "--scales is nan,1; it must be numbers"),
        ({"scales": ["1", "0"]}, r"--scales is \(1\.0, 0\.0\); it must be different numbers above"),
    ],
)
def test_flags_that_say_nothing_are_refused(given, values, words):
    given(**values)
    with pytest.raises(ConfigError, match=words):
        view_flags.views()
