import ast
import importlib.util
import pathlib
import re

import ml_collections
import pytest

from configs import coco_retinanet, coco_ssd, torchvision
from ioub_jax import building, configs, trained
from ioub_jax.configs import defaults, keys, refusals, ssdlite_defaults
from ioub_jax.configs.torchvision_models import torchvision_config
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import data_parts
from ioub_jax.workdirs import configuration
from tests import tiny

HALVES = (0.5, 0.5, 0.5)


def with_value(key, value):
    config = tiny.get_config()
    node = config
    *path, last = key.split(".")
    for name in path:
        node = node[name]
    with node.ignore_type():
        node[last] = value
    return config


def refused(config, words):
    with pytest.raises(ConfigError, match=words) as error:
        refusals.check(config)
    assert str(error.value).count(". ") == 0, "one sentence"


# ------------------------------------------------------------------ every key for itself


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("batch_size", 0, "at least 1"),
        ("batch_size", "16", "a whole number, at least 1"),
        ("batch_size", 16.0, "a whole number, at least 1"),
        ("batch_size", True, "a whole number, at least 1"),
        ("batch_size", None, "a whole number, at least 1"),
        ("model.pretrained", 3, "a text, or None"),
        ("model.norm", None, "one of frozen_bn, batch_norm, group_norm"),
        ("data.keep_empty", 1, "True or False"),
        ("data.coco.classes", (1, 2), "names, such as ('bolt', 'nut'), or None"),
        ("runtime.workers", -1, "at least 0"),
        ("runtime.devices", 0, "at least 1"),
        ("runtime.rematerialize", "all", "one of nothing, activations, blocks"),
        ("runtime.gradient_accumulation", 0, "at least 1"),
        ("schedule.reference_batch_size", 0, "at least 1"),
        ("schedule.base_learning_rate", float("nan"), "a number, at least 0"),
        ("optimizer.clip_global_norm", 0.0, "above 0"),
        ("optimizer.ema_decay", 1.0, "at least 0 and below 1, such as 0.999"),
        ("evaluation.backend", "cocoapi", "one of faster_coco_eval, pycocotools"),
        ("evaluation.suppression", "soft", "one of nms, soft_nms_linear, soft_nms_gaussian, weigh"),
        ("evaluation.soft_nms_sigma", 0.0, "above 0"),
        (
            "evaluation.metrics",
            (),
            "'coco', 'voc', 'lvis' or several, the one whose AP picks the best",
        ),
        ("evaluation.metrics", ("coco", "coco"), "'coco', 'voc', 'lvis' or several"),
        ("evaluation.metrics", ("AP",), "'coco', 'voc', 'lvis' or several"),
        ("matcher.crowd", "hide", "one of ignore, drop, keep"),
        ("matcher.ignore_iof", 0.0, "above 0 and at most 1"),
        ("data.repeat_threshold", 0.0, "above 0 and at most 1"),
        ("data.repeat_threshold", "0.1", "a number, above 0 and at most 1, or None"),
        (
            "loss.classification.class_weights",
            "inverse",
            "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=",
        ),
        (
            "loss.classification.class_weights",
            (1.0, 0.0),
            "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=",
        ),
        (
            "loss.classification.class_weights",
            (1.0, "dent=2"),
            "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=",
        ),
        (
            "loss.classification.class_weights",
            ("dent=much",),
            "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=",
        ),
        (
            "loss.classification.class_weights",
            ("=2.0",),
            "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=",
        ),
        (
            "loss.classification.class_weights",
            2.0,
            "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=",
        ),
        ("loss.classification.effective_number_beta", 1.0, "at least 0 and below 1"),
        ("schedule.epochs", 0.0, "above 0"),
        ("schedule.epochs", "12", "a number, above 0, or None"),
        ("schedule.warmup_epochs", -1.0, "at least 0"),
        ("evaluation.every_epochs", 0.0, "above 0"),
        ("evaluation.patience", 0, "at least 1"),
        ("evaluation.patience", 2.5, "a whole number, at least 1, or None"),
        ("evaluation.min_delta", -0.1, "at least 0"),
        ("data.split.val", 1.0, "a share, at least 0 and below 1"),
        ("data.split.test", -0.5, "a share, at least 0 and below 1"),
        ("data.split.seed", 0.5, "a whole number, at least 0"),
        ("data.allow_same_images", "no", "True or False"),
        ("data.coco.train_annotations", (), "a text, or several, such as ('a.json', 'b.json')"),
        (
            "data.coco.train_annotations",
            ("a", 1),
            "a text, or several, such as ('a.json', 'b.json')",
        ),
        ("data.coco.val_images", None, "a text, or several, such as ('images_a', 'images_b')"),
        ("data.bit_depth", 9, "one of 8, 10, 12, 14, 16"),
        ("data.canvases", (64, 64), "heights and widths in pixels"),
        ("data.canvases", ((64, 0),), "heights and widths in pixels"),
        ("data.canvases", (), "heights and widths in pixels"),
        ("data.resize.scales", ("a",), "numbers"),
        (
            "data.resize.scales",
            (0.5, 1.5),
            "numbers, such as (0.8, 1.0), above 0 and at most 1: data.",
        ),
        ("data.tiles.size", 16, "at least 32"),
        ("data.tiles.size", 64.5, "a whole number, at least 32, or None"),
        ("data.tiles.overlap", 1.0, "at least 0 and below 1"),
        ("data.tiles.overlap", -0.1, "at least 0 and below 1"),
        ("data.tiles.overlap", "20 %", "a number, at least 0 and below 1"),
        ("data.tiles.visibility", 0.0, "above 0 and at most 1"),
        ("data.tiles.visibility", 30.0, "above 0 and at most 1"),
        ("data.tiles.zoom", 0.0, "above 0"),
        ("data.tiles.keep_empty", 2.0, "a probability, 0 to 1"),
        ("data.tiles.cache", 5, "a text, or None"),
        ("evaluation.coco_detections", 10, "at least 100"),
        ("data.augmentation.vertical_flip", 1.5, "a probability, 0 to 1"),
        ("data.augmentation.scale_jitter", (2.0, 1.0), "two factors above 0, the smaller one fir"),
        ("data.augmentation.rotation", 200.0, "degrees, 0 to 180"),
        ("data.augmentation.affine_scale", (2.0, 1.0), "two factors above 0, the smaller one fir"),
        ("data.augmentation.translation", 1.0, "a share of the image, at least 0, below 1"),
        ("data.augmentation.shear", 45.0, "degrees, at least 0 and below 45"),
        ("data.augmentation.rotated_boxes", "box", "one of ellipse, corners"),
        ("data.augmentation.hsv", (0.1, 0.1), "three gains from 0 to 1, of hue, saturation and v"),
        ("data.augmentation.blur", 2.0, "a probability, 0 to 1"),
        ("data.augmentation.cutout", -1.0, "a probability, 0 to 1"),
        ("data.augmentation.mosaic", 4.0, "a probability, 0 to 1"),
        ("data.augmentation.mosaic_scale", (0.5,), "two factors above 0, the smaller one first"),
        ("data.augmentation.mixup", None, "a number, a probability, 0 to 1"),
        ("data.augmentation.copy_paste", "yes", "a number, a probability, 0 to 1"),
        ("data.augmentation.close_after", 10.0, "a share of the run, above 0 and at most 1"),
        ("data.augmentation.min_visibility", 25.0, "a share, 0 to 1"),
        ("data.shapes.image_size", (64,), "a height and a width in pixels"),
        ("anchors.ratios", (), "at least one"),
        ("anchors.box_weights", (1.0, 1.0, 1.0, 0.0), "four numbers above 0"),
        ("model.pixel_std", (0.0, *HALVES[1:]), "numbers above 0, one for each channel, or RGB's"),
        ("model.pixel_mean", (), "a number for each channel, or RGB's three"),
        ("model.in_channels", 0, "at least 1"),
        ("model.in_channels", "gray", "a whole number, at least 1"),
        ("model.head.prior_probability", 1.0, "above 0 and below 1"),
    ],
)
def test_a_value_that_no_run_can_have_names_its_key(key, value, words):
    with pytest.raises(ConfigError) as raised:
        refusals.check(with_value(key, value))
    assert str(raised.value).startswith(f"{key} is {value!r}; it must be {words}")


