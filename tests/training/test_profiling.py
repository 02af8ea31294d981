import logging

from ioub_jax.training import profiling


def traces(folder):
    return sorted(folder.rglob("*.xplane.pb"))


def run(folder, steps):
    with profiling.Profile(folder) as trace:
        for number in range(1, steps + 1):
            with trace.step(number):
                pass
            trace.after(None)


def test_the_steps_after_the_first_ten_are_traced_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ioub_jax")
    run(tmp_path, 30)
    (path,) = traces(tmp_path)
    # Only what names the steps: jax.profiler.ProfileData aborts the process in jax 0.12.
    assert b"step_num" in path.read_bytes()
    assert [record.getMessage() for record in caplog.records] == [
        f"Wrote a trace of 5 steps to {tmp_path}."
    ]


def test_a_run_that_ends_in_between_still_writes_its_trace(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ioub_jax")
    run(tmp_path, 12)
    assert len(traces(tmp_path)) == 1
    assert "a trace of 2 steps" in caplog.text


def test_a_run_without_enough_steps_says_so(tmp_path, caplog):
    run(tmp_path, 10)
    assert traces(tmp_path) == []
    assert "only 10 steps were left" in caplog.text


def test_without_a_folder_nothing_is_traced():
    run(None, 12)
