import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.export import onnx_program, programs
from tests.export.test_programs import create, random_images, retinanet


def detections(**changes):
    """Three detections of one image."""
    found = {
        "boxes": np.array([[[0, 0, 8, 8], [2, 2, 9, 9], [0, 0, 0, 0]]], np.float32),
        "labels": np.array([[1, 0, -1]], np.int32),
        "scores": np.array([[0.5, 0.5, 0.0]], np.float32),
        "valid": np.array([[True, True, False]]),
    }
    return found | changes


def test_neighbours_may_have_changed_places():
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
    (first, second) = onnx_program.evaluate_for_any_platform(closed, jnp.float32(3.0))
    assert (first, second) == (7.0, 6.0)
    names = [
        equation.primitive.name
        for equation in jax.make_jaxpr(
            lambda x: onnx_program.evaluate_for_any_platform(jax.make_jaxpr(jax.jit(twice))(x), x)
        )(1.0).eqns
    ]
    assert names == ["mul"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the converter
@pytest.mark.parametrize("norm", ["batch_norm", "group_norm"])
def test_onnxruntime_finds_what_the_detector_finds(norm, tmp_path):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    detector = create(retinanet(norm=norm))
    # The converter does not know this switch of the tests.
    with jax.numpy_rank_promotion("allow"):
        path, description = programs.write_onnx(detector, tmp_path, canvases=[(48, 80)])
    described = json.loads(description.read_text())
    assert described["programs"] == [{"file": path.name, "canvas": [48, 80]}]
    session = onnxruntime.InferenceSession(path)
    (pixels,) = random_images(1, 48, 80)
    names = ["boxes", "labels", "scores", "valid"]
    found = session.run(names, {"images": pixels[None], "sizes": np.array([[48, 80]], np.int32)})
    expected = detector(pixels)
    np.testing.assert_array_equal(found[1][0], expected.labels)
    np.testing.assert_allclose(found[0][0], expected.boxes, atol=1e-2)
    np.testing.assert_allclose(found[2][0], expected.scores, atol=1e-5)
