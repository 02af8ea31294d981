import signal

import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.studies import parallel_runs
from tests.studies.test_planned_runs import plan


def test_cores_and_devices_are_shared_out(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    assert parallel_runs.shares(1, None) == [parallel_runs.Share()]
    assert parallel_runs.shares(2, None) == [
        parallel_runs.Share((0, 2)),
        parallel_runs.Share((1, 3)),
    ]
    assert [share.devices for share in parallel_runs.shares(2, 4)] == [(0, 2), (1, 3)]
    assert [share.cores for share in parallel_runs.shares(8, None)] == [()] * 8
    with pytest.raises(ConfigError, match="4 processes cannot share 2 devices"):
        parallel_runs.shares(4, 2)
    assert parallel_runs.shares(1, 2) == [parallel_runs.Share((), (0, 1))]


def test_devices_are_those_that_the_user_has_made_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-ab,7")
    monkeypatch.delenv("TPU_VISIBLE_CHIPS", raising=False)
    first, second = parallel_runs.shares(2, 4)
    names = [parallel_runs._names("CUDA_VISIBLE_DEVICES", s.devices) for s in (first, second)]
    assert names == ["4,GPU-ab", "5,7"]
    assert parallel_runs._names("TPU_VISIBLE_CHIPS", second.devices) == "1,3"
    with pytest.raises(ConfigError, match="--devices is 5, but CUDA_VISIBLE_DEVICES is 4,5,GPU-"):
        parallel_runs.shares(1, 5)


def test_a_process_that_was_killed_is_described_by_its_signal(tmp_path):
    run = plan(tmp_path)[0]
    words = parallel_runs._failure(run, -signal.SIGKILL)
    assert "was ended by SIGKILL, for instance for lack of memory" in words
    assert "failed: exit code 3" in parallel_runs._failure(run, 3)  # before it had an output


class FakeProcess:
    """A training that ends at once, as `multiprocessing` shows it."""

    def __init__(self, run, exitcode, terminated):
        self.run, self.exitcode, self.sentinel = run, exitcode, object()
        self.terminate = lambda: terminated.append(run.name)

    def join(self):
        pass


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("multiprocessing.connection.wait", lambda sentinels: list(sentinels))


def test_a_failing_run_does_not_end_the_others(tmp_path, monkeypatch, no_waiting):
    started = []

    def start(run, share, resamplings):
        started.append(run.name)
        run.workdir.parent.mkdir(parents=True, exist_ok=True)
        parallel_runs._log_of(run).write_text("Traceback\nNonFiniteError: Step 3: loss is nan\n")
        return FakeProcess(run, 1 if run.name == "arm cls, seed 0" else 0, [])

    monkeypatch.setattr(parallel_runs, "_start", start)
    runs = plan(tmp_path)
    reports = []
    outcome = parallel_runs.train_all(
        runs, parallel_runs.shares(2, None), 20, lambda: reports.append(len(started))
    )
    assert not outcome.stopped
    (failure,) = outcome.failures
    assert failure.startswith("arm cls, seed 0 failed: NonFiniteError: Step 3: loss is nan (all")
    assert started == [run.name for run in runs]
    # Two at a time, both of which end at once; of the second pair one has failed.
    assert len(reports) == len(runs) - 1


def test_a_signal_is_handed_on(tmp_path, monkeypatch, no_waiting):
    started, terminated = [], []

    def start(run, share, resamplings):
        started.append(run.name)
        if len(started) == 2:
            signal.raise_signal(signal.SIGTERM)
        return FakeProcess(run, 0, terminated)

    monkeypatch.setattr(parallel_runs, "_start", start)
    before = signal.getsignal(signal.SIGTERM)
    outcome = parallel_runs.train_all(plan(tmp_path), parallel_runs.shares(2, None), 20)
    assert outcome == parallel_runs.Outcome([], stopped=True)
    assert started == ["arm both, seed 0", "arm baseline, seed 0"]
    assert terminated == started
    assert signal.getsignal(signal.SIGTERM) is before
