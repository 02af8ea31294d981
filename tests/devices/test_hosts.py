"""Two real processes, each with two devices, beside one process with the same four."""

import json
import os
import signal
import socket
import time

import jax
import numpy as np
import pytest

from ioub_jax.devices import hosts, placement
from ioub_jax.errors import ConfigError
from tests import small_coco, tiny

TIMEOUT = 300


def records(workdir, name="train"):
    lines = (workdir / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def start_two(verb, *arguments):
    """The two processes of a command, the first of them the coordinator."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        tiny.start(
            verb,
            *arguments,
            f"--coordinator_address=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={index}",
            devices=2,
        )
        for index in range(2)
    ]


def wait(processes):
    """What each process printed; none is left behind."""
    try:
        return [process.communicate(timeout=TIMEOUT)[0] for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def arguments(workdir):
    # A gradient jumps where rounding moves a unit over the kink of its ReLU: small steps make
    # little of that.
    overrides = ("runtime.devices=4", "schedule.base_learning_rate=0.002")
    return tiny.train_arguments(workdir, *overrides)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one") / "run"
    process = tiny.start("train", *arguments(workdir), devices=4)
    (output,) = wait([process])
    assert process.returncode == 0, output
    return workdir


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """A finished run and what its processes printed."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    processes = start_two("train", *arguments(workdir))
    outputs = wait(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return workdir, outputs


@pytest.mark.slow
def test_the_losses_are_those_of_one_process(one_process, two_processes):
    one, two = records(one_process), records(two_processes[0])
    assert [record["step"] for record in two] == list(range(1, 25))
    for first, second in zip(one[:20], two[:20], strict=True):
        for name in ("loss", "loss_classification", "loss_localization", "w_loc"):
            np.testing.assert_allclose(second[name], first[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_every_image_is_evaluated_once(one_process, two_processes):
    # 12 images in batches of 8: in the last batch the second process has only filling.
    for step_ in (12, 24):
        one, two = (
            json.loads((workdir / "evaluation" / f"val_{step_}_detections.json").read_text())
            for workdir in (one_process, two_processes[0])
        )
        images = [{result["image_id"] for result in results} for results in (one, two)]
        assert images[0] == images[1]
        assert len(one) == len(two)
    one, two = (records(path, "evaluation") for path in (one_process, two_processes[0]))
    assert [record["step"] for record in two] == [12, 24]
    for first, second in zip(one, two, strict=True):
        assert second["AP50"] == pytest.approx(first["AP50"], abs=1e-2)


@pytest.mark.slow
def test_only_the_first_process_talks(two_processes):
    first, second = two_processes[1]
    assert "Step 24/24" in first
    assert "Step" not in second
    assert "w_loc" not in second


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_read_by_one(two_processes):
    workdir, _ = two_processes
    code, output = tiny.run("evaluate", f"--workdir={workdir}", "--checkpoint=last")
    # The configuration asks for four devices, and there is one.
    assert code == 1
    assert "runtime.devices is 4, but there are 1 devices" in output
    process = tiny.start("evaluate", f"--workdir={workdir}", "--checkpoint=last", devices=4)
    (output,) = wait([process])
    assert process.returncode == 0, output
    found = json.loads((workdir / "evaluation" / "val_last_metrics.json").read_text())
    recorded = records(workdir, "evaluation")[-1]
    assert found["AP50"] == pytest.approx(recorded["AP50"], abs=1e-6)


@pytest.mark.slow
def test_processes_agree_on_canvases_and_on_an_image_that_only_one_of_them_misses(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    annotations = small_coco.write(folder).name
    broken = folder / "7.png"
    broken.write_bytes(broken.read_bytes()[:60])
    overrides = [
        "data.source=coco",
        "data.on_error=skip",
        "data.allow_same_images=True",
        "data.canvases=((48,64),(64,48),(64,64))",
        f"data.coco.root={folder}",
        *(f"data.coco.{split}_annotations={annotations}" for split in ("train", "val")),
        *(f"data.coco.{split}_images=." for split in ("train", "val")),
    ]
    started = {
        "one": lambda *flags: [tiny.start("train", *flags, devices=4)],
        "two": lambda *flags: start_two("train", *flags),
    }
    for name, start in started.items():
        flags = arguments(tmp_path / name) + [f"--config.{override}" for override in overrides]
        processes = start(*flags)
        outputs = wait(processes)
        assert [process.returncode for process in processes] == [0] * len(processes), outputs
        assert "7.png" in "".join(outputs)
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    for first, second in zip(one[:20], two[:20], strict=True):
        np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-4)
    one, two = (
        json.loads((tmp_path / name / "evaluation" / "val_24_detections.json").read_text())
        for name in started
    )
    images = [{result["image_id"] for result in results} for results in (one, two)]
    assert images[0] == images[1]
    assert 7 not in images[1]


def wait_for_step(workdir, wanted, processes):
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        path = workdir / "train.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= wanted:
            return
        assert all(process.poll() is None for process in processes), wait(processes)
        time.sleep(0.05)
    raise AssertionError(wait(processes))


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_all_at_one_step(tmp_path, one_process, signum):
    workdir = tmp_path / "run"
    processes = start_two("train", *arguments(workdir))
    wait_for_step(workdir, 3, processes)
    os.killpg(processes[1].pid, signum)  # as a terminal does
    outputs = wait(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert "Stopped at step" in outputs[0]
    stopped = records(workdir)[-1]["step"]
    assert stopped < 24
    resumed = start_two("train", *arguments(workdir))
    outputs = wait(resumed)
    assert [process.returncode for process in resumed] == [0, 0], "\n".join(outputs)
    losses = [[record["loss"] for record in records(path)] for path in (one_process, workdir)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def begin_two(workdir):
    """Two processes of a training that have made its workdir and compute no step yet."""
    processes = start_two("train", *arguments(workdir))
    deadline = time.monotonic() + TIMEOUT
    while not (workdir / "config.json").exists():
        assert time.monotonic() < deadline, wait(processes)
        time.sleep(0.05)
    return processes


@pytest.mark.slow
def test_a_signal_before_the_first_step_is_not_lost(tmp_path):
    workdir = tmp_path / "run"
    processes = begin_two(workdir)
    processes[1].send_signal(signal.SIGTERM)
    outputs = wait(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert "Stopped at step" in outputs[0]
    (checkpoint,) = (workdir / "checkpoints" / "last").iterdir()
    assert int(checkpoint.name) == records(workdir)[-1]["step"] < 24


@pytest.mark.slow
def test_an_interruption_with_nothing_to_save_ends_one_process_at_once(tmp_path):
    processes = begin_two(tmp_path / "run")
    os.killpg(processes[0].pid, signal.SIGINT)
    processes[0].wait(20)
    outputs = wait(processes)
    assert processes[0].returncode == 130, outputs[0]
    assert outputs[0].strip().splitlines()[-1] == "Interrupted."
    assert processes[1].returncode == hosts.GONE_EXIT_CODE, outputs[1]


@pytest.mark.slow
def test_where_one_process_is_killed_the_other_ends_with_a_sentence(tmp_path, one_process):
    # The coordinator of one run and the worker of another, at once: most of it is waiting.
    workdirs = [tmp_path / "coordinator", tmp_path / "worker"]
    runs = [start_two("train", *arguments(workdir)) for workdir in workdirs]
    for victim, (workdir, processes) in enumerate(zip(workdirs, runs, strict=True)):
        wait_for_step(workdir, 7, processes)
        os.killpg(processes[victim].pid, signal.SIGKILL)
    killed = time.monotonic()
    outputs = wait([*runs[0], *runs[1]])
    assert time.monotonic() - killed < 60.0
    for other, output in ((runs[0][1], outputs[1]), (runs[1][0], outputs[2])):
        assert other.returncode == hosts.GONE_EXIT_CODE
        assert output.strip().splitlines()[-1] == hosts.OTHERS_ARE_GONE
    # The checkpoint of step 5 is whole, and the same command goes on from it.
    again = start_two("train", *arguments(workdirs[0]))
    outputs = wait(again)
    assert [process.returncode for process in again] == [0, 0], "\n".join(outputs)
    assert "Measured w_loc" not in outputs[0]
    losses = [[record["loss"] for record in records(path)] for path in (one_process, workdirs[0])]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_the_three_flags_come_together():
    with pytest.raises(ConfigError, match="are missing; give all three"):
        hosts.join("127.0.0.1:1", None, 0)
    with pytest.raises(ConfigError, match="--process_id=2 is not one of the 2 processes"):
        hosts.join("127.0.0.1:1", 2, 2)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"},
        {"TPU_WORKER_HOSTNAMES": "localhost"},
    ],
)
def test_one_process_alone_waits_for_nobody(monkeypatch, environment):
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    hosts.join(None, None, None)
    assert jax.process_count() == 1
    assert hosts.is_first()


def test_one_process_gathers_what_it_has():
    mesh = placement.create_mesh(2)
    ids = np.array([2**40, 3])
    on_devices, on_host = hosts.gather(mesh, {"a": jax.numpy.arange(4)}, {"id": ids})
    np.testing.assert_array_equal(on_devices["a"], [0, 1, 2, 3])
    np.testing.assert_array_equal(on_host["id"], ids)


def test_a_part_of_another_size_than_the_devices_is_refused(monkeypatch):
    mesh = placement.create_mesh(2)
    batch = {"image": np.zeros((3, 4, 4, 3), np.uint8), "image_id": np.arange(3)}
    # Of one process alone 3 rows of 8 are too few. (Of two that have 3 and 5 jax would make arrays
    # of 6 and of 10.)
    with pytest.raises(ValueError, match="shape"):
        placement.put_batch(mesh, batch, 8)
    whole = {"image": np.zeros((8, 4, 4, 3), np.uint8)}
    assert placement.put_batch(mesh, whole, 8)["image"].shape == (8, 4, 4, 3)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="shape"):
        hosts.gather(mesh, {"a": placement.put_rows(mesh, np.arange(8), 8)}, {"id": np.arange(3)})