@pytest.mark.parametrize("key", keys.KEYS, ids=lambda key: f"{key.name}{key.ssd}")
def test_no_key_of_the_table_is_left_out(key):
    """Nothing of the type `object` is what any key must be."""
    family = next(name for name in keys.FAMILIES if key.default_of(name) is not keys.NO_KEY)
    config = defaults.of_family(family, "both")
    *path, last = key.name.split(".")
    node = config
    for name in path:
        node = node[name]
    wrong = object()
    with node.ignore_type():
        node[last] = wrong
    words = f"^{key.name} is <object"
    with pytest.raises(ConfigError, match=words):
        refusals.check(config)


def test_a_whole_number_beyond_every_float_is_none_that_a_key_may_have():
    # As JSON may have one; a configuration of its own types takes none.
    values = {"loss": {"classification": {"eta": 10**400}}}
    refused(ml_collections.FrozenConfigDict(values), r"eta is 1000.*\.\.\.; it must be a number")


def test_a_long_value_is_told_by_its_beginning():
    with pytest.raises(ConfigError) as error:
        refusals.check(with_value("batch_size", "x" * 5000))
    # 200 characters, the first of them a quotation mark.
    told = f"batch_size is '{'x' * 199}...; it must be a whole number, at least 1."
    assert str(error.value) == told


