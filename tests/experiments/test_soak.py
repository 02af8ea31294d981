"""The soak: what it sees of a training that is killed, of one that leaves things, of other bits."""

import json
import signal

import numpy as np
import pytest

from experiments.soak import killed_run, process_groups, starts
from experiments.soak.process_groups import Sample
from ioub_jax.errors import ConfigError

#: Of the kills: the first two come after .6 and .8 seconds.
SEED = 167
# A training of N steps that goes on where it was, as far as the soak sees of one.
TRAINING = """
import json, pathlib, signal, subprocess, sys, time
flags = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
workdir = pathlib.Path(flags["workdir"])
workdir.mkdir(parents=True, exist_ok=True)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
print("Compiling the step", flush=True)
if "config.child" in flags:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
if "config.fault" in flags:
    sys.exit("Traceback")
path = workdir / "train.jsonl"
done = len(path.read_text().splitlines()) if path.exists() else 0
for step in range(done + 1, int(flags.get("config.schedule.images", 10**6)) + 1):
    time.sleep(0.01)
    line = {"step": step, "images_per_second": 100 + time.time() % 1}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\\n")
    if stopped:
        break
"""


@pytest.fixture(autouse=True)
def training(tmp_path, monkeypatch):
    (tmp_path / "clone" / "experiments").mkdir(parents=True)
    (tmp_path / "clone" / "experiments" / "__init__.py").touch()
    (tmp_path / "clone" / "experiments" / "train.py").write_text(TRAINING)
    monkeypatch.setattr(starts, "_ROOT", tmp_path / "clone")
    monkeypatch.setattr(starts, "_BETWEEN_SAMPLES", 0.05)
    monkeypatch.setattr(starts, "_LEAVING_SECONDS", 0.5)


def test_growth_is_that_of_the_last_third_over_the_middle_one():
    # Thirds of 6 samples: (., .), (100, 110), (120, 132).
    samples = [Sample(i, mib, 5, 1) for i, mib in enumerate((900, 7, 100, 110, 120, 132))]
    # 126 / 105 = 1.2
    expected = {"middle": 105.0, "end": 126.0, "growth": 0.2}
    assert process_groups.growth(samples, "main_mib") == pytest.approx(expected)
    assert process_groups.growth(samples, "open_files")["growth"] == 0


@pytest.mark.parametrize(
    ("ending", "code"), [("SIGTERM", 0), ("SIGKILL", -9), ("SIGKILL of all", -9)]
)
def test_a_start_ends_as_it_is_told(tmp_path, ending, code):
    begun = starts.start([f"--workdir={tmp_path / 'run'}"], tmp_path / "log", ending, 0.8)
    if "Compiling" not in begun.output and ending == "SIGTERM":  # on a slow machine
        code = -signal.SIGTERM
    assert (begun.ending, begun.exit_code, begun.left_over) == (ending, code, 0)
    assert begun.is_as_promised and begun.samples[-1].main_mib > 1
    assert begun.seconds >= 0.8


def test_a_signal_that_nobody_hears_any_more_is_no_promise():
    begun = starts.Start("SIGTERM", 9.0, -signal.SIGTERM, "Compiling the step ...", [], 0)
    assert not begun.is_as_promised
    assert starts.Start("SIGTERM", 9.0, -signal.SIGTERM, "", [], 0).is_as_promised
    assert not starts.Start("SIGKILL", 9.0, 0, "", [], 0).is_as_promised


@pytest.mark.parametrize(("ending", "left"), [("SIGKILL", 1), ("SIGKILL of all", 0)])
def test_a_child_that_outlives_its_training_is_counted_and_ended(tmp_path, ending, left):
    flags = [f"--workdir={tmp_path / 'run'}", "--config.child=1"]
    begun = starts.start(flags, tmp_path / "log", ending, 1.2)
    assert begun.left_over == left and begun.is_as_promised == (not left)


