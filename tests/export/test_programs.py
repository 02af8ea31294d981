import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import types

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import shapes_dense, torchvision
from ioub_jax.data.resizing import Resize
from ioub_jax.data.tiling import Tiling
from ioub_jax.errors import ConfigError
from ioub_jax.export import description
from ioub_jax.export import programs as exporting
from ioub_jax.from_config import loading_parts, training_parts
from ioub_jax.inference import ObjectDetector
from ioub_jax.postprocess import SUPPRESSIONS, Detections
from ioub_jax.weights import WeightsError
from ioub_jax.workdirs import configuration
from tests import tiny
from tests.every_day import one_of_a_kind

DOCUMENT = tiny.ROOT / "docs" / "export.md"

# What a program must run without: this package, and whatever of its dependencies jax has not.
STRANGER = """
import sys
for name in ("ioub_jax", "configs", "flax", "optax", "orbax", "ml_collections", "absl", "cv2"):
    sys.modules[name] = None
"""


def create(config, num_classes=3):
    """A detector of random weights, whose scores differ."""
    model = training_parts.detector_for_inference(config, num_classes)
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        deviation = (2.0 / max(np.prod(leaf.shape[:-1]), 1)) ** 0.5  # He's, of a kernel
        if path[-2].key == "output":
            deviation /= 10.0  # or most scores would be 0 or 1
        return generator.normal(0, deviation, leaf.shape).astype(np.float32)

    shapes = model.abstract_variables
    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    categories = [(3 * label + 1, f"class {label}") for label in range(num_classes)]
    return ObjectDetector(
        model,
        variables,
        categories,
        loading_parts.loading_of(config),
        batch_size=1,
        settings=configuration.to_dict(config),
    )


def with_small_outputs(detector):
    """Makes the logits and deltas of a deep network of random weights such as trained ones are."""

    def smaller(path, leaf):
        # Of a RetinaNet, and of an SSD.
        is_output = path[-2].key == "output" or "_heads_" in path[-2].key
        return leaf * 0.01 if is_output else leaf

    detector.variables = jax.tree_util.tree_map_with_path(smaller, detector.variables)
    return detector


def retinanet(**model):
    config = tiny.get_config()
    config.data.canvases = ((64, 64), (48, 80))
    config.model.update(model)
    config.evaluation.max_detections = 20
    return config


def dense(family):
    """One of the families that came after RetinaNet, as small as `retinanet`.

    Boxes have some 16 px on the finest level, or of a canvas as small NMS would leave few.
    """
    config = shapes_dense.get_config(f"{family},both")
    config.model.width = 8
    config.model.fpn.channels = 16
    config.model.head.update({"width": 16, "depth": 1})
    if family != "fcos":
        config.anchors.base_scale = 2.0
    if family == "gfl":
        config.model.head.reg_max = 2
    config.data.canvases = ((48, 80),)
    config.evaluation.update({"score_threshold": 0.0, "max_detections": 20})
    config.runtime.devices = 1
    return config


@pytest.fixture(scope="module")
def detector():
    return create(retinanet())


def random_images(count, height, width):
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


def run_as_a_stranger(folder: pathlib.Path, program: str) -> str:
    """Runs a program in a fresh process, in a folder of its own, without this package."""
    finished = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER + program],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def documented_program(words: str) -> str:
    """The program of docs/export.md that contains these words."""
    programs = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    (program,) = (program for program in programs if words in program)
    return program


def test_the_description_of_a_detector_of_tiles_says_how_to_cut_and_merge(detector, monkeypatch):
    assert "tiles" not in description.describe(detector)
    monkeypatch.setattr(detector, "tiling", Tiling(64, 0.25, zoom=0.5))
    monkeypatch.setattr(detector, "resize", Resize("zoom", zoom=0.5))
    described = description.describe(detector)
    # A quarter of 64 is shared.
    assert (described["tiles"]["size"], described["tiles"]["stride"]) == (64, 48)
    assert "cut an image into tiles" in described["tiles"]["rule"]
    assert "merge the boxes of each class by NMS" in described["tiles"]["rule"]
    assert (described["resize"]["mode"], described["resize"]["zoom"]) == ("zoom", 0.5)
    found_by = detector.placed.detector
    agnostic = dataclasses.replace(found_by.options, class_agnostic=True)
    placed = types.SimpleNamespace(detector=dataclasses.replace(found_by, options=agnostic))
    monkeypatch.setattr(detector, "placed", placed)
    rule = description.describe(detector)["tiles"]["rule"]
    assert "merge the boxes of all classes together by NMS" in rule


