import jax.numpy as jnp
import pytest

from ioub_jax.training import progress_bar


class Writer:
    """Keeps the records of `train.jsonl`."""

    def __init__(self):
        self.records = []

    def write(self, name, step, values):
        if name == "train":
            self.records.append({"step": step, **values})


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = {"seconds": 100.0}
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: now["seconds"])
    return now


def test_the_first_step_on_a_canvas_is_in_no_rate_and_evaluations_are_neither(clock, caplog):
    caplog.set_level("INFO")
    writer = Writer()
    span = progress_bar.Span(step=39, steps=45, batch_size=8, log_every_steps=3, seconds=10.0)
    values = {"loss": jnp.float32(0.5)}

    def pass_by(seconds):
        clock["seconds"] += seconds

    with progress_bar.Progress(span, writer) as told:
        assert told.is_first_on((64, 64))
        with told.first_step():
            pass_by(60)
        told.report(40, values)  # is not recorded
        assert not told.is_first_on((64, 64))
        pass_by(2)
        told.report(41, values)
        assert told.is_first_on((64, 96))
        with told.first_step():
            pass_by(30)
        pass_by(2)
        with told.waiting("data"):
            pass_by(1)
        with told.waiting("evaluation"):
            pass_by(7)
        told.report(42, values)
        pass_by(6)
        told.report(45, values)
    # Of 42 - 39 steps two compile; what is left takes 2 + 2 + 1 s, one of them without data.
    assert writer.records[0] == {
        "step": 42,
        "loss": 0.5,
        "images_per_second": 1 * 8 / 5,
        "data_wait_share": 1 / 5,
        "checkpoint_wait_share": 0.0,
        "seconds": 10 + 60 + 2 + 30 + 2 + 1 + 7,
    }
    assert writer.records[1]["images_per_second"] == 3 * 8 / 6
    assert writer.records[1]["seconds"] == 112 + 6
    assert caplog.messages[0] == "Compiling the step (about a minute, unless it is cached) ..."
    assert caplog.messages[1] == (
        "Compiling the step for images of 64x96 (about a minute, unless it is cached) ..."
    )


def test_where_every_step_compiles_there_is_no_rate(clock):
    writer = Writer()
    with progress_bar.Progress(progress_bar.Span(0, 1, 8, 20), writer) as told:
        assert told.is_first_on((64, 64))
        with told.first_step():
            clock["seconds"] += 5
        told.report(1, {"loss": jnp.float32(2.0)})
    assert writer.records == [{"step": 1, "loss": 2.0, "seconds": 5.0}]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3_600, "1:00:00"), (90_061.2, "25:01:01")],
)
def test_time_is_told_as_on_a_clock(seconds, told):
    assert progress_bar.time_of(seconds) == told
