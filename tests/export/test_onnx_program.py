import functools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import shapes_dense, torchvision
from ioub_jax.errors import ConfigError
from ioub_jax.export import onnx_program, programs
from ioub_jax.postprocess import SUPPRESSIONS
from tests.export.test_programs import (
    create,
    dense,
    documented_program,
    random_images,
    retinanet,
    with_small_outputs,
)


def detections(**changes):
    """Three detections of one image."""
    found = {
        "boxes": np.array([[[0, 0, 8, 8], [2, 2, 9, 9], [0, 0, 0, 0]]], np.float32),
        "labels": np.array([[1, 0, -1]], np.int32),
        "scores": np.array([[0.5, 0.5, 0.0]], np.float32),
        "valid": np.array([[True, True, False]]),
    }
    return found | changes


def test_detections_of_equal_scores_may_have_changed_places():
    found = {name: value[:, [1, 0, 2]] for name, value in detections().items()}
    onnx_program.check_same(detections(), found, side=100)


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"labels": np.array([[1, 1, -1]])}, "67%"),
        ({"scores": np.array([[0.5, 0.498, 0.0]])}, "67%"),
        ({"boxes": detections()["boxes"] + np.float32(0.2)}, "0%"),  # .1 is allowed
        ({"boxes": np.full((1, 3, 4), np.nan)}, "0%"),
    ],
)
def test_other_detections_are_refused(changes, share):
    with pytest.raises(ConfigError, match=f"finds other boxes \\({share} are the same\\)"):
        onnx_program.check_same(detections(), detections(**changes), side=100)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ConfigError, match=r"package jax2onnx: pip install 'ioub_jax\[onnx\]'"):
        programs.write_onnx(create(retinanet()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_what_depends_on_the_platform_the_default_is_converted():
    def twice(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: x + 1.0, default=lambda x: x * 2.0)

    def function(x):
        chosen = jax.lax.cond(x > 5.0, jax.jit(twice), lambda x: x, jax.nn.relu(x))
        return chosen, jnp.split(x[None], 1)[0][0]

    closed = jax.make_jaxpr(jax.jit(lambda x: function(twice(x))))(1.0)
    # 2 * 3, and inside of another cond the one of this platform: 6 + 1.
    (first, second) = onnx_program.evaluate_for_any_runtime(closed, jnp.float32(3.0))
    assert (first, second) == (7.0, 6.0)
    names = [
        equation.primitive.name
        for equation in jax.make_jaxpr(
            lambda x: onnx_program.evaluate_for_any_runtime(jax.make_jaxpr(jax.jit(twice))(x), x)
        )(1.0).eqns
    ]
    assert names == ["mul"]


#: Boxes are near their anchors, many of which have with each other an IoU of .5 but for rounding.
BETWEEN_ANCHORS = 0.437


def run_documented(module, path, images, sizes):
    """What the program of docs/export.md that imports a runtime finds with a file in images."""
    program = documented_program(f"import {module}")
    assert program.count('"exported/detector_128x128.onnx"') == 1
    program = program.replace('"exported/detector_128x128.onnx"', repr(str(path)))
    given = re.sub(r"^images, sizes = .*$", "images, sizes = given", program, flags=re.MULTILINE)
    assert given != program
    values = {"given": (images, sizes)}
    exec(given, values)
    return values["found"]


def with_equal_scores(detector):
    """Makes the logits of an image equal, but for their anchors and classes."""
    kernel = detector.variables["params"]["classification_head"]["output"]
    kernel["kernel"] = jnp.zeros_like(kernel["kernel"])
    return detector


def small_ssd():
    config = torchvision.get_config("ssd300_vgg16")
    config.model.width = 4
    config.evaluation.nms_iou = BETWEEN_ANCHORS
    return config


def small_ssdlite():
    config = torchvision.get_config("ssdlite320_mobilenet_v3_large")
    config.model.width = 8
    # Further down, scores of two detections differ by less than their rounding.
    config.evaluation.update({"nms_iou": BETWEEN_ANCHORS, "max_detections": 50})
    return config


#: Detectors that `make test-onnx` converts, each of which is run on images of all kinds.
DETECTORS = {
    "batch_norm": lambda: create(many_boxes()),
    "group_norm": lambda: create(many_boxes(norm="group_norm")),
    "equal scores": lambda: with_equal_scores(create(many_boxes())),
    "ssd": lambda: with_small_outputs(create(small_ssd())),
    "ssdlite": lambda: create(small_ssdlite()),
    **{name: lambda name=name: create(many_boxes(suppression=name)) for name in SUPPRESSIONS[1:]},
    **{name: lambda name=name: create(many_boxes(family=name)) for name in shapes_dense.DETECTORS},
}


#: Detector -> how exact its boxes, in pixels, and its scores are, if not to `LIMITS`. Soft-NMS
#: multiplies scores by overlaps: 1e-4 pixels are 1e-3 of a sliver of .1 pixels. The untrained
#: SSDLite has larger logits and deltas than trained ones.
OTHER_LIMITS = {
    "soft_nms_linear": (1e-3, 1e-3),
    "soft_nms_gaussian": (1e-3, 1e-3),
    "ssdlite": (3e-3, 1e-4),
}
LIMITS = (1e-3, 1e-5)


def many_boxes(suppression="nms", family="retinanet", **model):
    """A RetinaNet, or a detector of another family, that finds 200 boxes in an image."""
    config = retinanet(**model) if family == "retinanet" else dense(family)
    config.data.canvases = ((48, 80),)
    config.evaluation.update({"max_detections": 200, "suppression": suppression})
    return config


def images_of_all_kinds(height, width):
    """Random, one color, a pattern that repeats itself; one that is smaller, and an empty one."""
    random = random_images(1, height, width)
    repeats = (height // 16 + 1, width // 16 + 1, 1)
    pattern = np.tile(random[0, :16, :16], repeats)[None, :height, :width]
    whole = (height, width)
    return {
        "random": (random, whole),
        "one color": (np.full_like(random, 128), whole),
        "pattern": (pattern, whole),
        "smaller": (random, (height // 2, width // 3)),
        "empty": (random, (0, 0)),  # no box has an area: nothing is found
    }


@pytest.fixture(scope="module", params=DETECTORS)
def converted(request, tmp_path_factory):
    """A detector's file, images, what the jitted detector finds, and how exact that is."""
    pytest.importorskip("jax2onnx")
    detector = DETECTORS[request.param]()
    (canvas,) = detector.canvases
    # The converter does not know this switch of the tests.
    with jax.numpy_rank_promotion("allow"):
        path, json_file = programs.write_onnx(detector, tmp_path_factory.mktemp("onnx"))
    described = json.loads(json_file.read_text())
    assert described["programs"] == [{"file": path.name, "canvas": list(canvas)}]
    exported = programs.export_detector(detector, canvas, batch_size=1, platforms=("cpu",))
    detect = jax.jit(exported.call)
    images = images_of_all_kinds(*canvas)
    expected = {
        name: jax.device_get(detect(pixels, np.array([size], np.int32)))
        for name, (pixels, size) in images.items()
    }
    return path, images, expected, OTHER_LIMITS.get(request.param, LIMITS)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the converter
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_finds_what_the_detector_finds(converted, runtime):
    path, images, expected, (pixel, score) = converted
    pytest.importorskip(runtime)
    for name, (pixels, size) in images.items():
        found = run_documented(runtime, path, pixels, np.array([size], np.int32))
        wanted = expected[name]
        number = wanted["valid"].sum()
        assert number > 10 if name != "empty" else number == 0, name
        for output in ("labels", "valid"):
            np.testing.assert_array_equal(found[output], wanted[output], err_msg=name)
        np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=pixel, err_msg=name)
        np.testing.assert_allclose(found["scores"], wanted["scores"], atol=score, err_msg=name)
        print(
            name,
            *(f"{np.abs(found[part] - wanted[part]).max():.1e}" for part in ("boxes", "scores")),
        )


def test_top_k_in_a_loop_is_for_any_runtime():
    def function(values):
        def turn(state):
            highest, indices = jax.lax.top_k(state[1], 2)
            return state[0] + indices[0], jnp.concatenate([highest[:1] - 1.0, state[1][1:]])

        return jax.lax.while_loop(lambda state: state[0] < 3, turn, (jnp.int32(1), values))

    closed = jax.make_jaxpr(function)(jnp.zeros(3))
    converted = jax.make_jaxpr(functools.partial(onnx_program.evaluate_for_any_runtime, closed))
    values = jnp.array([2.0, 5.0, 5.0])
    # Index 1 is the first of the highest: 1 + 1 + 1.
    assert onnx_program.evaluate_for_any_runtime(closed, values)[0] == 3 == function(values)[0]
    (loop,) = (
        equation for equation in converted(values).eqns if equation.primitive.name == "while"
    )
    in_body = str(loop.params["body_jaxpr"])
    assert in_body.count("top_k[") > 1 and "cumsum" in in_body