def test_whole_numbers_are_numbers_and_lists_are_tuples():
    # As they come from JSON that another program has written.
    refusals.check(with_value("matcher.foreground_iou", 1))
    refusals.check(with_value("data.canvases", [[64, 64]]))


def test_what_is_shipped_can_be_run():
    for config in (
        coco_retinanet.get_config("r101,cls"),
        coco_ssd.get_config("512,both"),
        torchvision.get_config(),
        *map(configs.load, configs.recipes()),
        *(
            defaults.of_family(family, arm)
            for family in keys.FAMILIES
            for arm in defaults.arms_of(defaults.of_family(family, "baseline"))
        ),
    ):
        refusals.check(config)


def test_a_key_that_an_earlier_version_did_not_have_is_not_looked_at():
    values = tiny.get_config().to_dict()
    del values["runtime"]["workers"], values["model"]["head"]["prior_probability"]
    del values["optimizer"], values["init_from"], values["schedule"]["warmup_images"]
    refusals.check(configuration.from_dict(values))
    refusals.check(ml_collections.ConfigDict())


def test_parts_of_a_configuration_are_enough():
    for architecture in torchvision.ARCHITECTURES:
        refusals.check(ml_collections.FrozenConfigDict(torchvision_config(architecture)))


def test_a_key_that_is_not_in_the_table_is_no_error():
    config = tiny.get_config()
    config.mine = object()
    config.data.lidar = {"root": 3}
    refusals.check(config)


# ------------------------------------------------------------------ keys that go together


def test_a_length_is_given_once():
    for part, unit, other in (
        ("schedule", "images", "epochs"),
        ("schedule", "warmup_images", "warmup_epochs"),
        ("evaluation", "every_images", "every_epochs"),
    ):
        config = tiny.get_config()
        images = config[part][unit]
        config[part][other] = 1.5
        with pytest.raises(ConfigError) as caught:
            refusals.check(config)
        assert str(caught.value) == (
            f"{part}.{unit} is {images} and {part}.{other} 1.5, but only one of them can set the "
            f"length; set --config.{part}.{unit}=None or --config.{part}.{other}=None."
        )
        config[part][unit] = None
        refusals.check(config)
        config[part][other] = None
        with pytest.raises(ConfigError) as caught:
            refusals.check(config)
        assert str(caught.value) == f"{part}.{unit} and {part}.{other} are None; set one of them."


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (
            {"val": 0.6, "test": 0.4},
            "data.split.val is 0.6 and data.split.test is 0.4, which leaves no images to train on; "
            "give smaller shares.",
        ),
        (
            {"train": 0.8, "val": 0.2},
            "data.split.train is 0.8, but data.split has only the keys val, test and seed; images "
            "that are not held out are used for training.",
        ),
        (
            {"validation": 0.2},
            "data.split.validation is 0.2, but data.split has only the keys val, test and seed; "
            "images that are not held out are used for training.",
        ),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(parts, sentence):
    config = tiny.get_config()
    config.data.split = parts
    with pytest.raises(ConfigError) as caught:
        refusals.check(config)
    assert str(caught.value) == sentence


def test_thresholds_that_contradict_each_other():
    with pytest.raises(ConfigError, match="must satisfy 0 < background_iou <= foreground_iou"):
        refusals.check(with_value("matcher.background_iou", 0.9))


