"""The table of all keys: what it says is what the code does, and nothing stands there twice."""

import json
import pathlib
import re
import subprocess
import sys
import typing

import pytest
from ml_collections import config_dict

from ioub_jax import matching, models, objective, postprocess
from ioub_jax.configs import defaults, keys, ssd_defaults
from ioub_jax.data import affine, images, resizing
from ioub_jax.data import checks as data_checks
from ioub_jax.detectors import anchor_objective
from ioub_jax.from_config import file_parts
from ioub_jax.models import layers, ssd_network
from tests import tiny

#: Every key with its value, its type and whether it may be None, before there was a table.
BEFORE = json.loads(pathlib.Path(__file__).with_name("keys_before.json").read_text())


#: Keys that there are since then.
SINCE = {f"optimizer.{key}" for key in ("name", "betas", "backbone_factor", "layer_decay")}
SINCE |= {f"evaluation.{key}" for key in ("losses", "pictures")}
_SPLITS = ("train_split", "val_split", "test_split")
SINCE |= {f"data.yolo.{key}" for key in ("root", *_SPLITS, "classes")}
SINCE |= {"data.voc.pixels", "data.voc.unannotated"}
#: Keys that there were, or that had another default.
UNTIL = {"data.voc.one_based", "data.voc.unannotated"}
_OF_TILES = ("size", "overlap", "visibility", "zoom", "keep_empty", "cache")
SINCE |= {"evaluation.coco_detections", *(f"data.tiles.{key}" for key in _OF_TILES)}
SINCE |= {"model.in_channels", "model.fpn.top_down", "model.norm_momentum"}
SINCE |= {
    f"data.augmentation.{key}"
    for key in (
        *("rotation", "affine_scale", "translation", "shear", "rotated_boxes"),
        *("hsv", "blur", "cutout", "min_visibility"),
        *("mosaic", "mosaic_scale", "mixup", "copy_paste", "close_after"),
    )
}
SINCE |= {"data.allow_same_images", "data.split.val", "data.split.test", "data.split.seed"}
SINCE |= {"data.repeat_threshold"}
SINCE |= {f"loss.classification.{key}" for key in ("class_weights", "effective_number_beta")}
SINCE |= {"schedule.epochs", "schedule.warmup_epochs", "evaluation.every_epochs"}
SINCE |= {"evaluation.patience", "evaluation.min_delta"}
SINCE.add("evaluation.average_classes")
SINCE |= {"matcher.similarity", "matcher.nwd_constant"}
_OF_BOXES = ("inner", "focaler", "gamma", "theta", "scale", "piou_lambda", "nwd_constant")
SINCE |= {f"loss.localization.{key}" for key in _OF_BOXES}
SINCE |= {f"loss.localization.wiou_{key}" for key in ("momentum", "alpha", "delta")}
SINCE |= {f"evaluation.{key}" for key in ("suppression", "soft_nms_sigma", "class_agnostic")}
SINCE |= {
    f"loss.classification.{key}"
    for key in ("delta", "bins", "correlation_weight", "correlation_kind")
}
_OF_ASSIGNERS = ("name", "topk", "center_radius", "size_ranges", "center_rule")
SINCE |= {f"matcher.{key}" for key in _OF_ASSIGNERS}
SINCE.add("loss.localization.instance_weights")
#: Keys that had to be set, and can be None now.
UNSET = {"schedule.images", "schedule.warmup_images", "evaluation.every_images"}
#: Keys whose numbers can be None now, which is the published number of the named loss.
PUBLISHED = {
    "loss.classification.alpha": 0.25,
    "loss.classification.gamma": 2.0,
    "loss.localization.beta": 0.11,
}
#: Keys that took one text, and now take several, too.
WIDENED = {
    f"data.coco.{split}_{kind}"
    for split in ("train", "val", "test")
    for kind in ("annotations", "images")
}


def leaves(config, prefix=""):
    """Key with dots -> value, name of the type, whether None is allowed."""
    found = {}
    for name, value in config.items(preserve_field_references=True):
        optional = isinstance(value, config_dict.FieldReference)
        value = value.get() if optional else value
        if isinstance(value, config_dict.ConfigDict):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = [value, config.get_type(name).__name__, optional]
    return found


@pytest.mark.parametrize("name", BEFORE)
def test_the_configurations_are_those_from_before_the_table(name):
    family, *arguments = name.split()
    if family == "retinanet":
        config = defaults.get_config(*arguments)
    else:
        arm, size, data_set = arguments
        config = ssd_defaults.get_config(arm, int(size), data_set)
    found = leaves(config)
    found = {key: entry for key, entry in found.items() if key not in SINCE}
    for key in WIDENED:
        assert found[key][1] == "object"
        found[key][1:] = ["str", False]
    for key in UNSET:
        assert found[key][1:] == ["int", True]
        found[key][2] = False
    for key, number in PUBLISHED.items():
        value, *kind = found[key]
        assert kind == ["float", True]
        found[key] = [number if value is None else value, "float", False]
    before = {key: entry for key, entry in BEFORE[name].items() if key not in UNTIL}
    assert json.loads(json.dumps(found)) == before
    assert list(found) == list(before)


