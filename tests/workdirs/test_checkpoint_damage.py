"""Every file of a checkpoint removed, cut and with a flipped bit: the right numbers or none."""

import gc
import json
import logging
import shutil
import sys

import jax
import numpy as np
import pytest
import tensorstore

from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoint_folders, checkpoints
from tests.workdirs import test_checkpoints
from tests.workdirs.test_checkpoints import equal

CONFIG = {"seed": 3}


def state_of(step):
    """A state with numbers enough for files of their own, which do not compress."""
    first, second = np.random.default_rng(step).random((2, 5000), np.float32)
    everywhere = placement.replicated(placement.create_mesh(8))
    first, second = jax.device_put((first, second), everywhere)
    small = test_checkpoints.state_of(step)
    return small.replace(params=small.params | {"head": first}, opt_state=(second,))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A workdir with `last` of the steps 4 and 6 and `best` of step 5."""
    workdir = tmp_path_factory.mktemp("written")
    saved = checkpoints.Checkpoints(workdir)
    for step in (4, 5, 6):
        if step != 5:
            saved.save_last(state_of(step), CONFIG)
    saved.save_best(state_of(5), CONFIG, 0.5)
    saved.close()
    return workdir


@pytest.fixture
def workdir(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


@pytest.fixture(autouse=True)
def hook_put_back():
    """After a failed read orbax's late complaints are dropped; here each would be an error."""
    hook, logger = sys.unraisablehook, logging.getLogger("asyncio")
    filters = list(logger.filters)
    yield
    gc.collect()  # what complains when it is collected does so now
    sys.unraisablehook, logger.filters = hook, filters


def one_device():
    return placement.replicated(placement.create_mesh(1))


def told(caplog):
    """What a user of a command reads; the log of orbax is not shown there."""
    return [record.getMessage() for record in caplog.records if record.name == "ioub_jax"]


def resume(workdir):
    return checkpoints.resume(workdir, jax.eval_shape(lambda: state_of(0)), one_device())


def is_of(state, step):
    return equal(jax.device_get(state), jax.device_get(state_of(step)))


def folders(workdir):
    return {f"{path.parent.name}/{path.name}" for path in workdir.glob("checkpoints/*/*")}


def damage(path, how):
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :])


def spoil(workdir, kind, step):
    """Flips a bit of the numbers in a checkpoint."""
    files = (
        workdir / "checkpoints" / kind / str(step) / "state" / "ocdbt.process_0" / "d"
    ).iterdir()
    damage(max(files, key=lambda path: path.stat().st_size), "flipped")


def overwrite(workdir, kind, step, array, by):
    """Puts the numbers of one array of a checkpoint in the place of another's; None: nothing."""
    place = (workdir / "checkpoints" / kind / str(step) / "state").as_uri() + "/"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": place}).result()
    assert f"{array}/0".encode() in store.list().result()
    store.write(f"{array}/0", None if by is None else store[f"{by}/0"]).result()


@pytest.mark.parametrize("how", ["removed", "cut", "flipped"])
def test_file_by_file_the_state_is_what_was_saved_at_a_step(written, tmp_path, caplog, how):
    newest = written / "checkpoints" / "last" / "6"
    names = [path.relative_to(written) for path in newest.rglob("*") if path.is_file()]
    found = {}
    for index, name in enumerate(names):
        workdir = shutil.copytree(written, tmp_path / str(index))
        damage(workdir / name, how)
        caplog.clear()
        state = resume(workdir)
        found[str(name)] = int(state.step)
        assert is_of(state, int(state.step)), name
        # One sentence where another one is taken, and none where the file does not matter.
        assert len(told(caplog)) == (state.step != 6), (name, told(caplog))
        if state.step != 6:
            assert state.step == 5
            assert told(caplog)[0].startswith("The 'last' checkpoint of step 6 (")
            assert folders(workdir) == {"last/4", "best/5", "damaged/last_6"}
        shutil.rmtree(workdir)
    # Those with the numbers and what describes them do matter.
    assert sum(step == 5 for step in found.values()) >= 3, found


