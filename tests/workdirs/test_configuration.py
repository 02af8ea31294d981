import json
import re

import pytest

from configs import shapes_retinanet
from ioub_jax.configs import defaults
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration
from tests import tiny


def test_json_and_back():
    config = shapes_retinanet.get_config()
    values = json.loads(json.dumps(configuration.to_dict(config)))
    again = configuration.from_dict(values)
    assert again.data.canvases == ((128, 128),)
    assert again.loss.localization.w_loc is None
    assert configuration.to_dict(again) == configuration.to_dict(config)


def test_what_may_change_on_resume():
    old = configuration.to_dict(defaults.get_config())
    config = defaults.get_config()
    config.runtime.workers = 7
    config.schedule.images -= 1
    config.evaluation.nms_iou = 0.6
    config.data.coco.update({"root": "/new", "train_images": "a", "val_annotations": "b.json"})
    config.data.voc.update({"train_folders": ("b",), "val_split": "all", "test_folders": ("c",)})
    config.data.tfds.update({"data_dir": "/new", "val_split": "test"})
    config.data.cityscapes.root = "/new"
    config.data.shapes.num_val = 3
    assert configuration.differing_keys(old, configuration.to_dict(config)) == []
    config.loss.classification.eta = 1.0
    config.model.norm = "group_norm"
    config.data.voc.train_split = "train"
    config.data.shapes.num_train = 3
    config.data.canvases = ((80, 96),)
    assert configuration.differing_keys(old, configuration.to_dict(config)) == [
        "data.canvases: [[800, 1344]] -> [[80, 96]]",
        "data.shapes.num_train: 20000 -> 3",
        "data.voc.train_split: 'trainval' -> 'train'",
        "loss.classification.eta: 1.5 -> 1.0",
        "model.norm: 'batch_norm' -> 'group_norm'",
    ]
    missing = {key: value for key, value in old.items() if key != "seed"}
    assert configuration.differing_keys(old, missing) == ["seed: 0 -> absent"]


def test_a_run_of_an_earlier_version_goes_on_as_it_began():
    config = defaults.get_config()
    old = configuration.to_dict(config)
    for key in ("exif", "bit_depth", "allow_empty_classes", "allow_same_images", "split"):
        del old["data"][key]
    del old["data"]["voc"]["unannotated"]
    assert configuration.differing_keys(old, configuration.to_dict(config), evaluated=True) == []
    config.data.allow_empty_classes = True
    config.data.allow_same_images = True
    config.data.exif = "apply"
    config.data.split.val = 0.1
    assert configuration.differing_keys(old, configuration.to_dict(config)) == [
        "data.exif: 'ignore' -> 'apply'",
        "data.split.val: 0.0 -> 0.1",
    ]


def test_a_result_is_of_one_evaluation_and_one_length():
    old = configuration.to_dict(defaults.get_config())
    config = defaults.get_config()
    config.runtime.workers = 7
    config.data.coco.root = "/new"
    config.schedule.images += 1
    new = configuration.to_dict(config)
    assert configuration.differing_keys(old, new, evaluated=True) == []
    config.schedule.images -= 2
    config.evaluation.nms_iou = 0.6
    new = configuration.to_dict(config)
    assert configuration.differing_keys(old, new, evaluated=True) == [
        "evaluation.nms_iou: 0.5 -> 0.6",
        f"schedule.images: {12 * 118287} -> {12 * 118287 - 1}",
    ]


def test_a_length_in_epochs_is_as_one_in_images():
    config = defaults.get_config()
    in_images = configuration.to_dict(config)
    config.schedule.update({"images": None, "epochs": 12.0})
    old = configuration.to_dict(config)
    # A run may become shorter, longer, or be measured in another unit.
    assert configuration.differing_keys(in_images, old) == []
    assert configuration.differing_keys(in_images, old, evaluated=True) == [
        "schedule.epochs: None -> 12.0",
        "schedule.images: 1419444 -> None",
    ]
    for epochs, longer in ((11.0, False), (12.0, False), (12.5, True)):
        config.schedule.epochs = epochs
        new = configuration.to_dict(config)
        assert configuration.differing_keys(old, new) == []
        assert configuration.is_to_be_longer(old, new) == longer
        found = configuration.differing_keys(old, new, evaluated=True)
        assert found == (["schedule.epochs: 12.0 -> 11.0"] if epochs == 11 else [])


