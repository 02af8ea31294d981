import jax
import ml_collections
import pytest

from ioub_jax import building
from ioub_jax.configs import defaults
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import CocoMetric, LvisMetric, VocMetric
from ioub_jax.from_config import training_parts
from ioub_jax.from_config.training_parts import metrics_of
from ioub_jax.studies import planned_runs
from tests import tiny


def config_of(names, backend="faster_coco_eval"):
    return ml_collections.ConfigDict({"evaluation": {"metrics": names, "backend": backend}})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("coco",), (CocoMetric("pycocotools"),)),
        (("voc",), (VocMetric(),)),
        (("voc", "coco"), (VocMetric(), CocoMetric("pycocotools"))),
        (("lvis",), (LvisMetric("pycocotools"),)),
    ],
)
def test_names_become_metrics_in_their_order(names, expected):
    assert metrics_of(config_of(names, "pycocotools")) == expected


@pytest.mark.parametrize("names", [(), ("COCO",), ("voc", "voc"), ("coco", "AP")])
def test_unknown_metrics_are_refused(names):
    with pytest.raises(ConfigError) as error:
        metrics_of(config_of(names))
    assert str(error.value) == (
        f"evaluation.metrics is {names!r}; it must name 'coco', 'voc', 'lvis' or several, the one "
        "whose AP picks the best checkpoint first."
    )


def test_chosen_classes_are_those_of_every_metric():
    config = config_of(("coco", "voc", "lvis"))
    config.evaluation.average_classes = ("bolt", "nut")
    assert [metric.average_classes for metric in metrics_of(config)] == [("bolt", "nut")] * 3


def test_options_are_those_of_the_keys():
    config = tiny.get_config()
    config.update({"seed": 4, "batch_size": 6})
    config.optimizer.ema_decay = 0.9
    options = training_parts.options_of(config)
    assert (options.seed, options.batch_size, options.ema_decay) == (4, 6, 0.9)
    # 192 images in steps of six.
    assert (options.images, options.steps) == (192, 32)
    assert (options.evaluation_batch_size, options.calibration_batches) == (8, 2)
    del config.runtime["gradient_accumulation"]  # of an earlier version
    assert training_parts.options_of(config).gradient_accumulation == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer.name": "adam"}, "optimizer.name is 'adam'; it must be 'sgd', 'adamw' or"),
        ({"schedule.name": "linear"}, "schedule.name is 'linear'; it must be 'constant'"),
        ({"data.resize.scales": (2.0,)}, "data.resize.scales is .2.0,.; it must hold factors"),
        ({"loss.normalizer": "none"}, "loss.normalizer is 'none'; it must be one of"),
        ({"matcher.crowd": "hide"}, "matcher.crowd is 'hide'; it must be 'ignore'"),
    ],
)
def test_choices_are_refused_by_their_keys(changes, words):
    config = defaults.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=words):
        training_parts.check_choices(config)


def test_more_devices_than_there_are_are_refused_by_their_key():
    config = tiny.get_config()
    config.runtime.devices = 9
    with pytest.raises(ConfigError, match=r"runtime\.devices is 9, but there are 8 devices"):
        training_parts.detector_of(config, 8)


def test_what_is_planned_has_the_largest_canvas_and_all_devices():
    config = tiny.get_config()
    config.data.canvases = ((32, 64), (64, 96), (64, 64))
    planned = training_parts.planned(config, 24)
    assert (planned.batch_size, planned.evaluation.batch_size) == (24, 24)
    assert planned.data.canvases == ((64, 96),)
    assert planned.runtime.devices is None
    assert config.batch_size == 8


def test_what_is_frozen_is_of_the_backbone():
    config = tiny.get_config()
    config.model.frozen_stages = 1
    detector = training_parts.detector_of(config, 8)
    frozen = training_parts.frozen_of(config, detector)
    stages = {name: jax.tree.leaves(part) for name, part in frozen["backbone"].items()}
    assert all(stages["stem_conv"]) and not any(stages["stage2_block1"])
    assert not any(jax.tree.leaves(frozen["pyramid"]))
    config.model.frozen_stages = 4
    frozen = training_parts.frozen_of(config, detector)
    assert all(jax.tree.leaves(frozen["backbone"]))
    config.model.frozen_stages = 5
    with pytest.raises(ConfigError, match="is 5, but the last stage of the backbone is 4; give at"):
        training_parts.frozen_of(config, detector)


def in_epochs(**lengths):
    """The tiny configuration, 50 images in batches of 8, with lengths in epochs alone."""
    config = tiny.get_config()
    config.schedule.update({"images": None, "warmup_images": None})
    config.evaluation.every_images = None
    config.schedule.update({"epochs": 4.0, "warmup_epochs": 0.5})
    config.evaluation.every_epochs = 1.0
    config.update_from_flattened_dict(lengths)
    return config


def test_lengths_in_epochs_are_whole_steps():
    config = in_epochs()
    schedule = training_parts.schedule_of(config, 50)
    # 200 images are 25 steps of 8, half an epoch is 25 images: 4 steps.
    assert (schedule.images, schedule.warmup_images) == (200, 32)
    options = training_parts.options_of(config, 50)
    assert (options.steps, options.evaluate_every_images) == (25, 50)
    assert training_parts.length_lines(config, 50) == [
        "Length: 4 epochs of 50 images, 25 steps of 8."
    ]
    assert training_parts.length_lines(tiny.get_config(), 50) == []
    config = in_epochs(**{"schedule.epochs": 0.3, "evaluation.every_epochs": 0.001})
    options = training_parts.options_of(config, 50)
    # 15 images are two steps; not even one image is one.
    assert (options.images, options.evaluate_every_images) == (16, 1)


def test_a_warm_up_of_the_whole_run_is_known_with_the_data():
    config = in_epochs(**{"schedule.warmup_epochs": 4.0})
    with pytest.raises(ConfigError, match=r"^schedule.warmup_images is 200 and schedule.images 20"):
        training_parts.length_lines(config, 50)


def test_a_run_in_epochs_is_built_with_its_data(tmp_path):
    experiment = building.build(in_epochs())
    assert experiment.options.steps == 25 and experiment.options.evaluate_every_images == 50
    # The configuration is kept as it was given.
    assert experiment.settings["schedule"]["images"] is None
    assert experiment.learned[-2:] == (
        "Length: 4 epochs of 50 images, 25 steps of 8.",
        "Learning rate: 0.025 (base 0.05 x batch 8/16), warm-up of 4 steps from 0.333 of it, "
        "cosine to 0.",
    )
    run = planned_runs.PlannedRun("both", in_epochs(), tmp_path / "run", tmp_path / "result.json")
    assert run.options.steps == 25
    # Rare classes come more often, and an epoch is longer: all of the 50 images have a class that
    # less than half of them have.
    longer = in_epochs(**{"data.repeat_threshold": 1.0})
    steps = building.build(longer).options.steps
    assert (
        steps > 25
        and steps
        == planned_runs.PlannedRun(
            "both", longer, tmp_path / "run", tmp_path / "result.json"
        ).options.steps
    )