def test_an_absent_backend_is_told_with_both_ways_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ioub_jax\[train\]', or --config.eval"):
        refusals.check(tiny.get_config())
    refusals.check(with_value("evaluation.backend", "pycocotools"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model.pixel_mean": (1.0, 2.0)},
            "model.pixel_mean has 2 numbers, where model.in_channels is 4; give 4, or RGB's three",
        ),
        (
            {"model.pixel_std": (1.0,)},
            "model.pixel_std has 1 numbers, where model.in_channels is 4",
        ),
        (
            {"data.augmentation.photometric_distortion": True},
            "data.augmentation.photometric_distortion changes the hue and saturation of RGB, but "
            "model.in_channels is 4; set it to False, .*hsv=",
        ),
        (
            {"data.augmentation.hsv": (0.0, 0.7, 0.4)},
            r"data.augmentation.hsv changes .* set --config.data.augmentation.hsv='\(0.0, 0.0, 0.4",
        ),
    ],
)
def test_what_is_of_rgb_alone_is_refused_with_other_channels(changes, words):
    config = tiny.get_config()
    config.update_from_flattened_dict({"model.in_channels": 4})
    refusals.check(config)
    config.data.augmentation.hsv = (0.0, 0.0, 0.4)
    refusals.check(config)
    config.update_from_flattened_dict(changes)
    refused(config, words)


def test_a_whole_last_stage_takes_the_weights_of_a_classifier():
    config = ssdlite_defaults.get_config()
    config.model.pretrained = "mobilenet_v3_large"
    refused(config, "model.reduced_tail is True, but model.pretrained is 'mobilenet_v3_large'")
    config.model.reduced_tail = False
    refusals.check(config)
    config = ssdlite_defaults.get_config()
    config.model.pretrained = "runs/ssdlite"
    refusals.check(config)


def test_batch_norms_of_one_value_are_refused():
    config = ssdlite_defaults.get_config()
    config.batch_size = 1
    refused(config, "batch_size is 1 in 1 part, but the coarsest level of an SSDLite has one cell")
    refusals.check(config, to_train=False)
    config.batch_size = config.runtime.gradient_accumulation = 4
    refused(config, "batch_size is 4 in 4 parts, but")
    config.model.norm = "group_norm"
    refusals.check(config)
    config.model.norm, config.runtime.gradient_accumulation = "batch_norm", 2
    refusals.check(config)


def test_levels_of_their_own_are_for_backbones_of_one_resolution():
    config = defaults.get_config()
    config.model.fpn.top_down = False
    refused(config, "model.fpn.top_down is False, but the stages of resnet50 differ")
    refusals.check(config, to_train=False)
    config.model.backbone, config.model.norm = "vit_small", "layer_norm"
    refusals.check(config)


@pytest.mark.parametrize("target", ["none", "centreness"])
def test_an_iou_aware_retinanet_predicts_the_iou(target):
    config = defaults.of_family("iou_aware_retinanet", "both")
    refusals.check(config)
    config.loss.quality.target = target
    refused(config, f"loss.quality.target is '{target}', but model.name is 'iou_aware_retinanet'")


def test_a_score_needs_an_exponent():
    config = defaults.of_family("fcos", "both")
    config.evaluation.score_exponents = (0.0, 1.0)
    refusals.check(config)
    config.evaluation.score_exponents = (0.0, 0.0)
    refused(config, r"score_exponents is \(0.0, 0.0\); it must be two numbers of at least")


def test_frozen_batch_norm_takes_weights():
    config = defaults.get_config()
    config.model.norm = "frozen_bn"
    refused(config, "frozen batch norm keeps the statistics it starts with")
    config.model.pretrained = "runs/shapes"
    refusals.check(config)
    config.model.pretrained, config.init_from = None, "runs/shapes"
    refusals.check(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # 48 images are 6 steps of 8, of which 41 images of warm-up are all.
        (
            {"images": 48, "warmup_images": 41},
            "schedule.warmup_images is 41 and schedule.images 48, in steps of 8 images: the warm-up"
            " takes the whole run, .*; set --config.schedule.warmup_images=0, or "
            "--config.schedule.images above 48.",
        ),
        (
            {"name": "step", "decay_at": (0.5, 1.0)},
            r"schedule.decay_at has 1.0, .*; set --config.schedule.decay_at='\(0.5,\)', or leave",
        ),
    ],
)
def test_a_schedule_that_is_none_is_refused_where_a_run_is_trained(changes, words):
    config = tiny.get_config()
    config.schedule.update(changes)
    refused(config, words)
    refusals.check(config, to_train=False)