def test_which_classes_are_chosen_may_change_where_a_run_has_recorded_its_labels(tmp_path):
    config = defaults.get_config()
    configuration.claim_workdir(tmp_path, configuration.to_dict(config))
    config.data.coco.classes = ("cat", "dog")
    with pytest.raises(ConfigError, match=r"data.coco.classes: None -> \['cat'"):
        configuration.check_workdir(tmp_path, configuration.to_dict(config))
    (tmp_path / "classes.json").write_text("{}")
    configuration.check_workdir(tmp_path, configuration.to_dict(config))


def test_a_workdir_of_another_configuration_is_refused(tmp_path):
    workdir = tmp_path / "run"
    configuration.claim_workdir(workdir, configuration.to_dict(defaults.get_config("both")))
    configuration.claim_workdir(workdir, configuration.to_dict(defaults.get_config("both")))
    before = (workdir / "config.json").read_text()
    words = (
        r"another configuration \(loss.classification.eta: 1.5 -> 0.0; loss.localization.lambda_"
    )
    with pytest.raises(ConfigError, match=words):
        configuration.claim_workdir(workdir, configuration.to_dict(defaults.get_config("baseline")))
    assert (workdir / "config.json").read_text() == before


def test_a_run_from_before_there_were_names_of_optimizers_goes_on():
    old = configuration.to_dict(defaults.get_config())
    for key in ("name", "betas", "backbone_factor", "layer_decay"):
        del old["optimizer"][key]
    config = defaults.get_config()
    assert configuration.differing_keys(old, configuration.to_dict(config)) == []
    config.optimizer.name = "lion"
    assert configuration.differing_keys(old, configuration.to_dict(config)) == [
        "optimizer.name: 'sgd' -> 'lion'"
    ]


