"""A training that ends when its evaluations no longer become better."""

import dataclasses
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax import building
from ioub_jax.commands import preview
from ioub_jax.training import early_stopping, loop
from ioub_jax.training.experiment import TrainingOptions
from tests import tiny


def options(patience, min_delta=0.0, steps=100):
    return TrainingOptions(images=steps * 8, batch_size=8, patience=patience, min_delta=min_delta)


def records_of(*aps):
    return [{"step": 10 * n, "AP": ap, "AP50": 0.9} for n, ap in enumerate(aps, start=1)]


@pytest.mark.parametrize(
    ("aps", "patience", "min_delta", "expected"),
    [
        ((), 1, 0.0, None),
        ((0.0,), 1, 0.0, None),  # the first is the best
        ((0.1, 0.1), 1, 0.0, (20, 10, 0.1)),  # as good is not better
        ((0.1, 0.2, 0.15, 0.2), 2, 0.0, (40, 20, 0.2)),
        ((0.1, 0.2, 0.15, 0.21), 2, 0.0, None),
        ((0.3, 0.2, 0.1), None, 0.0, None),
        # By less than .05 each, but .1 is beaten by .16.
        ((0.1, 0.12, 0.14, 0.16), 3, 0.05, None),
        ((0.1, 0.12, 0.14), 2, 0.05, (30, 30, 0.14)),
        # Without ground truth there is nothing to become better.
        ((None, None, None), 1, 0.0, None),
        ((0.1, None, None, 0.05), 1, 0.0, (40, 10, 0.1)),
        # The end of the run is no early one.
        ((0.1,) * 10, 9, 0.0, None),
        ((0.1,) * 9, 8, 0.0, (90, 10, 0.1)),
    ],
)
def test_when_it_ends(aps, patience, min_delta, expected):
    ended = early_stopping.ending(records_of(*aps), "AP", options(patience, min_delta))
    assert ended is None if expected is None else ended == (*expected, "AP")


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), max_size=9), st.integers(1, 4))
def test_it_has_not_ended_before_it_ends(aps, patience):
    """Who looks after every evaluation, or anew from the records, sees the same end."""
    first = next(
        (
            count
            for count in range(len(aps) + 1)
            if early_stopping.ending(records_of(*aps[:count]), "AP", options(patience))
        ),
        None,
    )
    if first is None:
        return
    stale, seen = aps[first - patience : first], aps[: first - patience]
    assert max(stale) <= max(seen)
    # The one before them was better than all before itself.
    assert all(seen[-1] > earlier for earlier in seen[:-1])


def test_it_says_what_was_best():
    ended = early_stopping.ending(records_of(0.25, 0.5, 0.5), "AP", options(1, 0.01))
    assert ended.describe(options(1, 0.01)) == (
        "at step 30 of 100, after 1 evaluation without a better AP by more than 0.01; the best is "
        "0.500, at step 20"
    )


@pytest.mark.slow
def test_a_run_ends_early_and_goes_on_only_if_asked_to(tmp_path, caplog):
    config, workdir = tiny.get_config(), tmp_path / "run"
    # No AP is better than the first one by 1.
    config.evaluation.update({"every_images": 8, "patience": 1, "min_delta": 1.0})
    config.evaluation.metrics = ("voc",)
    told = "early{} at step 2 of 24, after 1 evaluation without a better voc_AP by more than 1; the"
    experiment = building.build(config)
    with caplog.at_level(logging.INFO, logger="ioub_jax"):
        loop.Run(experiment, workdir).train()
        assert f"Ended {told.format('')} best is " in caplog.text
        caplog.clear()
        evaluations = (workdir / "evaluation.jsonl").read_text()
        assert [json.loads(line)["step"] for line in evaluations.splitlines()] == [1, 2]
        # Killed after the step was saved, and before it was evaluated.
        (workdir / "evaluation.jsonl").write_text(evaluations.splitlines(keepends=True)[0])
        loop.Run(experiment, workdir).train()
        assert f"Ended {told.format('')} best is " in caplog.text
        assert (workdir / "evaluation.jsonl").read_text() == evaluations
        assert len((workdir / "train.jsonl").read_text().splitlines()) == 2
        caplog.clear()
        run = loop.Run(experiment, workdir)
        with run.lock, run.writer:
            pass
        assert f"ended {told.format(',')} best is " in caplog.text
        assert "raise evaluation.patience, or set it to None, to continue." in caplog.text
    assert run.has_ended_early()
    run.options = dataclasses.replace(run.options, patience=2)
    assert not run.has_ended_early()
    assert preview._start(experiment, workdir).startswith(
        f"{workdir} has a run that ended {told.format(',')} best is "
    )
