"""Every arm of every family is built abstractly: a whole train step, traced and not compiled.

An arm does not touch the backbone, so the arms are traced with the first backbone of a family and
one block a stage (three seconds each instead of eight), and every ResNet once at its full depth.
"""

import importlib

import jax
import jax.numpy as jnp
import pytest

from ioub_jax.configs import defaults
from ioub_jax.devices.placement import abstract_batch
from ioub_jax.from_config import training_parts
from ioub_jax.models import resnet

SLOW = pytest.mark.slow
#: file -> the words of its models, of those that differ by the depth of their backbone one.
FAMILIES = {
    "coco_retinanet": ("r50",),
    "voc_retinanet": ("r50",),
    "cityscapes_retinanet": ("r50",),
    "coco_ssd": ("300", "512"),
    "voc_ssd": ("300", "512"),
}
ARMS = [
    pytest.param(
        name,
        f"{model},{arm}",
        # Of the others a tree of shapes is that of these.
        marks=()
        if (name, model, arm)
        in (
            ("coco_retinanet", "r50", "baseline"),
            ("coco_retinanet", "r50", "both"),
            ("voc_retinanet", "r50", "both"),
            ("coco_ssd", "300", "both"),
        )
        else SLOW,
    )
    for name in FAMILIES
    for model in FAMILIES[name]
    for arm in defaults.ARMS
]
OWN_DATA = ("voc_folder_retinanet", "coco_folder_retinanet", "yolo_folder_retinanet")
OTHERS = [
    pytest.param("coco_retinanet", "ablation", marks=SLOW),
    pytest.param("coco_retinanet", "lite0", marks=SLOW),
    pytest.param("coco_retinanet", "x101", marks=SLOW),
    pytest.param("coco_retinanet", "x101_64x4d", marks=SLOW),
    pytest.param("voc_retinanet", "r101", marks=SLOW),
    pytest.param("voc_folder_retinanet", "small", marks=SLOW),
    ("coco_folder_retinanet", "lite0"),
    pytest.param("torchvision", "retinanet_resnet50_fpn", marks=SLOW),
    pytest.param("torchvision", "retinanet_resnet50_fpn_v2", marks=SLOW),
    pytest.param("torchvision", "fcos_resnet50_fpn", marks=SLOW),
    pytest.param("torchvision", "ssd300_vgg16", marks=SLOW),
    pytest.param("torchvision", "ssdlite320_mobilenet_v3_large", marks=SLOW),
    ("torchvision", "both"),
    ("coco_ssdlite", "both"),
    pytest.param("shapes_retinanet", "both", marks=SLOW),  # which other tests train
    ("shapes_dense", "gfl,baseline"),
    pytest.param("coco_dense", "atss,both", marks=SLOW),
    pytest.param("coco_dense", "fcos,both", marks=SLOW),
    pytest.param("coco_dense", "gfl,both", marks=SLOW),
    pytest.param("coco_dense", "iou_aware_retinanet,both", marks=SLOW),
]


def config_of(name, argument):
    config = importlib.import_module(f"configs.{name}").get_config(argument.strip(","))
    config.runtime.devices = 1
    return config


def trace(config, num_classes=20):
    """Shapes of the state and the metrics after a train step on the largest canvas."""
    detector = training_parts.detector_of(config, num_classes)
    trainer = training_parts.trainer_of(config, detector)
    canvas = max(config.data.canvases)
    batch = abstract_batch(config.batch_size, canvas, config.data.max_boxes)
    anchors = jax.eval_shape(lambda: detector.anchors_of(canvas))
    state = trainer.abstract_state
    return state, jax.eval_shape(trainer.train_step, state, batch, anchors)


def check(config):
    before, (after, metrics) = trace(config)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.map(jnp.shape, before.params) == jax.tree.map(jnp.shape, after.params)
    assert {"loss", "w_loc", "mean_positive_iou"} <= metrics.keys()
    assert metrics["loss"].shape == ()


@pytest.fixture
def shallow(monkeypatch):
    """ResNets of one block a stage."""
    for name, architecture in resnet.RESNETS.items():
        monkeypatch.setitem(resnet.RESNETS, name, architecture._replace(blocks=(1, 1, 1, 1)))


@pytest.mark.parametrize(("name", "argument"), ARMS)
def test_every_arm_of_every_family_is_a_train_step(name, argument, shallow):
    config = config_of(name, argument)
    eta, lambda_, measured = defaults.ARMS[argument.split(",")[-1]]
    assert config.loss.classification.eta == eta
    assert config.loss.localization.lambda_ == lambda_
    assert (config.loss.localization.w_loc is None) == measured
    check(config)