def test_a_training_that_ends_by_itself_is_not_ended(tmp_path):
    flags = [f"--workdir={tmp_path / 'run'}", "--config.schedule.images=3"]
    begun = starts.start(flags, tmp_path / "log", "SIGKILL", 60)
    assert (begun.ending, begun.exit_code) == ("", 0)
    wrong = starts.start([*flags, "--config.fault=1"], tmp_path / "log", "SIGKILL", 60)
    assert wrong.exit_code == 1 and not wrong.is_as_promised and "Traceback" in wrong.output


@pytest.fixture
def states(monkeypatch):
    """The arrays that each of the two workdirs has, the same unless a test changes them."""
    held = {name: {"weights": np.arange(3.0)} for name in ("whole", "killed")}
    monkeypatch.setattr(killed_run, "_state_of", lambda folder, which: held[folder.name])
    return held


def test_a_run_that_is_killed_again_and_again_has_the_same_bits(tmp_path, states):
    seen = killed_run.soak([], tmp_path / "soak", 1, 0.02, images=150, seed=SEED)
    assert seen["failures"] == [] and seen["same bits"]
    killed = seen["killed run"]
    assert killed["starts"] == sum(killed["ended by"].values()) >= 3
    assert killed["ended by"]["its own end"] == 1 and seen["seed"] == SEED
    lines = (tmp_path / "soak" / "killed" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 151))
    with pytest.raises(ConfigError, match="is not empty; give another --workdir"):
        killed_run.soak([], tmp_path / "soak", 1, 1)


def test_how_long_it_trains_is_measured(tmp_path, states, monkeypatch):
    monkeypatch.setattr(killed_run, "_MEASURING", 0.9)
    monkeypatch.setattr(killed_run, "_WHOLE", 0.05)
    seen = killed_run.soak([], tmp_path / "soak", 0.05, 60, seed=1)
    # .05 minutes are 3 seconds, of which .05 at 100 to 101 images a second.
    assert seen["images"] == 15
    assert seen["killed run"]["starts"] == 1


def test_other_bits_and_other_lines_are_told(tmp_path, states):
    for name in states:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text('{"step": 1, "seconds": 3}\n')
    assert killed_run._differences(tmp_path / "whole", tmp_path / "killed") == []
    states["killed"] = {"weights": np.array([0.0, 1.0, np.nextafter(2, 3)])}
    (tmp_path / "killed" / "train.jsonl").write_text('{"step": 2, "seconds": 3}\n')
    (tmp_path / "killed" / "left.partial").touch()
    assert killed_run._differences(tmp_path / "whole", tmp_path / "killed") == [
        "the 'last' checkpoints differ in weights",
        "the 'best' checkpoints differ in weights",
        "train.jsonl differs",
        "only one workdir has ['left.partial']",
    ]


def test_a_run_without_a_checkpoint_is_told(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    last, best = killed_run._differences(tmp_path / "whole", tmp_path / "killed")
    assert last.startswith(f"{tmp_path / 'whole'} has no 'last' checkpoint")
    assert best.startswith(f"{tmp_path / 'whole'} has no 'best' checkpoint")


def test_a_nan_is_equal_to_the_same_nan(tmp_path, states):
    states["whole"] = states["killed"] = {"weights": np.array([np.nan, -0.0])}
    for name in states:
        (tmp_path / name).mkdir()
    assert killed_run._differences(tmp_path / "whole", tmp_path / "killed") == []
    states["killed"] = {"weights": np.array([np.nan, 0.0])}
    assert len(killed_run._differences(tmp_path / "whole", tmp_path / "killed")) == 2


def test_what_grows_fails():
    grown = [Sample(i, 100.0 + 20 * i, 5, 1) for i in range(9)]
    whole = starts.Start("", 9.0, 0, "", grown, 0)
    killed = [starts.Start("SIGKILL", 3.0, -signal.SIGKILL, "", [], 2)]
    seen = killed_run._seen(whole, killed) | {"left over": {"files in TMPDIR": 3}}
    # The middle third: 160, 180, 200; the last one: 220, 240, 260; 240 / 180 - 1 = 1/3.
    assert killed_run._failures(whole, killed, seen) == [
        "start 0 (SIGKILL): exit code -9, 2 processes left over, see its log",
        "MiB of the main process grow by 33% in the uninterrupted run",
        "3 files in TMPDIR are left over",
    ]
