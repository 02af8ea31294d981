"""TensorBoard, and W&B: against a stand-in for its server, and offline with the package itself."""

import importlib.machinery
import json
import math
import pathlib
import subprocess
import sys
import time
import types

import pytest
import tensorboardX
from PIL import Image

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import records, writers
from tests import tiny
from tests.workdirs.test_records import scalars_of, values_of


class Server(types.ModuleType):
    """The part of `wandb` that is used, with what its server would have received.

    Attributes:
      rows: the rows of each (project, id).
      online: whether a run that goes on is told its summary.
      ended: the exit codes.
    """

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None, origin="a stand-in")
        self.rows, self.online, self.ended, self.refuses = {}, True, [], None
        self.Image = lambda image: f"{image.format} of {image.width}x{image.height}"

    def init(self, *, project, id, resume, **_):
        assert resume == "allow"
        if self.refuses:
            raise self.Error(self.refuses)
        rows = self.rows.setdefault((project, id), [])
        if not self.online:
            rows.clear()  # a folder of its own for each start
        summary = {key: value for row in rows for key, value in row.items()}
        return types.SimpleNamespace(
            summary=summary,
            define_metric=lambda name, step_metric: None,
            log=lambda row: rows.append(dict(row)),
            finish=lambda exit_code: self.ended.append(exit_code),
        )


@pytest.fixture
def server(monkeypatch):
    module = Server()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def opened(workdir, last_step, project="detectors"):
    return records.MetricWriter(
        workdir,
        ("train", "histograms", "evaluation"),
        last_step,
        writers.open_writers(workdir, project, {"seed": 3}),
    )


def killed_and_resumed(workdir):
    """Steps 1 to 4 and an evaluation, a kill after the checkpoint of step 2, and steps 3 to 5."""
    first = opened(workdir, 0)
    for step in (1, 2, 3, 4):
        first.write("train", step, {"loss": float(step), "note": "words"})
        first.write("histograms", step, {"iou": [1, 2]})
    first.write("evaluation", 4, {"AP": 0.5, "APs": None})
    first._writers[0].close(failed=True)  # as the system closes the files of what is killed
    with opened(workdir, 2) as second:
        for step in (3, 4, 5):
            second.write("train", step, {"loss": float(step)})
        second.write("evaluation", 4, {"AP": 0.5, "APs": None})


@pytest.mark.parametrize("online", [True, False])
def test_a_resume_goes_on_with_the_same_run_and_each_step_is_there_once(server, tmp_path, online):
    server.online = online
    killed_and_resumed(tmp_path)
    (rows,) = server.rows.values()
    of_training = [row for row in rows if "train/step" in row]
    assert of_training == [{"train/step": n, "train/loss": float(n)} for n in (1, 2, 3, 4, 5)]
    of_evaluation = [row for row in rows if "evaluation/step" in row]
    assert of_evaluation == [{"evaluation/step": 4, "evaluation/AP": 0.5}]
    assert len(rows) == 6  # histograms are no single numbers
    assert server.ended == [0]


def test_what_a_kill_kept_from_the_server_is_sent_on_the_resume(server, tmp_path):
    with opened(tmp_path, 0) as writer:
        for step in (1, 2, 3):
            writer.write("train", step, {"loss": float(step)})
    (rows,) = server.rows.values()
    del rows[1:]  # the last ones never arrived
    with opened(tmp_path, 3):
        pass
    assert [row["train/step"] for row in rows] == [1, 2, 3]


def test_an_evaluation_is_shown_with_its_picture_and_after_a_resume_again(server, tmp_path):
    path = records.picture_path(tmp_path, 4)
    path.parent.mkdir()
    Image.new("RGB", (6, 3), "red").save(path)
    killed_and_resumed(tmp_path)
    shown = {"evaluation/step": 4, "evaluation/AP": 0.5, "evaluation/detections": "JPEG of 6x3"}
    (rows,) = server.rows.values()
    assert [row for row in rows if "evaluation/step" in row] == [shown]
    with opened(tmp_path, 5, None):
        pass
    ((step, value),) = values_of(tmp_path / "tensorboard", "evaluation/detections")
    assert step == 4
    assert (value.image.width, value.image.height) == (6, 3)
    assert value.image.encoded_image_string == path.read_bytes()