@pytest.mark.parametrize(("name", "argument"), OTHERS)
def test_the_other_configurations_are_train_steps(name, argument, shallow):
    check(config_of(name, argument))


@pytest.mark.parametrize(
    "word", ["r18", *(pytest.param(word, marks=SLOW) for word in ("r34", "r50", "r101"))]
)
def test_backbones_at_their_full_depth(word):
    check(config_of("coco_retinanet", word))


@pytest.mark.parametrize("name", [*FAMILIES, *OWN_DATA])
def test_the_first_model_and_both_losses_are_the_default(name):
    config = config_of(name, "")
    model = FAMILIES | dict.fromkeys(OWN_DATA, ("small",))
    assert config.to_json() == config_of(name, f"both,{model[name][0]}").to_json()
    assert (config.loss.classification.eta, config.loss.localization.lambda_) == (1.5, 1.5)


def test_a_pretrained_lite0_is_trained_by_adamw_and_the_others_by_sgd():
    names = {word: config_of("voc_folder_retinanet", word) for word in ("lite0", "small", "r18")}
    assert {word: config.optimizer.name for word, config in names.items()} == {
        "lite0": "adamw",
        "small": "sgd",
        "r18": "sgd",
    }
    assert names["lite0"].schedule.base_learning_rate == 0.002
    assert names["lite0"].optimizer.weight_decay == 0.05


def test_the_settings_are_the_papers():
    config = config_of("coco_retinanet", "r50,both")
    assert config.batch_size == config.schedule.reference_batch_size == 16
    assert config.schedule.base_learning_rate == 0.01
    assert config.schedule.images == 12 * 118_287
    assert config.schedule.decay_at == (8 / 12, 11 / 12)
    # 500 steps of 16 images, from a third.
    assert config.schedule.warmup_images == 500 * 16
    assert config.schedule.warmup_factor == pytest.approx(1 / 3, abs=1e-3)
    assert (config.optimizer.weight_decay, config.optimizer.clip_global_norm) == (1e-4, 35.0)
    assert (config.loss.classification.eta, config.loss.localization.lambda_) == (1.5, 1.5)
    assert config.loss.classification.normalizer_scope == "level"
    assert config.evaluation.score_threshold == 0.05
    assert config.evaluation.candidates_per_level == 1000
    assert (config.evaluation.nms_iou, config.evaluation.max_detections) == (0.5, 100)
    ablation = config_of("coco_retinanet", "ablation").data.resize
    assert (ablation.short_side, ablation.long_side) == (600, 1000)


@pytest.mark.parametrize(
    ("name", "batch_size", "rate"), [("coco_ssd", 64, 2e-3), ("voc_ssd", 32, 1e-3)]
)
def test_the_settings_of_ssd_are_the_papers(name, batch_size, rate):
    config = config_of(name, "512,both")
    assert (config.batch_size, config.schedule.reference_batch_size) == (batch_size, batch_size)
    assert config.schedule.base_learning_rate == rate
    assert config.optimizer.weight_decay == 5e-4
    assert config.loss.classification.normalizer_scope == "image"
    assert config.loss.localization.beta == 1.0
    evaluation = config.evaluation
    assert (evaluation.score_threshold, evaluation.nms_iou, evaluation.max_detections) == (
        0.02, 0.45, 200
    )  # fmt: skip
    assert config.data.canvases == ((512, 512),)


def test_the_settings_of_ssdlite_are_torchvisions():
    config = config_of("coco_ssdlite", "baseline")
    assert config.batch_size == config.schedule.reference_batch_size == 8 * 24
    assert (config.schedule.name, config.schedule.base_learning_rate) == ("cosine", 0.15)
    assert config.schedule.images == 660 * 118_287
    assert (config.schedule.warmup_images, config.schedule.warmup_factor) == (1000 * 192, 0.001)
    assert config.optimizer.weight_decay == 4e-5
    augmentation = config.data.augmentation
    assert augmentation.minimum_iou_crop and augmentation.horizontal_flip == 0.5
    assert augmentation.expand_ratio == 1.0 and not augmentation.photometric_distortion
    # What is fine-tuned has the same model, boxes and candidates, and torchvision's own losses.
    fine_tuned = config_of("torchvision", "ssdlite320_mobilenet_v3_large,baseline")
    for part in ("model", "anchors", "evaluation"):
        ours, theirs = config[part].to_dict(), fine_tuned[part].to_dict()
        ours.pop("every_images", None), theirs.pop("every_images", None)
        assert ours == theirs, part