def test_every_default_is_what_it_must_be():
    for family in keys.FAMILIES:
        for name, key in keys.of_family(family).items():
            default = key.default_of(family)
            assert key.must_be.fault(default) is None, name
            kinds = (type(default), object) if name in WIDENED else (type(default),)
            assert default is None or key.must_be.kind in kinds, name


def test_every_key_stands_once_in_a_family_and_in_its_section():
    for family in keys.FAMILIES:
        names = [key.name for key in keys.KEYS if key.default_of(family) is not keys.NO_KEY]
        assert len(names) == len(set(names))
    sections = [key.name.rpartition(".")[0].partition(".")[0] for key in keys.KEYS]
    assert list(dict.fromkeys(sections)) == list(keys.SECTIONS)
    # Each section in one piece.
    assert sections == sorted(sections, key=list(keys.SECTIONS).index)


def test_every_meaning_is_a_sentence_that_names_what_is_there():
    names = {key.name for key in keys.KEYS}
    for key in keys.KEYS:
        assert key.meaning.endswith(".")
        for word in re.findall(r"\b(?:data|model|loss|schedule|runtime)\.[\w.]*\w", key.meaning):
            assert word in names or any(name.startswith(f"{word}.") for name in names), word


#: Key -> the values that the part takes which it describes.
CHOICES = {
    "model.norm": typing.get_args(layers.Norm),
    "loss.classification.name": objective.CLASSIFICATION_LOSSES,
    "loss.classification.normalizer_scope": objective.options.NORMALIZER_SCOPES,
    "loss.localization.name": objective.options.LOCALIZATION_LOSSES,
    "matcher.name": anchor_objective.ASSIGNERS,
    "matcher.similarity": matching.SIMILARITIES,
    "loss.localization.instance_weights": objective.options.INSTANCE_WEIGHTS,
    "loss.normalizer": objective.options.NORMALIZERS,
    "data.source": tuple(file_parts._OPEN),
    "data.resize.mode": resizing.MODES,
    "data.augmentation.rotated_boxes": affine.ROTATED_BOXES,
    "data.on_error": data_checks.ON_ERROR,
    "data.bit_depth": images.BIT_DEPTHS,
    "evaluation.suppression": postprocess.SUPPRESSIONS,
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_choices_are_those_of_the_parts(name):
    must_be = keys.of_family("retinanet")[name].must_be
    written = must_be.kind_words.removeprefix("one of ").split(", ")
    assert set(written) == set(map(str, CHOICES[name]))
    assert all(must_be.fault(choice) is None for choice in CHOICES[name])
    assert must_be.fault("none of them") is not None


def test_the_backbones_and_sizes_are_those_of_the_models():
    retinanet, ssd = map(keys.of_family, ("retinanet", "ssd"))
    written = retinanet["model.backbone"].must_be.kind_words.removeprefix("one of ").split(", ")
    assert written == list(models.backbone_names())
    for size in ssd_network.EXTRA_BLOCKS:
        assert ssd["model.input_size"].must_be.fault(size) is None
    assert ssd["model.input_size"].must_be.fault(400) == "one of 300, 512"


def test_of_two_keys_of_a_name_an_ssdlite_has_the_one_that_its_value_keeps():
    retinanet, ssd, lite = map(keys.of_family, ("retinanet", "ssd", "ssdlite"))
    assert lite["model.backbone"] is retinanet["model.backbone"]
    assert lite["anchors.ratios"] is ssd["anchors.ratios"]
    assert lite["anchors.stride_from_grid"] is retinanet["anchors.stride_from_grid"]
    assert lite["model.input_size"].must_be.fault(400) is None
    # All else is as in an SSD.
    assert set(ssd) - set(lite) == set()
    own = {"model.norm", "model.norm_epsilon", "model.norm_momentum", "model.reduced_tail"}
    assert set(lite) - set(ssd) == own | {"anchors.stride_from_grid"}
    assert lite["loss.classification.name"].default_of("ssdlite") == "softmax"


def test_the_rules_in_words():
    retinanet = keys.of_family("retinanet")
    written = {name: str(key.must_be) for name, key in retinanet.items()}
    assert written["batch_size"] == "a whole number, at least 1"
    assert written["loss.localization.w_loc"] == "a number, above 0, or None"
    assert written["loss.classification.eta"] == "a number"
    assert written["data.keep_empty"] == "True or False"
    assert written["data.coco.classes"] == "names, such as ('bolt', 'nut'), or None"


def test_the_table_imports_nothing_that_takes_long():
    program = (
        "import sys, ioub_jax.configs.keys, ioub_jax.configs.refusals, ioub_jax.configs.defaults\n"
        "print([name for name in ('jax', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tiny.ROOT, capture_output=True, text=True
    )
    assert shown.stdout.strip() == "[]", shown.stdout + shown.stderr
