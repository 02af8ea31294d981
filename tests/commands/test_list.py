import subprocess
import sys
import sysconfig

import pytest

from ioub_jax import commands
from ioub_jax.commands.listing import verbs
from tests import tiny

# Of the package's files, those that only serve the verbs.
PARTS = {
    "__init__",
    "boolean_flags",
    "command_line",
    "data_flags",
    "detections_sheets",
    "footage",
    "image_arguments",
    "label_files",
    "listing",
    "machine",
    "overrides",
    "prediction_files",
    "preview",
    "score_flags",
    "view_flags",
}

IOUB = (f"{sysconfig.get_path('scripts')}/ioub",)
IN_A_CLONE = (sys.executable, "-m", "experiments")


def start(*arguments):
    return subprocess.run(arguments, cwd=tiny.ROOT, text=True, capture_output=True)


@pytest.mark.parametrize("caller", [IOUB, IN_A_CLONE])
def test_every_verb_is_listed_with_one_line(caller):
    (folder,) = commands.__path__
    files = {path.stem for path in (tiny.pathlib.Path(folder)).glob("*.py")} - PARTS
    assert set(verbs()) == files
    shown = start(*caller)
    assert shown.returncode == 0
    for name, text in verbs().items():
        (line,) = [line for line in shown.stdout.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(text)
        assert text.endswith(".")
        assert len(line) <= 110


@pytest.mark.skipif(sys.platform == "win32", reason="there is no head")
def test_who_reads_the_beginning_alone_is_told_no_more():
    shown = start("bash", "-c", f"'{IOUB[0]}' | (exec <&-; sleep 1)")
    assert shown.stderr == ""


@pytest.mark.parametrize("caller", [IOUB, IN_A_CLONE])
def test_a_wrong_name_ends_with_the_list(caller):
    shown = start(*caller, "trian")
    assert shown.returncode == 1
    assert "There is no verb 'trian'." in shown.stderr
    assert "  train " in shown.stderr


def test_a_verb_of_a_clone_has_a_dot():
    sentence = start(*IN_A_CLONE, "train").stderr.strip()
    assert sentence == "Write it with a dot: python -m experiments.train"


def test_ioub_runs_a_verb_and_its_flags():
    shown = start(*IOUB, "train", "--config=shapes_retinanet:nothing", "--workdir=unused")
    assert shown.returncode == 1
    assert "Unknown arm 'nothing'" in shown.stderr
    shown = start(*IOUB, "train", "--config=shapes", "--workdir=unused")
    assert (
        "There is no configuration 'shapes'; the configurations are cityscapes_retinanet"
        in shown.stderr
    )