@pytest.mark.parametrize(
    ("part", "name", "numbers", "now"),
    [
        ("classification", "focal", {"alpha": 0.25, "gamma": 2.0}, {"alpha": None, "gamma": None}),
        ("classification", "ghm_c", {"alpha": 0.25, "gamma": 2.0}, {"alpha": None, "gamma": None}),
        # Trained with the focal loss's numbers, and so they stay.
        ("classification", "varifocal", {"alpha": 0.25}, {"alpha": 0.25}),
        ("classification", "mal", {"gamma": 2.0}, {"gamma": 2.0}),
        ("classification", "focal", {"gamma": 1.5}, {"gamma": 1.5}),
        ("localization", "smooth_l1", {"beta": 0.11}, {"beta": None}),
        ("localization", "balanced_l1", {"beta": 0.11}, {"beta": 0.11}),
        ("localization", "smooth_l1", {"beta": 1.0}, {"beta": 1.0}),
        # Written out or not, it is the same number.
        ("classification", "varifocal", {"alpha": 0.75}, {"alpha": None}),
        ("classification", "mal", {"gamma": 1.5}, {"gamma": None}),
        ("localization", "balanced_l1", {"beta": 1.0}, {"beta": None}),
    ],
)
def test_numbers_that_every_loss_had_are_those_of_the_named_loss(
    tmp_path, part, name, numbers, now
):
    config = defaults.get_config("baseline")
    config.loss[part].name = name
    config.loss[part].update(now)
    old = configuration.to_dict(config)
    old["loss"][part] |= numbers
    (tmp_path / "config.json").write_text(json.dumps(old))
    read = configuration.read_workdir(tmp_path)
    assert {key: read.loss[part][key] for key in now} == now
    assert configuration.differing_keys(old, configuration.to_dict(config)) == []
    config.loss[part].update(dict.fromkeys(now, 0.7))
    assert len(configuration.differing_keys(old, configuration.to_dict(config))) == len(now)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no run \(no config.json"):
        configuration.read_workdir(tmp_path)


@pytest.mark.parametrize("content", ["[1]", "3", '{"data": {"canvases": [[{"a": 1}]]}}'])
def test_json_that_is_no_configuration_is_told(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    place = re.escape(f"{tmp_path}/config.json is not a configuration (")
    with pytest.raises(ConfigError, match=rf"^{place}.*\); put back what ioub train wrote\.$"):
        configuration.read_workdir(tmp_path)


def test_a_run_is_used_with_other_values_of_some_keys():
    config = configuration.from_dict(configuration.to_dict(shapes_retinanet.get_config()))
    changes = {"data.canvases": ((64, 96),), "evaluation.nms_iou": 0.6, "data.coco.classes": ("a",)}
    changed = configuration.with_changes(config, changes | {"data.of_a_later_version": None})
    assert changed.data.canvases == ((64, 96),)
    assert changed.evaluation.nms_iou == 0.6
    assert changed.data.coco.classes == ("a",)
    assert changed.data.of_a_later_version is None
    # The rest is as it was, empty tuples and None included.
    back = changes | {
        "data.canvases": config.data.canvases,
        "evaluation.nms_iou": config.evaluation.nms_iou,
        "data.coco.classes": None,
    }
    assert configuration.with_changes(changed, back).evaluation == config.evaluation
    assert configuration.with_changes(config, {}) == config
    with pytest.raises(ConfigError, match=r"model\.width was fixed by"):
        configuration.with_changes(config, {"model.width": 3})


@pytest.mark.parametrize("arm", defaults.ARMS)
def test_arms(arm):
    loss = defaults.get_config(arm).loss
    assert (loss.classification.eta == 1.5) == (arm in ("cls", "both"))
    assert (loss.localization.lambda_ == 1.5) == (arm in ("loc", "both"))
    assert (loss.localization.w_loc is None) == (arm in ("loc", "both", "loc_weight_only"))
    # The control measures w_loc for the lambda of the arm it is the control of.
    expected = 1.5 if arm == "loc_weight_only" else None
    assert loss.localization.calibration_lambda == expected


def test_unknown_arm():
    with pytest.raises(ValueError, match="Unknown arm 'bith'; it must be one of both"):
        defaults.get_config("bith")


@pytest.mark.parametrize("lost", ["gone", "broken"])
def test_a_lost_configuration_is_that_of_the_newest_checkpoint(tmp_path, caplog, lost):
    workdir = tmp_path / "run"
    configuration.claim_workdir(workdir, configuration.to_dict(defaults.get_config("both")))
    whole = (workdir / "config.json").read_text()
    for kind, step, text in (
        ("last", 9, "{"),  # damaged
        ("best", 8, json.dumps({"config": json.loads(whole), "AP": 0.1})),
        ("last", 7, json.dumps({"config": {"seed": 1}})),
    ):
        metadata = workdir / "checkpoints" / kind / str(step) / "metadata"
        metadata.mkdir(parents=True)
        (metadata / "metadata").write_text(text)
    if lost == "gone":
        (workdir / "config.json").unlink()
    else:
        (workdir / "config.json").write_text(whole[: len(whole) // 2])
    assert configuration.to_dict(configuration.read_workdir(workdir)) == json.loads(whole)
    with pytest.raises(ConfigError, match="has a run with another configuration"):
        configuration.claim_workdir(workdir, configuration.to_dict(defaults.get_config("baseline")))
    configuration.claim_workdir(workdir, configuration.to_dict(defaults.get_config("both")))
    assert (workdir / "config.json").read_text() == whole
    assert caplog.messages == [
        f"{workdir / 'config.json'} is {lost}: the configuration is taken from the newest "
        "checkpoint."
    ]


@pytest.mark.parametrize("key", sorted(configuration.SAME_RESULTS))
def test_an_evaluated_run_may_be_evaluated_in_another_way(key):
    """A comparison that ran out of memory goes on with smaller batches."""
    old = configuration.to_dict(tiny.get_config())
    section, name = key.split(".")
    value = old[section][name]
    new = old | {section: old[section] | {name: "other" if isinstance(value, str) else value + 1}}
    assert configuration.differing_keys(old, new, evaluated=True) == []
    changed = old | {section: old[section] | {"nms_iou": 0.4}}
    assert len(configuration.differing_keys(old, changed, evaluated=True)) == 1