def test_a_flipped_bit_is_found_by_its_array_and_the_next_whole_one_is_taken(workdir, caplog):
    spoil(workdir, "last", 6)
    spoil(workdir, "best", 5)
    assert is_of(resume(workdir), 4)
    (message,) = told(caplog)
    place = workdir / "checkpoints" / "damaged"
    assert message.endswith(
        f"in {workdir} are damaged: the run resumes from the 'last' checkpoint of step 4, and "
        f"the damaged files are now in {place}."
    )
    for name in ("'last' checkpoint of step 6", "'best' checkpoint of step 5"):
        assert name in message
    assert "other bytes than were saved" in message or "cannot be read" in message
    assert folders(workdir) == {"last/4", "damaged/last_6", "damaged/best_5"}
    # What was moved away may be saved again.
    again = checkpoints.Checkpoints(workdir)
    again.save_last(state_of(6), CONFIG)
    again.save_best(state_of(6), CONFIG, 0.1)
    again.close()
    assert folders(workdir) >= {"last/4", "last/6", "best/6"}
    assert is_of(resume(workdir), 6)


@pytest.mark.parametrize(
    ("which", "spoiled", "step", "words"),
    [
        ("best", [], 5, None),
        ("last", [], 6, None),
        ("best", [("best", 5)], 6, "the 'last' checkpoint of step 6 is used instead"),
        ("last", [("last", 6)], 5, "the 'best' checkpoint of step 5 is used instead"),
        ("last", [("last", 6), ("best", 5)], 4, "the 'last' checkpoint of step 4 is used instead"),
    ],
)
def test_whoever_reads_gets_another_one_and_is_told(workdir, caplog, which, spoiled, step, words):
    for kind, of_step in spoiled:
        overwrite(workdir, kind, of_step, "params.head", "opt_state.0")
    before = folders(workdir)
    variables = checkpoints.read_variables(workdir, which, one_device())
    np.testing.assert_array_equal(variables["params"]["head"], state_of(step).params["head"])
    assert folders(workdir) == before  # readers move nothing
    assert [words in message for message in told(caplog)] == ([True] if words else [])


def test_a_checkpoint_that_a_training_replaces_meanwhile_is_not_damaged(
    workdir, caplog, monkeypatch
):
    metadata = checkpoint_folders.Folder.metadata

    def replace_first(folder):
        if folder.step == 6:
            folder.path.rename(folder.path.with_name("7"))  # what the training has saved since
        return metadata(folder)

    monkeypatch.setattr(checkpoint_folders.Folder, "metadata", replace_first)
    folder, variables = checkpoints.read_checkpoint(workdir, "last", one_device())
    assert folder.step == 7
    np.testing.assert_array_equal(variables["params"]["head"], state_of(6).params["head"])
    assert told(caplog) == []


@pytest.mark.parametrize(("array", "by"), [("opt_state.0", "params.head"), ("opt_state.0", None)])
def test_what_is_not_read_may_be_damaged(workdir, caplog, array, by):
    overwrite(workdir, "last", 6, array, by)
    variables = checkpoints.read_variables(workdir, "last", one_device())
    assert variables.keys() == {"params", "batch_stats"}
    np.testing.assert_array_equal(variables["params"]["head"], state_of(6).params["head"])
    assert told(caplog) == []
    assert is_of(resume(workdir), 5)  # a run goes on with all of it


@pytest.fixture
def averaged(tmp_path):
    """A workdir with `last` of the steps 4 and 6 with moving averages, of which 6 is broken."""
    saved = checkpoints.Checkpoints(tmp_path / "averaged")
    for step in (4, 6):
        saved.save_last(test_checkpoints.with_ema(state_of(step)), CONFIG)
    saved.close()
    return tmp_path / "averaged"


def head_of(workdir, ema):
    read = checkpoints.read_variables(workdir, "last", one_device(), ema=ema)
    return read["params"]["head"]