def test_a_stranger_finds_what_the_detector_finds(detector, tmp_path):
    *programs, json_file = exporting.write_programs(detector, tmp_path / "exported")
    assert [path.name for path in programs] == [
        "detector_64x64.stablehlo",
        "detector_48x80.stablehlo",
    ]
    described = json.loads(json_file.read_text())
    assert [program["canvas"] for program in described["programs"]] == [[64, 64], [48, 80]]
    assert described["classes"][2] == {"id": 7, "name": "class 2"}
    assert described["platforms"] == ["cpu", "cuda", "tpu"]
    assert described["resize"]["mode"] == "fit"
    assert "[batch, 20, 4]" in described["outputs"]["boxes"]

    # An image of 48x80 fills that canvas; on 64x64 it would have to be resized.
    (pixels,) = random_images(1, 48, 80)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    several = random_images(3, 48, 80)
    np.save(tmp_path / "several.npy", several)
    printed = run_as_a_stranger(
        tmp_path,
        documented_program("jax.export.deserialize").replace('"programs"][0]', '"programs"][1]')
        + """
np.savez("one.npz", **found)
sizes = np.array([[48, 80], [40, 80], [48, 33]])
np.savez("several.npz", **detect(np.load("several.npy"), sizes))
assert "ioub_jax" not in [name for name, module in sys.modules.items() if module]
""",
    )
    expected = detector(pixels)
    found = np.load(tmp_path / "one.npz")
    assert len(printed.splitlines()) == found["valid"].sum() == len(expected) == 20
    assert printed.startswith(expected.class_names[0])
    check(found, 0, expected)

    # Any number of images; what stands outside of an image does not matter.
    found = np.load(tmp_path / "several.npz")
    assert found["boxes"].shape == (3, 20, 4)
    check(found, 0, detector(several[0]))
    assert found["boxes"][1, :, 3].max() <= 40.0 and found["boxes"][2, :, 2].max() <= 33.0


def test_a_program_of_another_jax_is_a_sentence(detector, tmp_path):
    # What jax 0.12 writes for any batch, 0.10 cannot read; it says so when it is called.
    *_, json_file = exporting.write_programs(detector, tmp_path / "exported", batch_size=1)
    described = json.loads(json_file.read_text()) | {"jax": "9.8.7"}
    json_file.write_text(json.dumps(described))
    program = tmp_path / "exported" / described["programs"][0]["file"]
    exported = jax.export.deserialize(bytearray(program.read_bytes()))
    unknown = dataclasses.replace(exported, mlir_module_serialized=b"of another version")
    program.write_bytes(unknown.serialize())
    Image.fromarray(random_images(1, 48, 80)[0]).save(tmp_path / "image.png")
    with pytest.raises(AssertionError) as failure:
        run_as_a_stranger(tmp_path, documented_program("jax.export.deserialize"))
    assert (
        f"detector_64x64.stablehlo was written by jax 9.8.7 and cannot be run by {jax.__version__}:"
        in str(failure.value)
    )
    assert "Traceback" not in str(failure.value)


def check(found, row, expected):
    there = np.asarray(found["valid"][row])
    np.testing.assert_array_equal(found["labels"][row][there], expected.labels)
    np.testing.assert_allclose(found["scores"][row][there], expected.scores, atol=1e-6)
    np.testing.assert_allclose(found["boxes"][row][there], expected.boxes, atol=1e-3)


def test_what_is_outside_of_an_image_does_not_matter(detector):
    images = random_images(2, 64, 64)
    sizes = np.array([[40, 64], [64, 21]], np.int32)
    padded = np.asarray(exporting._padded(images, sizes))
    color = (124, 116, 104)
    assert (padded[0, :40] == images[0, :40]).all() and (padded[0, 40:] == color).all()
    assert (padded[1, :, :21] == images[1, :, :21]).all() and (padded[1, :, 21:] == color).all()


def test_a_program_may_find_what_has_the_best_score_of_its_class():
    found = Detections(
        boxes=jnp.arange(16.0).reshape(1, 4, 4),
        scores=jnp.array([[0.9, 0.7, 0.6, 0.9]]),
        labels=jnp.array([[1, 0, 1, -1]]),
        valid=jnp.array([[True, True, True, False]]),
    )
    assert exporting.above(found, 0.0) is found
    # As a float32, .7 is a little less than .7: what has that score has not .7.
    kept = exporting.above(found, np.array([0.7, 0.6]))
    np.testing.assert_array_equal(kept.labels, [[1, 1, -1, -1]])
    np.testing.assert_array_equal(kept.boxes[0, :, 0], [0.0, 8.0, 0.0, 0.0])
    np.testing.assert_array_equal(kept.scores, np.float32([[0.9, 0.6, 0.9, 0.9]]))
    np.testing.assert_array_equal(kept.valid, [[True, True, False, False]])
    np.testing.assert_array_equal(exporting.above(found, 0.65).labels, [[1, 0, -1, -1]])
    assert not exporting.above(found, 1.0).valid.any()


