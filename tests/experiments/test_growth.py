"""How cost grows: what is counted, how it is timed, and the curves."""

import json

import jax.numpy as jnp
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from experiments.benchmark import growth


def test_amounts_are_those_of_the_workload():
    for name, amount in (("images", 1), ("ground-truth slots", 10), ("classes", 1)):
        assert growth._amount(name, growth._GROWING[name][0]) == amount
    # (100 * 168 + 50 * 84 + 25 * 42 + 13 * 21 + 7 * 11) * 9 at 800x1344.
    assert growth._amount("anchors", growth._GROWING["anchors"][-1]) == 201_600


def test_every_piece_of_work_has_its_turns():
    flags.FLAGS.mark_as_parsed()
    calls = []
    work = {name: lambda name=name: calls.append(name) or jnp.zeros(()) for name in "ab"}
    with flagsaver.flagsaver(repeats=3):
        seconds = growth._seconds(work)
    # Once to compile, then in turns.
    assert calls == ["a", "b"] * 4
    assert all(0.0 <= value < 60.0 for both in seconds.values() for value in both)


def test_the_curves_are_drawn(tmp_path):
    arms = {arm: {"wall, s": 0.1, "CPU, s": 0.2} for arm in ("baseline", "both")}
    result = {name: {"10": arms, "20": arms} for name in growth._GROWING}
    result["devices"] = {"1": {"flops": 4e9, "bytes accessed": 3e9}}
    growth._draw(tmp_path / "growth.png", json.loads(json.dumps(result)))
    with Image.open(tmp_path / "growth.png") as image:
        assert image.size == (1950, 1050)
