"""The run of some minutes on a card, with processes in the place of both sides, and without one."""

import json
import os
import pathlib
import sys
import time

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.benchmark import gpu, worker
from ioub_jax.errors import ConfigError
from tests import tiny

# Both sides: ours takes 2 seconds a turn, torch compiled 4 and eager 8. Ours has no memory for both
# losses, and hangs with blocks rematerialized.
SIDE = """
import json, sys, time
options = dict(part.lstrip("-").split("=", 1) for part in sys.argv[4:])
seconds = 2.0
if sys.argv[2].endswith("torchvision_peer"):
    seconds = {"1": 4.0, "0": 8.0}[options["compiled"]]
with open("STARTED", "a") as file:
    print(*sys.argv[2:], file=file)
if options["arm"] == "both":
    print("Traceback", "RESOURCE_EXHAUSTED: no memory", sep="\\n", file=sys.stderr)
    sys.exit(1)
if options["rematerialize"] == "blocks":
    time.sleep(60)
before = {"compile": {"wall, s": 30.0, "CPU, s": 40.0}}
before["first run"] = {"wall, s": 5.0, "CPU, s": 1.0}
print(json.dumps({"is": "jax or torch", "before": before}), flush=True)
for line in sys.stdin:
    if line.strip() == "peak":
        print(json.dumps({"MiB": 100.0, "device MiB": 2048.0}), flush=True)
    else:
        print(json.dumps({"wall": seconds, "cpu": 1.0}), flush=True)
"""
CARD = "NVIDIA H100 80GB HBM3, 570.86, 81559 MiB, 1980 MHz, 700.00 W"


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """What is started on both sides; gives how it was started, so far."""
    started = tmp_path / "started.txt"
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{SIDE.replace('STARTED', str(started))}")
    program.chmod(0o755)
    monkeypatch.setattr(gpu.sys, "executable", str(program))
    monkeypatch.setattr(gpu, "_LEAST_SECONDS", 0.0)
    flags.FLAGS.mark_as_parsed()
    options = {"folder": str(tmp_path / "gpu"), "peer_python": str(program), "platform": "cpu"}
    with flagsaver.flagsaver(**options, repeats=2, row_seconds=1.5):
        yield lambda: started.read_text().splitlines() if started.exists() else []


