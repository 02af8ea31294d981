"""What is told of a run that goes on."""

import dataclasses
import json
import types

import pytest

from ioub_jax.data.sources.fingerprint import Fingerprint
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts
from ioub_jax.training import resumption
from ioub_jax.workdirs import configuration
from tests import tiny

DATA = {"train": Fingerprint(50, 120, "a", "b", "c"), "val": Fingerprint(12, 30, "d", "e", "f")}


def experiment_of(config):
    """What of an experiment is compared with the one before."""
    learning_rate = training_parts.schedule_of(config, 50).learning_rate(config.batch_size)
    return types.SimpleNamespace(
        settings=configuration.to_dict(config),
        options=training_parts.options_of(config, 50),
        plan=types.SimpleNamespace(images_per_epoch=50),
        learning_rate=learning_rate,
    )


def told(tmp_path, change=None, data=None, step=12, begun_with=lambda config: None):
    """What is told where a run of the tiny configuration goes on, changed, on such data."""
    first, config = tiny.get_config(), tiny.get_config()
    begun_with(first)
    begun_with(config)
    configuration.claim_workdir(tmp_path, configuration.to_dict(first))
    resumption.record_data(tmp_path, DATA)
    if change is not None:
        change(config)
    return resumption.changes(resumption.read(tmp_path), experiment_of(config), data or DATA, step)


def test_of_a_new_run_and_of_the_same_one_nothing_is_told(tmp_path):
    before = resumption.read(tmp_path)
    assert before == (None, {})
    assert resumption.changes(before, experiment_of(tiny.get_config()), DATA, 0) == []
    assert told(tmp_path) == []
    assert told(tmp_path, lambda config: config.runtime.update(workers=2)) == []


def test_another_length_is_told_with_the_rate_that_follows(tmp_path):
    def longer(config):
        config.schedule.images = 384

    # Cosine, without a warm-up 0.05 * 8 / 16: see the schedule's own tests for its values.
    (line,) = told(tmp_path, longer)
    start = (
        "The schedule is now the one for 384 images (before: 192): the learning rate of the next "
    )
    assert line.startswith(start + "step is 0.0")
    assert line.endswith(").") and "(before: 0.0" in line
    rates = [float(part.split()[0].strip(").")) for part in line.split(" is ")[-1].split("before:")]
    assert rates[0] > rates[1] > 0  # a cosine of twice the length is not as far down
    assert told(tmp_path, longer, step=0) == [
        "The schedule is now the one for 384 images (before: 192)."
    ]

    def in_epochs(config):
        config.schedule.update({"images": None, "epochs": 7.0})

    # 350 images are 44 steps of 8.
    assert told(tmp_path, in_epochs, step=0) == [
        "The schedule is now the one for 352 images (before: 192)."
    ]


def test_a_run_in_epochs_is_as_long_as_its_data(tmp_path):
    def in_epochs(config):
        config.schedule.update({"images": None, "epochs": 2.0})

    assert told(tmp_path, step=0, begun_with=in_epochs) == []
    # 2 epochs of the 50 images are 13 steps of 8. They had 40 at the beginning, which were 10.
    then = resumption.Before(
        resumption.read(tmp_path).config,
        DATA | {"train": dataclasses.replace(DATA["train"], images=40)},
    )
    config = tiny.get_config()
    in_epochs(config)
    length, data = resumption.changes(then, experiment_of(config), DATA, 0)
    assert length == "The schedule is now the one for 104 images (before: 80)."
    assert "it has 50 images (before: 40)" in data


def test_a_run_that_ends_before_where_it_is_has_no_next_step(tmp_path):
    assert told(tmp_path, lambda config: config.schedule.update(images=64)) == [
        "The schedule is now the one for 64 images (before: 192)."
    ]


def test_another_evaluation_is_told_unless_ap_is_the_same(tmp_path):
    def change(config):
        config.evaluation.update(every_images=16, backend="faster_coco_eval", batch_size=4)

    assert told(tmp_path, change) == []
    (line,) = told(tmp_path, lambda config: config.evaluation.update(metrics=("voc",)))
    assert line.startswith(
        "Evaluations differ from now on (evaluation.metrics: ['coco', 'voc'] -> ['voc']): APs"
    )


@pytest.mark.parametrize(
    ("split", "changed", "words"),
    [
        (
            "train",
            {"boxes": 100, "objects": "x"},
            "The training data differs from that at the run's beginning: it has 100 boxes (before: "
            "120); the run continues with the present data.",
        ),
        (
            "train",
            {"names": "x", "sizes": "y"},
            "The training data differs from that at the run's beginning: it has other file names "
            "or another order and other image sizes; the run continues with the present data.",
        ),
        (
            "val",
            {"images": 1_200, "boxes": 31, "names": "x"},
            "The validation data differs from that at the run's beginning: it has 1,200 images "
            "(before: 12) and 31 boxes (before: 30); APs from before and after cannot be "
            "compared.",
        ),
    ],
)
def test_other_data_is_told_and_the_record_of_the_beginning_stays(tmp_path, split, changed, words):
    data = DATA | {split: dataclasses.replace(DATA[split], **changed)}
    assert told(tmp_path, data=data) == [words]
    resumption.record_data(tmp_path, data)
    assert resumption.read(tmp_path).data == DATA


def test_a_run_of_an_earlier_version_has_no_record_and_gets_one(tmp_path):
    configuration.claim_workdir(tmp_path, configuration.to_dict(tiny.get_config()))
    before = resumption.read(tmp_path)
    assert before.data == {}
    assert resumption.changes(before, experiment_of(tiny.get_config()), DATA, 3) == []
    resumption.record_data(tmp_path, DATA)
    assert resumption.read(tmp_path).data == DATA


@pytest.mark.parametrize("text", ["[1]", json.dumps({"train": {"images": 3}}), "{"])
def test_a_broken_record_is_named(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ConfigError, match=r"data.json is not (as ioub train wrote it|JSON)"):
        resumption.read(tmp_path)
