"""The fuzz of the readers: valid files are read, changes are repeatable, and findings are kept."""

import json
import os
import random
import time
import warnings

import pytest

from experiments.fuzz import cases, mutations, readers, trials, watch
from experiments.fuzz.readers import Reader
from ioub_jax.data.checks import DataError
from ioub_jax.evaluation.coco_input import check_input


@pytest.mark.parametrize("name", readers.READERS)
def test_valid_files_are_read(name, tmp_path):
    for number, files in enumerate(readers.READERS[name].seeds()):
        folder = tmp_path / str(number)
        cases.write(folder, files)
        assert cases.read(folder) == files
        outcome = trials.attempt(name, folder)
        assert outcome.kind == "read", outcome


@pytest.mark.parametrize("name", readers.READERS)
def test_changes_are_those_of_their_seed(name):
    valid = readers.READERS[name].seeds()
    before = [dict(files) for files in valid]
    first, second = (
        [mutations.mutate(valid[0], random.Random(seed), valid) for seed in range(40)]
        for _ in range(2)
    )
    assert first == second and valid == before
    names = {cases.name_of(files) for files in first}
    assert len(names) > 20 and any(cases.name_of(valid[0]) != name for name in names)


def test_what_was_json_stays_json_where_its_values_are_changed():
    content = json.dumps({"a": [1, {"b": "c"}]}).encode()
    changed = {mutations._mutate_json(content, random.Random(seed)) for seed in range(60)}
    assert len({repr(json.loads(text)) for text in changed}) > 30


def attempt_with(monkeypatch, tmp_path, read):
    monkeypatch.setitem(readers.READERS, "mine", Reader(lambda: [{"a.txt": b"1"}], read))
    return trials.attempt("mine", tmp_path)


def raising(error):
    def read(folder):
        raise error

    return read


def test_only_one_clear_sentence_is_a_refusal(monkeypatch, tmp_path):
    refused = attempt_with(monkeypatch, tmp_path, raising(DataError("a.txt: is empty.", "folder")))
    assert (refused.kind, refused.words) == ("refused", "a.txt: is empty.")
    long = attempt_with(monkeypatch, tmp_path, raising(DataError("a" * 4000, "folder")))
    assert long.kind == "finding" and long.place.startswith("too long")
    empty = attempt_with(monkeypatch, tmp_path, raising(DataError("", "folder")))
    assert empty.kind == "finding" and empty.place.startswith("nothing is said")
    bug = attempt_with(monkeypatch, tmp_path, raising(KeyError("a")))
    assert bug.kind == "finding" and "KeyError: 'a'" in bug.words


def test_a_value_error_is_a_refusal_where_the_package_raises_it():
    for function, purpose in (
        (lambda: check_input({}, []), True),
        (lambda: check_input([], "a"), True),
        (lambda: int("a"), False),
        (lambda: score_of({"score": "a"}), False),
    ):
        with pytest.raises(ValueError) as caught:
            function()
        assert readers._is_raised_on_purpose(caught.value) is purpose


def score_of(detection):
    return float(detection["score"])


def test_a_warning_is_a_finding(monkeypatch, tmp_path):
    def read(folder):
        warnings.warn("overflow encountered", RuntimeWarning, stacklevel=1)
        return ""

    found = attempt_with(monkeypatch, tmp_path, read)
    assert found.kind == "finding" and found.place.startswith("RuntimeWarning")


def test_what_is_new_is_kept_and_read_first_the_next_time(monkeypatch, tmp_path):
    def read(folder):
        return "long" if len((folder / "a.bin").read_bytes()) > 4 else "short"

    monkeypatch.setitem(readers.READERS, "mine", Reader(lambda: [{"a.bin": b"123"}], read))
    scratch, corpus = tmp_path / "scratch", tmp_path / "corpus"
    trial = trials.Trials(["mine"], corpus, scratch, seed=3)
    assert [outcome.place for outcome in trial.replay()] == ["short"]
    found = {trial.step().place for _ in range(60)}
    kept = list((corpus / "mine").iterdir())
    # A case without its file cannot be: one is left.
    assert found >= {"short", "long"} and len(kept) >= 1
    again = trials.Trials(["mine"], corpus, scratch, seed=4)
    assert "long" in [outcome.place for outcome in again.replay()]
    assert not [path for path in scratch.iterdir() if "finding" not in path.name]


def lose(connection, names, corpus, scratch, seed):
    """Stands for `trials.work`: a process that ends in the middle of a case."""
    cases.write(scratch / "image_1", {"a.png": b"broken"})
    os._exit(7)


def hang(connection, names, corpus, scratch, seed):
    """Stands for `trials.work`: a process that never comes back."""
    time.sleep(60)


def test_a_process_that_is_lost_is_a_finding(monkeypatch, tmp_path):
    monkeypatch.setattr(trials, "work", lose)
    watched = watch._Watched(["image"], tmp_path, 1)
    watched.run_until(time.monotonic() + 60)
    place = tmp_path / "findings" / "image_1"
    assert watched.findings == {"image: the process ended with 7 (1)": str(place)}
    assert watched.lost == 1 and watched.counts == {"image": {"finding": 1}}
    assert (place / "files" / "a.png").read_bytes() == b"broken"


def test_a_process_that_hangs_is_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(trials, "work", hang)
    monkeypatch.setattr(watch, "_PATIENCE_SECONDS", 0.5)
    watched = watch._Watched(["image"], tmp_path, 1)
    began = time.monotonic()
    watched.run_until(began + 60)
    assert watched.lost == 1 and time.monotonic() < began + 50