def test_points_of_a_schedule_that_has_none():
    config = tiny.get_config()
    config.schedule.update({"images": 48, "warmup_images": 40})
    assert config.schedule.name == "cosine"
    config.schedule.decay_at = (1.5,)
    refusals.check(config)


# ------------------------------------------------------------------ devices


@pytest.mark.parametrize(
    ("changes", "devices", "words"),
    [
        ({"batch_size": 12}, 8, "batch_size is 12, which 8 devices cannot share evenly"),
        ({"evaluation.batch_size": 9}, 2, "evaluation.batch_size is 9, which 2 devices"),
        (
            {"batch_size": 12, "runtime.gradient_accumulation": 4},
            2,
            "runtime.gradient_accumulation is 4, which does not divide the 6 images of a device",
        ),
    ],
)
def test_what_devices_cannot_share_is_refused(changes, devices, words):
    config = defaults.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=words):
        refusals.check_devices(config, devices)
    refusals.check_devices(defaults.get_config(), devices)


# ------------------------------------------------------------------ where it is done


def test_a_run_is_refused_before_its_data_is_opened(tmp_path, monkeypatch):
    config = with_value("data.max_boxes", 0)
    monkeypatch.setattr(data_parts, "open_files", None)
    with pytest.raises(ConfigError, match=r"data\.max_boxes is 0"):
        building.build(config)
    configuration.claim_workdir(tmp_path, configuration.to_dict(config))
    with pytest.raises(ConfigError, match=r"data\.max_boxes is 0"):
        trained.open_run(tmp_path, "val")


def test_a_detector_is_refused_before_it_is_built():
    config = tiny.get_config()
    config.model.norm = "frozen_bn"
    with pytest.raises(ConfigError, match="frozen batch norm"):
        building.build(config)
    config = tiny.get_config()
    config.runtime.gradient_accumulation = 3
    with pytest.raises(ConfigError, match="does not divide the 8 images"):
        building.build(config)


@pytest.mark.parametrize("name", ["config.json", "classes.json"])
def test_a_damaged_file_of_a_workdir_is_named(tmp_path, name):
    configuration.claim_workdir(tmp_path, configuration.to_dict(tiny.get_config()))
    pathlib.Path(tmp_path, name).write_text('{"a')
    with pytest.raises(ConfigError, match=rf"{name} is not JSON \(.*\); restore the original"):
        trained.open_run(tmp_path, "val")


def test_a_sigma_of_another_suppression_is_refused():
    config = with_value("evaluation.soft_nms_sigma", 0.5)
    refused(
        config, r"evaluation\.soft_nms_sigma is 0\.5, which evaluation\.suppression=nms does not"
    )
    config.evaluation.suppression = "soft_nms_gaussian"
    refusals.check(config)


def test_the_boxes_of_an_ssdlite_follow_its_input_size():
    config = ssdlite_defaults.get_config()
    config.model.input_size, config.data.canvases = 512, ((512, 512),)
    # 20 %, 35 %, 50 %, 65 %, 80 %, 95 % and 100 % of 512.
    sizes = "(102.4,179.2,256,332.8,409.6,486.4,512)"
    with pytest.raises(ConfigError, match=re.escape(f"--config.anchors.sizes='{sizes}'.")):
        refusals.check(config)
    refusals.check(config, to_train=False)  # a run of before
    config.anchors.sizes = ast.literal_eval(sizes)
    refusals.check(config)
    refusals.check(ssdlite_defaults.get_config(input_size=512))


def test_a_large_ssdlite_may_see_one_image_at_a_time():
    """Of 640 pixels, the coarsest level has 2 x 2 cells; of 512, one."""
    config = ssdlite_defaults.get_config(input_size=640)
    config.batch_size = 1
    refusals.check(config)
    config = ssdlite_defaults.get_config(input_size=512)
    config.batch_size = 1
    with pytest.raises(ConfigError, match="has one cell"):
        refusals.check(config)
