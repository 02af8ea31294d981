"""Building a training from parts, and running it."""

import json
import logging

import jax
import numpy as np
import optax
import pytest

import ioub_jax
from ioub_jax.data.sources import ShapesSource
from ioub_jax.errors import ConfigError
from ioub_jax.training import start
from tests import tiny
from tests.detectors.test_placed import Network
from tests.own_metric import Caught


def two_steps():
    config = tiny.get_config()
    config.schedule.images = config.evaluation.every_images = 2 * config.batch_size
    return config


def shapes(count, split, seed=3):
    return ShapesSource(num_images=count, image_size=(64, 64), seed=seed, split=split)


def equal(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("built") / "run"
    return ioub_jax.train(ioub_jax.build(two_steps()), workdir), workdir


def test_a_key_without_effect_is_told(caplog):
    config = two_steps()
    config.optimizer.betas = (0.9, 0.95)
    with caplog.at_level(logging.WARNING, logger="ioub_jax"):
        ioub_jax.build(config)
    sentence = "optimizer.betas is (0.9, 0.95), which has no effect: optimizer.name is 'sgd'."
    assert [record.getMessage() for record in caplog.records].count(sentence) == 1


def test_a_training_gives_what_it_trained(trained):
    result, workdir = trained
    loaded = ioub_jax.load_run(workdir, "last", "val")
    assert equal(result.variables, loaded.variables)
    evaluation = result.evaluate()
    assert evaluation.record() == loaded.evaluate().record()
    recorded = json.loads((workdir / "evaluation.jsonl").read_text().splitlines()[-1])
    assert recorded["AP"] == evaluation.record()["AP"]
    assert not (workdir / "parts.json").exists()


@pytest.mark.slow
def test_validation_losses_by_a_moving_average_are_those_of_any_batch_size(tmp_path):
    """Of the batches that are evaluated, not of those that the average was taken over."""

    def loss(batch_size):
        config = two_steps()
        config.loss.normalizer = "moving_average"
        config.evaluation.batch_size = batch_size
        workdir = tmp_path / str(batch_size)
        ioub_jax.train(ioub_jax.build(config), workdir)
        return json.loads((workdir / "evaluation.jsonl").read_text().splitlines()[-1])["loss"]

    # A part of each normalizer, a tenth, is of the batch itself, and batches differ.
    assert loss(16) == pytest.approx(loss(8), rel=0.2)


def test_what_was_trained_detects_as_what_is_loaded(trained):
    result, workdir = trained
    image = result.source[0].image
    found = result.detector(image)
    loaded = ioub_jax.load(workdir, checkpoint="last")(image)
    np.testing.assert_array_equal(found.boxes, loaded.boxes)
    assert found.class_names == loaded.class_names
    assert len(found) > 0


def test_a_finished_run_is_not_trained_again(trained):
    result, workdir = trained
    before = (workdir / "train.jsonl").read_bytes()
    again = ioub_jax.train(ioub_jax.build(two_steps()), workdir)
    assert equal(again.variables, result.variables)
    assert (workdir / "train.jsonl").read_bytes() == before


def test_a_name_is_enough_for_a_configuration():
    experiment = ioub_jax.build("shapes_retinanet:baseline")
    assert experiment.options.batch_size == 16
    assert experiment.given == {}
    assert experiment.settings["loss"]["classification"]["eta"] == 0.0


@pytest.mark.slow
def test_parts_of_ones_own_train_and_are_known_when_the_run_goes_on(tmp_path):
    config = two_steps()
    parts = {
        "source": shapes(24, "train"),
        "validation": shapes(4, "val"),
        "network": Network(),
        "optimizer": optax.adamw(1e-3),
        "metrics": (Caught(),),
    }
    result = ioub_jax.train(ioub_jax.build(config, **parts), tmp_path / "run")
    assert len(result.source) == 4
    recorded = json.loads((tmp_path / "run" / "parts.json").read_text())
    assert set(recorded) == {"source", "network", "optimizer", "metrics"}
    assert recorded["network"].endswith("test_placed.Network")
    lines = (tmp_path / "run" / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert all("learning_rate" not in row for row in rows)
    with pytest.raises(ConfigError, match=r"with network=.*Network, not the network of its"):
        ioub_jax.train(ioub_jax.build(config, **parts | {"network": None}), tmp_path / "run")
    with pytest.raises(ConfigError, match="optimizer="):
        ioub_jax.train(
            ioub_jax.build(config, **parts | {"optimizer": optax.lion(1e-3)}), tmp_path / "run"
        )
    with pytest.raises(ConfigError, match=r"ioub_jax.load\(workdir, network=...\)"):
        ioub_jax.load(tmp_path / "run")
    detector = ioub_jax.load(tmp_path / "run", network=Network())
    assert detector.classes == tuple(result.source.classes)
    with pytest.raises(ConfigError, match="was trained on source="):
        ioub_jax.load_run(tmp_path / "run", network=Network())


@pytest.mark.slow
def test_a_network_of_other_arrays_is_told_and_nothing_is_damaged(tmp_path):
    config, workdir = two_steps(), tmp_path / "run"
    result = ioub_jax.train(ioub_jax.build(config, network=Network()), workdir)
    told = (
        r"has a run of another network or optimizer: for .*Conv_0/kernel, .* has an array of "
        r"shape \(1, 1, 1, 72\), but the given part has an array of shape \(3, 3, 1, 72\); give"
    )
    config.schedule.images += config.batch_size  # else nothing of the state is needed
    with pytest.raises(ConfigError, match=told):
        ioub_jax.train(ioub_jax.build(config, network=Network(kernel=3)), workdir)
    assert not (workdir / "checkpoints" / "damaged").exists()
    for load in (ioub_jax.load, ioub_jax.load_run):
        with pytest.raises(ConfigError, match=told):
            load(workdir, network=Network(kernel=3))
    with pytest.raises(ConfigError, match=r"ioub_jax.load_run\(workdir, network=...\) to evaluate"):
        ioub_jax.load_run(workdir)
    loaded = ioub_jax.load_run(workdir, "last", network=Network())
    assert equal(loaded.variables, result.variables)
    assert loaded.evaluate().record() == result.evaluate().record()


class Uncounted:
    """A metric that forgets its report."""

    name, headline_key = "uncounted", "AP"

    def compute(self, ground_truth, detections):
        return {"AP": 0.5}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"optimizer": "adamw"}, "optimizer is 'adamw'; it must be an optax transformation"),
        (
            {"network": "resnet18"},
            "network is 'resnet18'; it must be an instance of flax.linen.Module",
        ),
        ({"network": Network}, "it must be an instance of flax.linen.Module"),
        ({"detector": Network()}, "it must be an ioub_jax.detectors.Detector"),
        ({"metrics": Caught()}, "give a sequence of them"),
        ({"metrics": (Caught,)}, "A metric is .*Caught.*; it must be an object with `name`"),
    ],
)
def test_what_is_no_part_is_refused_before_anything_is_trained(part, words):
    with pytest.raises(ConfigError, match=words):
        ioub_jax.build(two_steps(), **part)


