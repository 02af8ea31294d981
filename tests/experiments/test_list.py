import pathlib
import subprocess
import sys

from experiments.__main__ import commands
from tests import tiny

# Of the package's files, those that only serve the commands.
PARTS = {"__init__", "__main__", "command_line", "machine", "overrides"}


def listing(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=tiny.ROOT,
        text=True,
        capture_output=True,
    )


def test_every_command_is_listed_with_one_line():
    files = {path.stem for path in pathlib.Path(tiny.ROOT, "experiments").glob("*.py")} - PARTS
    assert set(commands()) == files | {"benchmark"}
    shown = listing()
    assert shown.returncode == 0
    for name, text in commands().items():
        (line,) = [line for line in shown.stdout.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(text)
        assert text.endswith(".")
        assert len(line) <= 110


def test_a_wrong_name_ends_with_one():
    assert listing("train").stderr.strip() == "Write it with a dot: python -m experiments.train"
    shown = listing("trian")
    assert shown.returncode == 1
    assert "There is no command 'trian'." in shown.stderr
    assert "  train " in shown.stderr