@pytest.fixture
def card(tmp_path, monkeypatch):
    """An nvidia-smi that tells of a card."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncase $1 in *name*) echo '{CARD}' ;; *) echo 1755 MHz ;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    gpu._card.cache_clear()
    yield
    gpu._card.cache_clear()


def test_all_rows_are_run_and_told(sides, card, tmp_path):
    with flagsaver.flagsaver(platform="cuda"):
        report = gpu.gpu_rates()
    assert set(report["rows"]) == {row.name for row in gpu.ROWS}
    # 8 images in 2 seconds.
    step = report["rows"]["step, ours"]
    assert (step["images/s"], step["turns"]) == (4.0, 2)
    assert step["device peak, MiB"] == 2048.0
    assert [value for key, value in step.items() if "clocks.sm" in key] == ["1755 MHz"]
    table = (tmp_path / "gpu" / "table.md").read_text()
    assert table.splitlines() == report["markdown"]
    assert "| step, ours | 4 | 2000 | 2000 | 1000 | 35 | 2.00 |" in table
    assert "step: 2.0 times as fast as torch.compile." in table
    assert "inference: 4.0 times as fast as torch eager." in table
    assert f"Card: {CARD} (name, driver_version, memory.total" in table
    for name in (
        "step, ours, both IoU-balanced losses",
        "objective, ours, both IoU-balanced losses",
    ):
        assert f"{name}: failed: RESOURCE_EXHAUSTED: no memory." in table
    assert "step, ours, blocks rematerialized: failed: it did not end within 2 s." in table
    starts = sides()
    assert all("--device=cuda" in line and "--dtype=bfloat16" in line for line in starts)
    assert "experiments.benchmark.our_worker step --batch=8 --height=800 --width=1344" in starts[0]


def test_a_second_run_goes_on_with_what_is_missing(sides, tmp_path):
    gpu.gpu_rates()
    first = len(sides())
    assert first == len(gpu.ROWS)
    rows = tmp_path / "gpu" / "rows.jsonl"
    *whole, _ = rows.read_text().splitlines()  # the row that hung
    rows.write_text("\n".join(whole) + '\n{"row": "step, ours, bl')
    assert "3 rows in at most" in gpu.check_gpu()
    report = gpu.gpu_rates()
    again = sides()[first:]
    assert len(again) == 3
    assert all("--arm=both" in line or "--rematerialize=blocks" in line for line in again)
    assert len(report["rows"]) == len(gpu.ROWS)
    with flagsaver.flagsaver(batch=3), pytest.raises(ConfigError, match="give another --folder"):
        gpu.gpu_rates()


def test_what_the_minutes_do_not_suffice_for_is_told(sides):
    with flagsaver.flagsaver(minutes=0.2):  # 12 seconds, and a row is not begun with less than 15
        report = gpu.gpu_rates()
    assert sides() == []
    assert {tuple(row) for row in report["rows"].values()} == {("dropped",)}
    assert "step, ours: dropped: 0.2 minutes did not suffice (--minutes)." in report["markdown"]


def test_a_row_is_on_the_disk_before_the_next_begins(sides, tmp_path, monkeypatch):
    def ended(row, seconds):
        if row.name == "inference, ours":
            raise KeyboardInterrupt
        return {"images/s": 1.0}

    monkeypatch.setattr(gpu, "_measured", ended)
    with pytest.raises(KeyboardInterrupt):
        gpu.gpu_rates()
    header, *rows = map(json.loads, (tmp_path / "gpu" / "rows.jsonl").read_text().splitlines())
    assert header["card"] == "none: the CPU"
    assert [row["row"] for row in rows] == ["step, ours", "step, torch.compile"]


def test_without_the_peer_only_ours_is_run(sides):
    with flagsaver.flagsaver(peer="none"):
        gpu.gpu_rates()
    assert not any("torchvision_peer" in line for line in sides())


def test_without_a_card_one_sentence_says_what_can_be_checked(sides, monkeypatch):
    monkeypatch.setenv("PATH", "")
    gpu._card.cache_clear()
    with (
        flagsaver.flagsaver(platform="cuda"),
        pytest.raises(ConfigError, match="finds no card; --platform=cpu with --size=64x64"),
    ):
        gpu.check_gpu()
    gpu._card.cache_clear()


def runs(status: pathlib.Path) -> bool:
    """Whether a process is neither gone nor a zombie that nobody has asked for."""
    try:
        return status.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_worker_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    program.chmod(0o755)
    with (
        pytest.raises(worker.WorkerError, match="some_side ended"),
        worker.started(program, "some_side", [], seconds=0.5),
    ):
        pass
    child = pathlib.Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    # A killed process runs until it is scheduled once more.
    deadline = time.monotonic() + 20
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(child)


def test_the_dry_run_says_what_would_be_run():
    arguments = ("--platform=cpu", "--peer=none", "--size=64x64", "--batch=1")
    code, output = tiny.run("benchmark", "gpu", "--dry_run", *arguments)
    assert code == 0, output
    assert "9 rows in at most 8 minutes, into runs/gpu, --batch=1 --height=64" in output


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["none", "torchvision"])
def test_every_row_runs_on_a_cpu(tmp_path, peer):
    python = tiny.ROOT / ".venv-peers" / "bin" / "python"
    if peer == "torchvision" and not python.exists():
        pytest.skip("no environment of the peers (make peers)")
    arguments = ("--platform=cpu", "--size=64x64", "--batch=1", "--classes=3", "--repeats=1")
    code, output = tiny.run(
        *("benchmark", "gpu", *arguments, f"--peer={peer}", "--minutes=60"),
        *(f"--folder={tmp_path}", f"--peer_python={python}", "--row_seconds=900"),
    )
    assert code == 0, output
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    sides = {"ours"} if peer == "none" else {"ours", "torch"}
    assert [line["row"] for line in lines[1:]] == [r.name for r in gpu.ROWS if r.side in sides]
    assert all(line["images/s"] > 0.0 for line in lines[1:]), lines
    assert list(tmp_path.glob("trace/**/*.xplane.pb"))
    assert not list(tmp_path.glob("errors of *"))