def test_the_project_may_be_set_later_and_an_error_is_told(server, tmp_path):
    with opened(tmp_path, 0, None) as writer:
        writer.write("train", 1, {"loss": 1.0})
    assert server.rows == {}
    with pytest.raises(RuntimeError), opened(tmp_path, 1) as writer:
        writer.write("train", 2, {"loss": 2.0})
        raise RuntimeError
    (rows,) = server.rows.values()
    assert [row["train/loss"] for row in rows] == [1.0, 2.0]
    assert server.ended == [1]


def test_two_workdirs_are_two_runs(server, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with opened(tmp_path / name, 0):
            pass
    assert len(server.rows) == 2


def test_what_the_server_refuses_is_one_sentence(server, tmp_path):
    server.refuses = "api_key not configured\n(no-tty)"
    with pytest.raises(
        ConfigError, match=r"cannot start \(api_key not configured \(no-tty\)\); run"
    ):
        opened(tmp_path, 0)


@pytest.mark.parametrize("folder", [False, True])
def test_without_the_package_the_sentence_names_the_extra(tmp_path, folder):
    # A folder wandb/, as W&B leaves one behind, is not the package.
    if folder:
        (tmp_path / "wandb").mkdir()
    program = (
        f"import sys; sys.path = [{str(tmp_path)!r}, {str(tiny.ROOT)!r}] + sys.path[1:]\n"
        "import importlib.machinery, importlib.util\n"
        "sys.modules.pop('wandb', None)\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: (\n"
        f"    importlib.machinery.PathFinder.find_spec(name, [{str(tmp_path)!r}])\n"
        "    if name == 'wandb' else find(name))\n"
        "from ioub_jax.workdirs import writers\n"
        "writers.check_project(None)\n"
        "try:\n"
        "    writers.check_project('detectors')\n"
        "except writers.ConfigError as error:\n"
        "    print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True)
    assert "pip install 'ioub_jax[train,wandb]'" in shown.stdout, shown.stderr


def test_offline_with_the_package_itself(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with opened(tmp_path, 0) as writer:
        writer.write("train", 1, {"loss": 1.0})
    (file,) = (tmp_path / "wandb" / "latest-run").glob("run-*.wandb")
    assert f"run-{json.loads((tmp_path / 'wandb.json').read_text())['id']}.wandb" == file.name
    # Some versions write the last of it in a process of their own.
    deadline = time.monotonic() + 20
    while b"train/loss" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert b"train/loss" in file.read_bytes()


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("full_from", [1, 3])
def test_a_full_disk_ends_tensorboard_and_nothing_else(tmp_path, caplog, full_from):
    with opened(tmp_path, 0, None) as writer:
        for step in (1, 2, 3, 4, 5):
            if step == full_from:
                (shown,) = writer._writers
                if shown._file is not None:
                    shown._file.close()
                shown._file = tensorboardX.RecordWriter("/dev/full")
                shown._flushed = -math.inf
            writer.write("train", step, {"loss": float(step)})
        assert writer._writers == []
    assert [record["step"] for record in records.read_records(tmp_path / "train.jsonl", 9)] == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip
    assert caplog.messages == [
        "TensorBoard failed ([Errno 28] No space left on device) and is left out from now on; the "
        "rest of the run does not need it, and it gets all records at the next start."
    ]


def test_a_clock_that_is_set_back_is_nothing_to_tensorboard(tmp_path, monkeypatch, caplog):
    with opened(tmp_path, 0, None) as writer:
        now = time.time()
        for step in (1, 2, 3):
            # By 400 days; 24.8 are what poll can wait.
            monkeypatch.setattr(time, "time", lambda days=400 * step: now - days * 86400)
            writer.write("train", step, {"loss": float(step)})
    losses = [(step, float(step)) for step in (1, 2, 3)]
    assert scalars_of(tmp_path / "tensorboard", "train/loss") == losses
    assert caplog.messages == []


@pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("the service\nhas gone")])
def test_weights_and_biases_may_fail_at_any_time(server, tmp_path, caplog, error):
    with opened(tmp_path, 0) as writer:
        writer.write("train", 1, {"loss": 1.0})

        def fail(*_, **__):
            raise error

        writer._writers[1]._run.log = writer._writers[1]._run.finish = fail
        writer.write("train", 2, {"loss": 2.0})
        writer.write("train", 3, {"loss": 3.0})
    words = "the service has gone" if str(error) else "BrokenPipeError"
    (message,) = caplog.messages
    assert message.startswith(f"Weights & Biases failed ({words}) and is left out")
    losses = [(step, float(step)) for step in (1, 2, 3)]
    assert scalars_of(tmp_path / "tensorboard", "train/loss") == losses
