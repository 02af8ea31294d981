import importlib.util
import pathlib

import pytest

from configs import coco_retinanet, coco_ssd, torchvision
from ioub_jax.errors import ConfigError
from ioub_jax.training import setup, trained
from ioub_jax.training.config_values import check_values
from ioub_jax.workdirs import configuration
from tests import tiny

HALVES = (0.5, 0.5, 0.5)


def with_value(key, value):
    config = tiny.get_config()
    node = config
    *path, last = key.split(".")
    for name in path:
        node = node[name]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("batch_size", 0, "at least 1"),
        ("runtime.workers", -1, "at least 0"),
        ("runtime.devices", 0, "at least 1"),
        ("schedule.reference_batch_size", 0, "above 0"),
        ("schedule.base_learning_rate", float("nan"), "at least 0"),
        ("evaluation.backend", "cocoapi", "one of faster_coco_eval, pycocotools"),
        ("matcher.crowd", "hide", "one of ignore, drop, keep"),
        ("data.canvases", (64, 64), "heights and widths in pixels"),
        ("data.canvases", ((64, 0),), "heights and widths in pixels"),
        ("data.canvases", (), "heights and widths in pixels"),
        ("data.resize.scales", ("a",), "numbers"),
        ("data.shapes.image_size", (64,), "a height and a width in pixels"),
        ("anchors.ratios", (), "at least one"),
        ("anchors.box_weights", (1.0, 1.0, 1.0, 0.0), "four numbers above 0"),
        ("model.pixel_std", (0.0, *HALVES[1:]), "three numbers above 0"),
        ("model.head.prior_probability", 1.0, "above 0 and below 1"),
    ],
)
def test_a_value_that_no_run_can_have_names_its_key(key, value, words):
    with pytest.raises(ConfigError) as raised:
        check_values(with_value(key, value))
    assert str(raised.value).startswith(f"{key} is {value!r}; it must be {words}")


def test_thresholds_that_contradict_each_other():
    with pytest.raises(ConfigError, match="must satisfy 0 < background_iou <= foreground_iou"):
        check_values(with_value("matcher.background_iou", 0.9))


def test_an_absent_backend_is_told_with_both_ways_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ioub_jax\[train\]', or --config.eval"):
        check_values(tiny.get_config())
    check_values(with_value("evaluation.backend", "pycocotools"))


def test_what_is_shipped_can_be_run():
    for config in (
        coco_retinanet.get_config("r101,cls"),
        coco_ssd.get_config("512,both"),
        torchvision.get_config(),
    ):
        check_values(config)


def test_a_key_that_an_earlier_version_did_not_have_is_not_looked_at():
    values = tiny.get_config().to_dict()
    del values["runtime"]["workers"], values["model"]["head"]["prior_probability"]
    check_values(configuration.from_dict(values))


def test_a_run_is_refused_before_its_data_is_opened(tmp_path, monkeypatch):
    config = with_value("data.max_boxes", 0)
    monkeypatch.setattr(setup.data_parts, "create_source", None)
    with pytest.raises(ConfigError, match=r"data\.max_boxes is 0"):
        setup.create_setup(config)
    configuration.claim_workdir(tmp_path, config)
    with pytest.raises(ConfigError, match=r"data\.max_boxes is 0"):
        trained.open_run(tmp_path, "val")


@pytest.mark.parametrize("name", ["config.json", "classes.json"])
def test_a_damaged_file_of_a_workdir_is_named(tmp_path, name):
    configuration.claim_workdir(tmp_path, tiny.get_config())
    pathlib.Path(tmp_path, name).write_text('{"a')
    with pytest.raises(ConfigError, match=rf"{name} is no JSON \(.*\); put back what"):
        trained.open_run(tmp_path, "val")