def test_a_metric_without_a_report_is_told(trained):
    with pytest.raises(ConfigError, match="'uncounted' computes a dict; it must be an"):
        trained[0].evaluate((Uncounted(),))


def test_the_rate_of_a_backbone_needs_one():
    config = two_steps()
    config.optimizer.backbone_factor = 0.1
    with pytest.raises(ConfigError, match=r"^optimizer.backbone_factor is 0.1 .* no module called"):
        ioub_jax.build(config, network=Network())


def test_a_training_tells_how_it_goes_unless_it_is_to_be_quiet(trained, capfd):
    _, workdir = trained
    ioub_jax.train(ioub_jax.build(two_steps()), workdir)
    assert "is already finished (step 2 of 2)" in capfd.readouterr().err
    logger = logging.getLogger("ioub_jax")
    logger.setLevel(logging.WARNING)
    try:
        ioub_jax.train(ioub_jax.build(two_steps()), workdir)
    finally:
        logger.setLevel(logging.NOTSET)
    assert "finished" not in capfd.readouterr().err


def test_parts_that_do_not_fit_together_are_refused():
    config = two_steps()
    with pytest.raises(ConfigError, match="source and validation go together"):
        ioub_jax.build(config, source=shapes(8, "train"))
    with pytest.raises(ConfigError, match="anchors, level by level"):
        ioub_jax.build(config, network=Network(anchors=3))
    experiment = ioub_jax.build(config)
    with pytest.raises(ConfigError, match="network and detector are both given"):
        ioub_jax.build(config, network=Network(), detector=experiment.detector.detector)


def test_a_loop_of_ones_own_sees_what_ours_sees(trained):
    result, _ = trained
    experiment = ioub_jax.build(two_steps())
    state = start.new_state(experiment)
    with experiment.training_batches(0, 2) as batches:
        for batch in batches:
            on_devices = experiment.detector.on_devices(batch)
            state, values = experiment.trainer.train_step(state, *on_devices)
    assert np.isfinite(float(values["loss"]))
    assert equal(state.variables, result.variables)


# The recipe for a folder trains with AdamW in tests/commands/test_own_data.py.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_optimizers_by_their_names_train(name, tmp_path):
    config = two_steps()
    config.optimizer.update({"name": name, "backbone_factor": 0.1, "layer_decay": 0.9})
    config.schedule.base_learning_rate = 1e-4
    result = ioub_jax.train(ioub_jax.build(config), tmp_path / "run")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.variables))