@pytest.mark.parametrize("broken", ["params.head", "ema.params.head"])
@pytest.mark.parametrize("ema", [False, True])
def test_the_variables_and_their_average_are_checked_each_for_itself(averaged, caplog, broken, ema):
    overwrite(averaged, "last", 6, broken, "opt_state.0")
    expected = 4 if (broken == "ema.params.head") == ema else 6
    head = state_of(expected).params["head"] + (1.0 if ema else 0.0)
    np.testing.assert_array_equal(head_of(averaged, ema), head)
    name = broken.replace(".", "/")
    words = f"The 'last' checkpoint of step 6 ({name} has other bytes than were saved) in "
    assert [words in message for message in told(caplog)] == ([] if expected == 6 else [True])


def test_an_average_that_is_lost_is_not_replaced_by_the_weights(averaged, caplog):
    described = averaged / "checkpoints" / "last" / "6" / "state" / "_METADATA"
    content = json.loads(described.read_bytes())
    names = content["tree_metadata"]
    content["tree_metadata"] = {name: names[name] for name in names if "'ema'" not in name}
    assert len(content["tree_metadata"]) < len(names)
    described.write_text(json.dumps(content))
    np.testing.assert_array_equal(head_of(averaged, True), state_of(4).params["head"] + 1.0)
    assert "ema/batch_stats/backbone/stem/mean and 2 more arrays have other" in told(caplog)[0]


def test_without_a_best_one_the_newest_is_read(workdir, caplog):
    shutil.rmtree(workdir / "checkpoints" / "best")
    variables = checkpoints.read_variables(workdir, "best", one_device())
    np.testing.assert_array_equal(variables["params"]["head"], state_of(6).params["head"])
    assert told(caplog) == [
        f"{workdir} has no 'best' checkpoint: the 'last' checkpoint of step 6 is used instead."
    ]


def test_where_every_one_is_damaged_one_sentence_names_them(workdir):
    for kind, step in (("last", 4), ("last", 6), ("best", 5)):
        spoil(workdir, kind, step)
    before = folders(workdir)
    with pytest.raises(ConfigError) as refused:
        resume(workdir)
    sentence = str(refused.value)
    for step in (4, 5, 6):
        assert f"checkpoint of step {step} (" in sentence
    assert "are damaged, or of another version, and there is no other one; put back" in sentence
    assert "\n" not in sentence
    assert folders(workdir) == before


def test_arrays_without_checksums_are_better_than_nothing(workdir, caplog):
    for path in workdir.glob("checkpoints/*/*/metadata/metadata"):
        path.unlink()
    assert is_of(resume(workdir), 6)
    (message,) = told(caplog)
    assert message.startswith("Whether the 'last' checkpoint of step 6 in ")
    assert "(its metadata cannot be read: No such file or directory)" in message
    assert folders(workdir) == {"last/4", "last/6", "best/5"}


def test_checkpoints_of_earlier_versions_have_no_checksums_and_are_read(workdir, caplog):
    for path in workdir.glob("checkpoints/*/*/metadata/metadata"):
        path.write_text(json.dumps({"config": CONFIG, "AP": 0.5}))
    assert is_of(resume(workdir), 6)
    assert told(caplog) == []


@pytest.mark.parametrize("how", ["removed", "cut"])
@pytest.mark.parametrize("recorded", [True, False])
def test_damaged_metadata_of_the_best_one_costs_at_most_its_ap(workdir, caplog, how, recorded):
    damage(workdir / "checkpoints" / "best" / "5" / "metadata" / "metadata", how)
    if recorded:
        (workdir / "evaluation.jsonl").write_text('{"step": 5, "AP": 0.1, "voc_AP": 0.5}\n')
    again = checkpoints.Checkpoints(workdir, "voc_AP")
    assert again.best_ap() == (0.5 if recorded else None)
    (message,) = told(caplog)
    assert message.startswith("The metadata of the 'best' checkpoint of step 5 in ")
    # Of a run that goes on from step 4: without a known AP this one replaces one that is ahead.
    again.save_best(state_of(4), CONFIG, 0.3)
    again.close()
    assert "best/5" in folders(workdir) if recorded else "best/4" in folders(workdir)
    assert len(told(caplog)) == 1
