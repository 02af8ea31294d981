"""A workdir in a bucket: what is written there, a whole training, going on with it, using it."""

import json

import jax
import pytest

import ioub_jax
from ioub_jax import building, files
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoint_folders, checkpoints, lock, records, writers
from tests import bucket, tiny
from tests.workdirs import test_checkpoints
from tests.workdirs.test_checkpoints import equal


@pytest.fixture(scope="module")
def objects():
    """The objects; the server stays, since tensorstore looks for it once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        objects, server = bucket.install(monkeypatch)
        yield objects
        server.shutdown()
        server.server_close()


@pytest.fixture
def workdir(objects, request):
    """A folder of its own in the bucket."""
    return files.path_of(f"gs://mine/{request.node.name}/run")


def train(workdir, steps):
    config = tiny.get_config()
    config.schedule.images = steps * config.batch_size
    config.evaluation.every_images = 3 * config.batch_size
    config.runtime.checkpoint_every_images = 2 * config.batch_size
    building.train_and_evaluate(config, workdir)


def without_times(path):
    timing = ("_share", "_second", "seconds")
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith(timing)}
        for line in path.read_text().splitlines()
    ]


@pytest.mark.slow
def test_a_training_goes_on_and_is_used_as_on_a_disk(objects, tmp_path):
    places = files.path_of("gs://mine/study/run"), tmp_path / "run"
    for place in places:
        train(str(place), 3)
        train(str(place), 5)
    in_bucket, on_disk = places
    for name in ("train.jsonl", "histograms.jsonl", "evaluation.jsonl"):
        assert without_times(in_bucket / name) == without_times(on_disk / name)
    assert [record["step"] for record in without_times(on_disk / "train.jsonl")] == [1, 2, 3, 4, 5]
    names = [{path.name for path in place.iterdir()} for place in places]
    assert names[1] - names[0] == {"tensorboard"}
    assert not names[0] - names[1]
    for name in ("config.json", "classes.json", "evaluation/val_5_metrics.json"):
        assert (in_bucket / name).read_text() == (on_disk / name).read_text()
    found, expected = map(checkpoint_folders.find, places)
    assert [(folder.kind, folder.step) for folder in found] == [
        (folder.kind, folder.step) for folder in expected
    ]
    first, second = (ioub_jax.load(str(place)).variables for place in places)
    assert equal(first, second)
    assert objects.names("mine/study/run/train.lock") == []


def save(workdir, *steps):
    saved = checkpoints.Checkpoints(workdir)
    for step in steps:
        saved.save_last(test_checkpoints.state_of(step), {"seed": 0})
    saved.close()


def resume(workdir):
    one = placement.replicated(placement.create_mesh(1))
    template = jax.eval_shape(lambda: test_checkpoints.state_of(0))
    return checkpoints.resume(workdir, template, one)


def test_a_checkpoint_that_is_not_complete_is_none(objects, workdir):
    save(workdir, 3, 4)
    name = f"{str(workdir).removeprefix('gs://')}/checkpoints/last/4/commit_success.txt"
    assert objects.remove(name)
    assert [folder.step for folder in checkpoint_folders.find(workdir)] == [3]
    assert int(resume(workdir).step) == 3
    save(workdir, 4)  # again
    assert [folder.step for folder in checkpoint_folders.find(workdir)] == [4, 3]


def test_a_damaged_checkpoint_is_moved_away(objects, workdir, caplog):
    save(workdir, 3, 4)
    prefix = f"{str(workdir).removeprefix('gs://')}/checkpoints/"
    for name in objects.names(f"{prefix}last/4/state/"):
        if "ocdbt" in name:
            objects.put(name, b"damaged")
    assert int(resume(workdir).step) == 3
    assert "the run resumes from the 'last' checkpoint of step 3" in caplog.text
    assert [folder.step for folder in checkpoint_folders.find(workdir)] == [3]
    assert objects.names(f"{prefix}damaged/last_4/metadata/")


def test_records_are_written_before_a_checkpoint_and_once_a_minute(workdir, monkeypatch):
    with records.MetricWriter(workdir, ("train",), 0, []) as writer:
        for step in (1, 2):
            writer.write("train", step, {"loss": 0.5})
        path = workdir / "train.jsonl"
        assert path.read_text() == ""
        writer.flush()
        assert [record["step"] for record in records.read_records(path, 9)] == [1, 2]
        writer.write("train", 3, {"loss": 0.5})
        monkeypatch.setattr(records, "_FLUSH_SECONDS", 0.0)
        assert len(records.read_records(path, 9)) == 2
        writer.write("train", 4, {"loss": 0.5})
        assert len(records.read_records(path, 9)) == 4
        monkeypatch.undo()
        writer.write("train", 5, {"loss": 0.5})
    assert len(records.read_records(path, 9)) == 5
    # A run that goes on from step 3 forgets what was after it.
    with records.MetricWriter(workdir, ("train",), 3, []) as writer:
        writer.write("train", 4, {"loss": 0.25})
    assert [record["loss"] for record in records.read_records(path, 9)] == [0.5] * 3 + [0.25]


def test_what_a_bucket_does_not_have(workdir, objects):
    with lock.held(workdir), lock.held(workdir):
        lock.check_free(workdir)
    assert objects.names(str(workdir).removeprefix("gs://")) == []
    config = tiny.get_config()
    assert writers.open_writers(workdir, None, {}) == []
    assert writers.describe_writers(workdir, None) == []
    with pytest.raises(ConfigError, match="is in a bucket, where no trace is written: leave --pro"):
        building.train_and_evaluate(config, str(workdir), profile=True)


def test_files_are_written_whole(workdir):
    files.check_can_write(workdir)
    files.write_json(workdir / "a.json", {"a": [1]})
    assert (workdir / "a.json").read_text() == '{"a": [1]}\n'
    files.write_bytes(workdir / "b", bytearray(b"b"))
    files.write_bytes(workdir / "b", b"c")
    assert (workdir / "b").read_bytes() == b"c"
    files.remove_folder(workdir)
    files.remove_folder(workdir)
    assert not workdir.exists()
    assert files.absolute(workdir) == workdir
