import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import anchors
from ioub_jax.configs import defaults
from ioub_jax.detectors import retinanet
from ioub_jax.errors import ConfigError
from ioub_jax.models import Predictions, fpn, interface, retinanet_network


def small_config(**model):
    config = defaults.get_config().model
    config.update({"backbone": "resnet18", "width": 4})
    config.fpn.channels = 8
    config.head.update({"width": 8, "depth": 1})
    config.update(model)
    return config


def predictions_of(config, canvas=(64, 96), dtype=None):
    model = retinanet.create_network(config, 3, (9,) * 5)
    images = jnp.zeros((2, *canvas, config.in_channels), jnp.uint8)
    return jax.eval_shape(
        lambda key: model.init_with_output(key, images, train=True), jax.random.key(0)
    )


@pytest.mark.parametrize("canvas", [(64, 96), (100, 75)])
def test_one_prediction_for_every_anchor(canvas):
    predictions, _ = predictions_of(small_config(), canvas)
    sizes = [len(level) for level in anchors.retinanet_anchors(canvas)]
    logits, deltas, _ = jax.eval_shape(Predictions.per_anchor, predictions)
    assert [level.shape for level in logits] == [(2, n, 3) for n in sizes]
    assert [level.shape for level in deltas] == [(2, n, 4) for n in sizes]


@pytest.mark.parametrize(
    ("backbone", "model"),
    [
        ("mobilenet_v3_large", {"width": 16, "norm": "frozen_bn"}),
        ("convnext_tiny", {"width": 4, "norm": "layer_norm"}),
        ("dinov2_small", {"width": 4, "norm": "layer_norm", "in_channels": 4}),
    ],
)
def test_other_backbones_have_the_maps_that_anchors_have(backbone, model):
    canvas = (100, 75)  # no multiple of anything
    predictions, variables = predictions_of(small_config(backbone=backbone, **model), canvas)
    sizes = [len(level) for level in anchors.retinanet_anchors(canvas)]
    logits = jax.eval_shape(Predictions.per_anchor, predictions).logits
    assert [level.shape for level in logits] == [(2, n, 3) for n in sizes]
    assert "stem_conv" in variables["params"]["backbone"]


def test_a_norm_that_a_backbone_lacks_is_refused_by_its_key():
    with pytest.raises(ConfigError, match=r"^model.norm is 'batch_norm', but convnext_tiny has"):
        predictions_of(small_config(backbone="convnext_tiny"))


def test_the_order_of_predictions_is_row_column_anchor():
    head = retinanet_network.Head(outputs=2, anchors=3, width=4, depth=0, norm="none")
    x = jnp.zeros((1, 2, 2, 5)).at[0, 1, 0].set(1.0)
    variables = head.init(jax.random.key(0), (x,))
    # Only the center tap of the kernel, which then sees nothing but its own location; output
    # channel c of a location is anchor c // 2, value c % 2.
    kernel = jnp.zeros((3, 3, 5, 6)).at[1, 1, 0].set(jnp.arange(1.0, 7.0))
    variables = {"params": {"output": {"kernel": kernel, "bias": jnp.zeros(6)}}}
    (y,) = head.apply(variables, (x,))
    expected = np.zeros((4, 3, 2))
    # Row 1, column 0 is location 2 of four.
    expected[2] = [[1, 2], [3, 4], [5, 6]]
    deltas = (jnp.zeros((1, 2, 2, 3 * 4)),)
    assert y.shape == (1, 2, 2, 3 * 2)
    (logits,), _, _ = Predictions((y,), deltas).per_anchor()
    np.testing.assert_array_equal(logits, expected.reshape(1, 12, 2))


def test_every_anchor_starts_at_the_prior_probability():
    model = retinanet.create_network(small_config(), 3, (9,) * 5)
    images = jax.random.uniform(jax.random.key(1), (1, 64, 64, 3), maxval=255.0)
    initialized = jax.jit(functools.partial(model.init_with_output, train=False))
    predictions, _ = initialized(jax.random.key(0), images)
    probabilities = jax.nn.sigmoid(jnp.concatenate(predictions.per_anchor().logits, axis=1))
    # Around the bias the untrained towers' logits differ by some tenths.
    assert float(jnp.mean(probabilities)) == pytest.approx(0.01, rel=0.05)
    # log(.99 / .01) = log 99
    assert retinanet_network.prior_probability_bias(0.01) == pytest.approx(-np.log(99.0))


def test_the_published_retinanet_has_torchvisions_parameters():
    # torchvision's retinanet_resnet50_fpn has 34,014,999 parameters with 91 outputs, of which its
    # frozen batch norms' 53,120 are buffers and not counted.
    config = defaults.get_config().model
    config.fpn.p6_from = "p5"
    model = retinanet.create_network(config, 91, (9,) * 5)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count - 53_120 == 34_014_999


def test_p6_comes_from_c5_or_p5():
    features = tuple(jnp.zeros((1, s, s, c)) for s, c in ((16, 8), (8, 16), (4, 32)))
    for source, channels in (("c5", 32), ("p5", 6)):
        model = fpn.FeaturePyramid(channels=6, p6_from=source)
        variables = model.init(jax.random.key(0), features)
        assert variables["params"]["output6"]["kernel"].shape == (3, 3, channels, 6)
        levels = model.apply(variables, features)
        assert [level.shape[1] for level in levels] == [16, 8, 4, 2, 1]


def test_relu_before_p7():
    features = tuple(jax.random.normal(jax.random.key(s), (1, s, s, 4)) for s in (16, 8, 4))
    plain, rectified = fpn.FeaturePyramid(channels=4), fpn.FeaturePyramid(4, relu_before_p7=True)
    variables = plain.init(jax.random.key(0), features)
    first, second = plain.apply(variables, features), rectified.apply(variables, features)
    assert float(first[3].min()) < 0
    np.testing.assert_array_equal(first[3], second[3])
    kernel = variables["params"]["output7"]["kernel"]
    convolved = jax.lax.conv_general_dilated(
        jnp.maximum(first[3], 0),
        kernel,
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(second[4], convolved, rtol=1e-5, atol=1e-6)
    assert not np.allclose(first[4], second[4])


def test_upsampling_doubles_and_cuts():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    expected = [[0, 0, 1], [0, 0, 1], [2, 2, 3]]
    np.testing.assert_array_equal(fpn.upsample_to(x, 3, 3)[0, :, :, 0], expected)


def test_images_are_normalized_with_imagenets_statistics():
    model = defaults.get_config().model
    pixels = jnp.array([[124, 116, 104], [0, 255, 0]], jnp.uint8)
    # (124 - 123.675) / 58.395 = .00557, (116 - 116.28) / 57.12 = -.00490, (104 - 103.53) / 57.375
    # = .00819; (0 - 123.675) / 58.395 = -2.1179, (255 - 116.28) / 57.12 = 2.4286, -1.8044.
    expected = [[0.00557, -0.00490, 0.00819], [-2.1179, 2.4286, -1.8044]]
    np.testing.assert_allclose(
        interface.normalize_images(pixels, model.pixel_mean, model.pixel_std), expected, atol=5e-5
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fpn.p6_from", "p4", "p6_from is 'p4'"),
        ("fpn.norm", "batch_norm", "norm of a pyramid is 'batch_norm'"),
        ("head.norm", "batch_norm", "norm of a head is 'batch_norm'"),
    ],
)
def test_unknown_choices_are_refused(key, value, words):
    config = small_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=words):
        predictions_of(config)