def test_a_program_finds_what_a_call_does_and_the_description_tells(detector, monkeypatch):
    (pixels,) = random_images(1, 48, 80)
    everything = detector(pixels)
    least = float(np.median(everything.scores))
    monkeypatch.setattr(detector, "score_threshold", least)
    assert 0 < len(detector(pixels)) < len(everything)
    exported = exporting.export_detector(detector, (48, 80), batch_size=1, platforms=("cpu",))
    check(exported.call(pixels[None], np.array([[48, 80]])), 0, detector(pixels))
    assert description.describe(detector)["classes"][0] == {
        "id": 1, "name": "class 0", "lowest_score": least
    }  # fmt: skip


@pytest.mark.parametrize("suppression", one_of_a_kind(SUPPRESSIONS[1:], SUPPRESSIONS[-1]))
def test_every_suppression_is_exported(suppression):
    config = retinanet()
    config.evaluation.suppression = suppression
    detector = create(config)
    (pixels,) = random_images(1, 48, 80)
    exported = exporting.export_detector(detector, (48, 80), batch_size=1, platforms=("cpu",))
    found = jax.device_get(exported.call(pixels[None], np.array([[48, 80]])))
    assert found["valid"].sum() == 20
    expected = detector(pixels)
    check(found, 0, expected)
    assert description.describe(detector)["suppression"] == suppression


@pytest.mark.parametrize("family", one_of_a_kind(shapes_dense.DETECTORS, "gfl"))
def test_every_family_is_exported(family):
    detector = create(dense(family))
    (pixels,) = random_images(1, 48, 80)
    exported = exporting.export_detector(detector, (48, 80), batch_size=1, platforms=("cpu",))
    read = jax.export.deserialize(exported.serialize())
    found = jax.device_get(read.call(pixels[None], np.array([[48, 80]])))
    assert found["valid"].sum() > 10
    check(found, 0, detector(pixels))
    assert description.describe(detector)["suppression"] == "nms"


def test_a_program_may_have_one_batch_size_and_one_platform(detector):
    exported = exporting.export_detector(detector, (48, 80), batch_size=2, platforms=("tpu",))
    assert exported.platforms == ("tpu",)
    assert [argument.shape for argument in exported.in_avals] == [(2, 48, 80, 3), (2, 2)]
    assert "custom_call" not in exported.mlir_module()


@pytest.mark.parametrize(
    "config",
    [
        retinanet(norm="group_norm"),
        pytest.param(retinanet(backbone="resnext101_32x4d", width=16), marks=pytest.mark.slow),
        pytest.param(retinanet(backbone="efficientnet_lite0", width=64), marks=pytest.mark.slow),
        pytest.param(torchvision.get_config("ssd300_vgg16"), marks=pytest.mark.slow),
        pytest.param(
            torchvision.get_config("ssdlite320_mobilenet_v3_large"), marks=pytest.mark.slow
        ),
        pytest.param(torchvision.get_config("retinanet_resnet50_fpn_v2"), marks=pytest.mark.slow),
    ],
    ids=lambda config: config.model.backbone,
)
def test_every_model_is_exported_for_every_platform(config):
    detector = create(config)
    canvas = detector.canvases[0]
    exported = exporting.export_detector(detector, canvas)
    again = jax.export.deserialize(exported.serialize())
    assert again.platforms == ("cpu", "cuda", "tpu")
    # The one custom call is the check that a batch size is one.
    assert set(re.findall(r"custom_call @(\w+)", again.mlir_module())) == {"shape_assertion"}
    weights = sum(x.nbytes for x in jax.tree.leaves(detector.variables))
    assert len(again.mlir_module_serialized) > weights


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"platforms": ("gpu",)}, "There is no platform 'gpu'; they are cpu, cuda, rocm, tpu"),
        ({"platforms": ()}, "There is no platform given"),
        ({"canvas": (0, 64)}, "The canvas 0x64 is empty"),
    ],
)
def test_what_cannot_be_exported_is_refused(detector, arguments, words):
    with pytest.raises(ConfigError, match=words):
        exporting.export_detector(detector, **({"canvas": (64, 64)} | arguments))


def test_an_ssd_has_one_input_size():
    config = torchvision.get_config("ssd300_vgg16")
    config.model.width = 4
    with pytest.raises(ConfigError, match="the canvas 320x320 must be 300x300"):
        exporting.export_detector(create(config), (320, 320))


def test_a_detector_that_torchvision_lacks_is_refused_and_nothing_is_written(detector, tmp_path):
    with pytest.raises(
        WeightsError, match=r"runs/mine is not a detector that torchvision can build"
    ):
        exporting.write_torchvision_weights(detector, tmp_path / "out", name="runs/mine")
    assert not (tmp_path / "out").exists()


def test_the_labels_of_an_ssdlite_in_torchvision_count_from_its_background(tmp_path):
    detector = create(torchvision.get_config("ssdlite320_mobilenet_v3_large"))
    _, described = exporting.write_torchvision_weights(detector, tmp_path, name="mine")
    classes = json.loads(described.read_text())["classes"]
    assert [class_["label"] for class_ in classes] == [1, 2, 3]
