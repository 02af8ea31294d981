"""What all commands have in common: dry runs, one sentence or a traceback, exit codes."""

import errno
import json
import os
import shutil
import subprocess
import sys

import jax
import pytest
from absl import flags

from ioub_jax.commands import command_line, preview
from ioub_jax.commands.listing import verbs
from ioub_jax.configs import defaults
from ioub_jax.errors import ConfigError
from tests import tiny

TINY = "--config=tests/tiny.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny.train_two_steps(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def places(workdir, tmp_path_factory):
    """What the arguments below name: a run, its copy without checkpoints, and so on."""
    folder = tmp_path_factory.mktemp("places")
    begun = folder / "begun"
    begun.mkdir()
    for name in ("config.json", "classes.json"):
        shutil.copy(workdir / name, begun)
    (folder / "file").write_text("no folder")
    (folder / "empty.jpg").write_text("")
    (folder / "found.json").write_text("[]")
    (folder / "truth.json").write_text(json.dumps({"images": [{"id": 1}]}))
    return {"RUN": workdir, "BEGUN": begun, "FOLDER": folder}


def filled(arguments, places):
    for name, path in places.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    return arguments


def contents(*folders):
    """Every file below some folders, with its time and size."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size if path.is_file() else 0)
        for folder in folders
        for path in folder.rglob("*")
    }


# ------------------------------------------------------------------ dry runs

DRY_RUNS = [
    ("evaluate", ["--workdir=RUN"], "the weights at step 2"),
    ("draw", ["--workdir=RUN", "--checkpoint=last"], "12 images of 8 classes"),
    (
        "evaluate",
        ["--workdir=RUN", "--config.data.shapes.num_val=3", "--config.runtime.devices=None"],
        "Data: shapes, val: 3 images of 8 classes.",
    ),
    (
        "draw",
        ["--workdir=RUN", "--config.data.canvases=((80,96),)", "--output=FOLDER/new"],
        "80x96 (12 images)",
    ),
    ("diagnose", ["--workdir", "RUN", "--config.data.shapes.num_val", "4"], "val: 4 images of 8"),
    (
        "predict",
        [
            "--model=RUN",
            "--config.data.canvases=((80,96),)",
            "--output=FOLDER/new",
            "FOLDER/empty.jpg",
        ],
        "8 classes, canvases 80x96",
    ),
    (
        "export",
        ["--model=RUN", "--output=FOLDER/new", "--config.data.canvases=((80,96),)"],
        "8 classes, canvases 80x96",
    ),
    ("draw_data", [TINY, "--output=FOLDER/new/data.png"], "16 images from step 0 on"),
    ("check_data", [TINY, "--output=FOLDER/new"], "check.json and contact_sheet.png"),
    ("predict", ["--model=RUN", "--output=FOLDER/new", "FOLDER/empty.jpg"], "Images: 1, the first"),
    (
        "export",
        ["--model=RUN", "--output=FOLDER/new"],
        "for cpu, cuda, tpu, of any number of images",
    ),
    ("benchmark", ["models"], "Measurement: models"),
    ("config", ["seed"], "Printed: 6 lines about the keys of a configuration."),
    ("benchmark", ["export", TINY], "a retinanet of 80 classes"),
    ("benchmark", ["start", TINY, "--repeats=2"], f"--help, and 3 starts of {TINY}"),
    ("report", ["--workdir=RUN"], "the weights at step 2"),
    (
        "report",
        [
            "--detections=FOLDER/found.json",
            "--ground_truth=FOLDER/truth.json",
            "--output=FOLDER/new/report.html",
        ],
        "0 detections",
    ),
    ("diagnose", ["--workdir=RUN"], "the weights at step 2"),
    (
        "diagnose",
        [
            "--detections=FOLDER/found.json",
            "--ground_truth=FOLDER/truth.json",
            "--output=FOLDER/new",
        ],
        "found: 0 detections",
    ),
    (
        "compare",
        [TINY, "--workdir=FOLDER/new", "--arms=baseline", "--seeds=2"],
        "arm baseline, seed 1: new, 24 steps",
    ),
]


@pytest.mark.parametrize(("verb", "arguments", "words"), DRY_RUNS)
def test_a_dry_run_tells_and_writes_nothing(commands, places, verb, arguments, words):
    before = contents(*places.values())
    code, output = commands(verb, *filled(arguments, places), "--dry_run")
    assert code == 0, output
    assert words in output
    assert output.endswith("This was a dry run: nothing was written.\n")
    assert contents(*places.values()) == before


def test_every_command_has_a_dry_run():
    # `plan` needs libtpu and is tested where that is, `train` is tested below.
    assert {verb for verb, *_ in DRY_RUNS} | {"plan", "train"} == {*verbs(), "benchmark"}


def test_a_dry_run_of_a_training_tells_its_size(commands, places):
    before = contents(*places.values())
    code, output = commands("train", TINY, f"--workdir={places['FOLDER']}/new", "--dry_run")
    assert code == 0, output
    assert contents(*places.values()) == before
    assert "50 images of 8 classes for training, 12 for validation" in output
    assert "Canvases: 64x64 (50 images)." in output
    # 24 steps of 8 images are 192, of 50.
    assert "Training: 24 steps of 8 images, 3.8 epochs; evaluated every 96 images, " in output
    assert "a checkpoint every 40; the first 8 images are warm-up.\n" in output
    assert "schedule.warmup_images" not in output  # a warning of it would be false
    assert "measure w_loc on 2 batches" in output
    assert "Devices: 1 (cpu)." in output


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (24, "It would resume in RUN at step 2 of 3."),
        (
            24,
            "The schedule is now the one for 24 images (before: 16): the learning rate of the next",
        ),
        (16, "has a finished run (step 2 of 2); nothing is left to do."),
    ],
)
def test_a_dry_run_of_a_training_tells_where_it_would_go_on(places, monkeypatch, images, words):
    monkeypatch.setattr(preview, "_trace", lambda detector: None)  # the test above goes through it
    config = tiny.get_config()
    config.evaluation.every_images = 16
    config.schedule.images = images
    lines = preview.preview_training(config, places["RUN"])
    assert filled([words], places)[0] in "\n".join(lines)


@pytest.mark.parametrize("more", [["--dry_run"], []])
def test_a_run_that_never_leaves_warm_up_is_refused(commands, tmp_path, more):
    short = [f"--config.schedule.{key}=48" for key in ("images", "warmup_images")]
    code, output = commands("train", TINY, *short, f"--workdir={tmp_path}/run", *more)
    assert code == 1, output
    assert output.splitlines()[-1] == (
        "Error: schedule.warmup_images is 48 and schedule.images 48, in steps of 8 images: the "
        "warm-up takes the whole run, and the learning rate never reaches its full value; set "
        "--config.schedule.warmup_images=0, or --config.schedule.images above 48."
    )
    assert not (tmp_path / "run").exists()


def test_a_decay_inside_the_warm_up_is_told_once(commands, tmp_path):
    flags = ["--config.schedule.name=step", "--config.schedule.decay_at=(.01,.5)"]
    code, output = commands("train", TINY, *flags, f"--workdir={tmp_path}/run", "--dry_run")
    assert code == 0, output
    # .01 of 24 steps is step 0, and the 8 images of warm-up are one step.
    assert output.count("schedule.decay_at has 0.01, which is step 0 of 24, and the warm-up") == 1
    assert "schedule.decay_at has 0.5" not in output


def test_a_run_that_just_leaves_warm_up_is_trained(commands, tmp_path):
    short = ["--config.schedule.images=9", "--config.schedule.warmup_images=8"]
    code, output = commands("train", TINY, *short, f"--workdir={tmp_path}/run", "--dry_run")
    assert code == 0, output
    assert "takes the whole run" not in output
    assert "the first 8 images are warm-up." in output


def test_a_dry_run_tells_of_no_warm_up_where_there_is_none(places, monkeypatch):
    monkeypatch.setattr(preview, "_trace", lambda detector: None)
    config = tiny.get_config()
    config.schedule.warmup_images = 0
    lines = preview.preview_training(config, places["FOLDER"] / "new")
    assert "warm-up" not in "\n".join(lines)


# ------------------------------------------------------------------ what a user gets wrong

NO_RUN = "has no run (no config.json)"
NO_CHECKPOINT = "has no 'best' checkpoint; let ioub train reach one first."
NO_FOLDER = "choose another folder; this is a file: "
MISTAKES = [
    *((verb, ["--workdir=FOLDER"], NO_RUN) for verb in ("evaluate", "draw", "diagnose")),
    *((verb, ["--workdir=BEGUN"], NO_CHECKPOINT) for verb in ("evaluate", "draw", "diagnose")),
    # absl would detect in a file called 'false', with the moving average.
    (
        "predict",
        ["--model=RUN", "--output=FOLDER/new", "FOLDER/empty.jpg", "--ema", "false"],
        "--ema false: a boolean flag takes no separate value, and would be true with any word "
        "after it; write --ema=false",
    ),
    ("train", [TINY, "--workdir=FOLDER/new", "--dry_run", "True"], "write --dry_run=true"),
    (
        "evaluate",
        ["--workdir=RUN", "--config.data.keep_empty", "0"],
        "write --config.data.keep_empty=false",
    ),
    ("predict", ["--model=FOLDER", "--output=FOLDER/new", "FOLDER/empty.jpg"], NO_RUN),
    ("predict", ["--model=BEGUN", "--output=FOLDER/new", "FOLDER/empty.jpg"], NO_CHECKPOINT),
    ("predict", ["--model=RUN", "--output=FOLDER/file", "FOLDER/empty.jpg"], NO_FOLDER),
    ("export", ["--model=FOLDER", "--output=FOLDER/new"], NO_RUN),
    ("export", ["--model=RUN", "--output=FOLDER/file"], NO_FOLDER),
    ("diagnose", ["--workdir=RUN", "--output=FOLDER/file"], NO_FOLDER),
    ("train", [TINY, "--workdir=FOLDER/file"], NO_FOLDER),
    ("train", [TINY, "--workdir=RUN", "--config.seed=1"], "another configuration (seed: 0 -> 1);"),
    ("train", ["--config=nowhere.py", "--workdir=RUN"], "no configuration file nowhere.py"),
    ("train", ["--workdir=RUN"], "give your data's folder as --data=PATH, or a configuration"),
    ("train", [f"{TINY}:neither", "--workdir=RUN"], "Unknown arm 'neither'; it must be one of"),
    ("compare", [TINY, "--workdir=FOLDER/file"], NO_FOLDER),
    ("compare", ["--workdir=FOLDER/new"], "Give --config to train, or --runs"),
    ("benchmark", ["growth", "--png=FOLDER/none/x.png"], "There is no such folder for --png"),
    ("benchmark", ["weights"], "Give the weights as --weights=FILE."),
    ("config", ["loss.eta"], "configuration: loss.eta. Did you mean loss.classification.eta?"),
    (
        "config",
        ["--config=nothing"],
        "There is no configuration 'nothing'; the configurations are cityscapes",
    ),
    ("benchmark", ["speed"], "Say what to do: one of models, "),
    ("plan", [TINY, "--topology=v9:2x2"], "--topology=v9:2x2 is not a topology"),
    ("check_data", [TINY, "--output=FOLDER/file"], NO_FOLDER),
    ("draw_data", [TINY, "--output=FOLDER/file/x.png"], NO_FOLDER),
    *(
        (verb, [TINY, *more, "--config.data.source=coco", "--config.data.coco.root=/no"], "/no/ann")
        for verb, more in (
            ("train", ["--workdir=FOLDER/new"]),
            ("compare", ["--workdir=FOLDER/new"]),
            ("draw_data", ["--output=FOLDER/new/x.png"]),
        )
    ),
    *(
        (verb, [TINY, *more, f"--config.{setting}"], words)
        for verb, more in (
            ("train", ["--workdir=FOLDER/new"]),
            ("compare", ["--workdir=FOLDER/new"]),
            ("check_data", []),
            ("draw_data", ["--output=FOLDER/new/x.png"]),
            ("plan", ["--topology=v5e:2x2"]),
        )
        for setting, words in (
            ("bach_size=2", 'Did you mean "batch_size" instead of "bach_size"?'),
            ("batch_size=two", "--config.batch_size=two: invalid literal for int()"),
        )
    ),
    *(
        (verb, [*run, f"--config{setting}"], words)
        for verb, run in (
            ("evaluate", ["--workdir=RUN"]),
            ("draw", ["--workdir=RUN"]),
            ("diagnose", ["--workdir=RUN"]),
            ("predict", ["--model=RUN", "--output=FOLDER/new", "FOLDER/empty.jpg"]),
            ("export", ["--model=RUN", "--output=FOLDER/new"]),
        )
        for setting, words in (
            (".data.max_box=2", 'Did you mean "max_boxes" instead of "max_box"?'),
            (".data.canvases=64", "data.canvases is (64,); it must be heights and widths"),
            (".model.width=3", "--config.model.width was fixed by the training; only keys"),
        )
    ),
    *(
        ("evaluate", ["--workdir=RUN", f"--config{setting}"], words)
        for setting, words in (
            (".data.max_boxes=two", "--config.data.max_boxes=two: invalid literal for int()"),
            (".data.max_boxes=None", "--config.data.max_boxes=None: the key cannot be None"),
            (".seed=3", "--config.seed was fixed by the training; only keys of config.data"),
            (".zzz=3", "No such key in the configuration: 'zzz'"),
            ("=configs/shapes_retinanet.py", "--config takes no file here, the run has its own"),
        )
    ),
    *(
        (
            verb,
            ["--workdir=RUN", "--config.data.source=coco", "--config.data.coco.root=/no"],
            "/no/annotations/instances_val2017.json: cannot be read",
        )
        for verb in ("evaluate", "draw", "diagnose")
    ),
    (
        "diagnose",
        [
            "--detections=FOLDER/found.json",
            "--ground_truth=FOLDER/truth.json",
            "--output=FOLDER/new",
            "--config.data.max_boxes=2",
        ],
        "--config needs a run: give --workdir",
    ),
    *((verb, ["--wrong"], "Unknown command line flag 'wrong'") for verb in sorted(verbs())),
]


@pytest.mark.parametrize(("verb", "arguments", "words"), MISTAKES)
def test_what_a_user_gets_wrong_is_one_sentence(commands, places, verb, arguments, words):
    before = contents(*places.values())
    code, output = commands(verb, *filled(arguments, places))
    assert code == command_line.USER_ERROR, output
    assert output.startswith("Error: ")
    assert words in output
    assert output.count("\n") == 1
    assert contents(*places.values()) == before


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("train", [TINY, "--workdir=gs://mine/run"]),
        ("compare", [TINY, "--workdir=gs://mine/run"]),
        ("evaluate", ["--workdir=gs://mine/run"]),
        ("draw", ["--workdir=gs://mine/run"]),
        ("diagnose", ["--workdir=gs://mine/run"]),
        ("predict", ["--model=gs://mine/run", "--output=FOLDER/new", "FOLDER/empty.jpg"]),
        ("export", ["--model=gs://mine/run", "--output=FOLDER/new"]),
    ],
)
def test_a_bucket_without_its_package_is_one_sentence(commands, places, verb, arguments):
    before = "import sys\nsys.modules['gcsfs'] = None\n"
    code, output = commands(verb, *filled(arguments, places), before=before)
    assert code == command_line.USER_ERROR
    assert output == (
        "Error: gs://mine/run needs the package gcsfs, which is not installed: pip install "
        "'ioub_jax[train,gcs]'.\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config(:\n", "mine.py, line 1"),
        ("import not_there\n", "No module named 'not_there'"),
        ("def get_config():\n  return missing\n", "mine.py:2: NameError: name 'missing'"),
        ("def get_config():\n  return 3\n", "must return an ml_collections.ConfigDict"),
        ("def get_config():\n  raise ValueError('a\\nb')\n", "be read: a b\n"),
        ("def get_config():\n  return {}['a']\n", "mine.py:2: KeyError: 'a'"),
        ("def get_config():\n  return 1 + 'a'\n", "mine.py:2: TypeError: unsupported operand"),
        ("missing\n", "mine.py:1: NameError: name 'missing'"),
    ],
)
def test_a_mistake_in_a_configuration_file_is_one_sentence(commands, tmp_path, text, words):
    (tmp_path / "mine.py").write_text(text)
    config = f"--config={tmp_path / 'mine.py'}"
    code, output = commands("train", config, f"--workdir={tmp_path}", "--dry_run")
    assert code == command_line.USER_ERROR
    assert output.startswith("Error: The configuration cannot be read: ")
    assert words in output
    assert output.count("\n") == 1


# ------------------------------------------------------------------ other ends

TRAINING = "from ioub_jax import building\ndef fail(*_, **__):\n  raise {}\n"
TRAINING += "building.train_and_evaluate = fail\n"


def train(commands, tmp_path, error, imports=""):
    before = f"{imports}\n{TRAINING.format(error)}"
    return commands("train", TINY, f"--workdir={tmp_path / 'run'}", before=before)


def test_a_bug_keeps_its_traceback_and_has_a_code_of_its_own(commands, tmp_path):
    code, output = train(commands, tmp_path, "RuntimeError('a bug')")
    assert code == command_line.BUG == 2
    assert output.startswith("Traceback (most recent call last)")
    assert output.endswith("RuntimeError: a bug\n")
    before = "from ioub_jax.commands import preview\npreview.preview_training = None\n"
    code, output = commands("train", TINY, f"--workdir={tmp_path}", "--dry_run", before=before)
    assert code == command_line.BUG
    assert output.endswith("TypeError: 'NoneType' object is not callable\n")


def test_a_full_disk_is_one_sentence(commands, tmp_path):
    error = "OSError(28, 'No space left on device', '/data/run')"
    assert train(commands, tmp_path, error) == (1, "Error: No space left on device: /data/run.\n")


def test_an_interruption_is_one_word(commands, tmp_path):
    assert train(commands, tmp_path, "KeyboardInterrupt") == (130, "Interrupted.\n")


def test_an_interruption_of_one_of_several_processes_waits_for_no_other(monkeypatch, capsys):
    class LeftAtOnceError(Exception):
        pass

    def leave_at_once(code):
        raise LeftAtOnceError(code)

    monkeypatch.setattr(os, "_exit", leave_at_once)
    with pytest.raises(SystemExit, match="130"):
        command_line._end(KeyboardInterrupt())
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(LeftAtOnceError, match="130"):
        command_line._end(KeyboardInterrupt())
    assert capsys.readouterr().err == "Interrupted.\n" * 2


def test_a_reader_that_leaves_is_no_error(commands):
    before = "import os\nread, write = os.pipe()\nos.close(read)\nos.dup2(write, 1)\n"
    code, output = commands("benchmark", "models", "--dry_run", before=before)
    assert (code, output) == (141, "")


def test_help_lists_all_flags_and_is_no_error(commands):
    code, output = commands("evaluate", "--help")
    assert code == 0
    for flag in ("--workdir:", "--[no]dry_run:", "--checkpoint:", "--num_processes:"):
        assert flag in output


# `benchmark` defines its flags beside what it measures.
QUICK = [(verb, "--help") for verb in verbs()]
QUICK += [("train", "--config=nowhere.py"), ("evaluate", "--config.data.max_box=2")]


@pytest.mark.parametrize(("verb", "argument"), QUICK)
def test_help_and_mistakes_in_flags_wait_for_no_library(verb, argument):
    """They take a tenth of a second: jax, numpy and what imports them would be one and more."""
    words = ["-X", "importtime", "-m", f"experiments.{verb}", "--workdir=nowhere", argument]
    done = subprocess.run([sys.executable, *words], cwd=tiny.ROOT, capture_output=True, text=True)
    assert done.returncode == (0 if argument == "--help" else command_line.USER_ERROR)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    found = {line.rpartition("|")[2].split(".")[0].strip() for line in lines}
    assert "ml_collections" in found
    assert not found & {"jax", "numpy", "flax", "orbax", "grain", "cv2", "PIL", "matplotlib"}


def chain(first, cause):
    first.__cause__ = cause
    return first


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConfigError("Lower it."), "Lower it."),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "Permission denied: /data."),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device."),
        (
            chain(ValueError("orbax"), OSError(errno.EROFS, "Read-only file system", "/run")),
            "Read-only file system: /run.",
        ),
        (
            ValueError('RESOURCE_EXHAUSTED: Error writing "/run/x": No space left on device [28]'),
            "No space left on device: /run/x.",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "ours"), None),
        (
            RuntimeError(
                "Worker process was terminated unexpectedly with exit code -9. Search it."
            ),
            "A process that loads images was killed (Worker process was terminated "
            "unexpectedly with exit code -9), often for lack of memory: lower runtime.workers or "
            "batch_size; run the same command to resume from the last checkpoint.",
        ),
        (ImportError("cannot import name 'a' from 'b'"), None),
        (AssertionError(), None),
        (RuntimeError("a bug"), None),
        (ValueError("a bug"), None),
    ],
)
def test_which_errors_are_told_in_a_sentence(error, sentence):
    assert command_line.sentence_of(error) == sentence


def test_a_library_that_quotes_a_long_flag_is_told_by_its_ends():
    told = command_line.sentence_of_parsing(flags.Error("first " + "x" * 9000 + " last"))
    # 500 characters of each end, " ... " between them, and the advice.
    assert told.startswith("first x") and told.endswith("x last (--help lists the flags).")
    assert len(told) == 1005 + len(" (--help lists the flags).")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("can't start new thread"),
        ImportError("/lib/_tensorstore.so: failed to map segment from shared object"),
        chain(ValueError("orbax"), MemoryError("std::bad_alloc")),
        jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12.3GiB."
        ),
    ],
)
def test_too_little_memory_is_one_sentence_with_the_keys_that_help(error):
    sentence = command_line.sentence_of(error)
    assert "\n" not in sentence
    assert str(error.__cause__ or error) in sentence
    config = defaults.get_config()
    for key in ("batch_size", "data.canvases", "evaluation.batch_size"):
        assert f" {key}" in sentence
    for key in ("gradient_accumulation", "rematerialize", "workers"):
        assert key in config.runtime
    assert "runtime.gradient_accumulation" in sentence
    assert "runtime.rematerialize to 'blocks'" in sentence


@pytest.mark.parametrize("platforms", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_one_sentence(commands, tmp_path, platforms):
    before = f"import os, jax\nos.environ['JAX_PLATFORMS'] = '{platforms}'\n"
    before += f"jax.config.update('jax_platforms', '{platforms}')\n"
    code, output = commands("train", TINY, f"--workdir={tmp_path}", "--dry_run", before=before)
    assert code == command_line.USER_ERROR
    begin = f"Error: jax finds none of the devices that it is set to use, JAX_PLATFORMS={platforms}"
    assert output.startswith(begin)
    assert output.count("\n") == 1


#: How a verb starts in a clone, and how `ioub` starts it.
STARTS = ("import experiments\n", "from ioub_jax.commands import machine\nmachine.prepare()\n")


@pytest.mark.parametrize("start", STARTS)
def test_an_import_that_takes_too_much_memory_is_one_sentence(start):
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        f"{start}"
        "raise ImportError('x.so: failed to map segment from shared object')\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tiny.ROOT, text=True, capture_output=True
    )
    first, second = shown.stderr.splitlines()
    assert first.startswith("Only 1.0 GiB of address space are allowed (ulimit -v).")
    assert second.startswith("Error: This process may not have the memory or the threads")
    assert shown.returncode == command_line.USER_ERROR


@pytest.mark.parametrize("start", STARTS)
def test_a_program_read_from_the_cache_is_no_line_on_a_cpu(start, tmp_path):
    program = start + (
        "import jax\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)\n"
        "jax.jit(lambda x: jax.numpy.sin(x @ x).sum())(jax.numpy.ones((64, 64)))\n"
    )
    variables = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    del variables["TF_CPP_MIN_LOG_LEVEL"]  # the tests' own
    for _ in range(2):
        shown = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tiny.ROOT,
            env=variables,
            text=True,
            capture_output=True,
        )
        assert (shown.returncode, shown.stderr) == (0, "")
    assert list(tmp_path.iterdir())


def test_the_page_of_the_commands_has_every_command_and_every_code():
    page = (tiny.ROOT / "docs" / "commands.md").read_text()
    for name in verbs():
        assert f"| `{name}` |" in page
    for code in (0, command_line.USER_ERROR, command_line.BUG, 3, 130, 141, 143):
        assert f"| {code} |" in page
