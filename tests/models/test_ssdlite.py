import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import anchors, detectors
from ioub_jax.configs import ssdlite_defaults
from ioub_jax.detectors import ssdlite
from ioub_jax.errors import ConfigError
from ioub_jax.models import Predictions, ssdlite_network

# Of torchvision: 20, 10, 5, 3, 2 and 1 cells a side, six boxes each.
GRIDS = (20, 10, 5, 3, 2, 1)


def small_model(**model):
    config = ssdlite_defaults.get_config().model
    config.update({"width": 8} | model)
    return config


def shapes_of(model, num_classes=3, side=320, train=True):
    network = ssdlite.create_network(model, num_classes, (6,) * 6)
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.uint8)
    return jax.eval_shape(
        lambda key, x: network.init_with_output(key, x, train=train), jax.random.key(0), images
    )


def test_one_prediction_for_every_default_box():
    config = ssdlite_defaults.get_config()
    levels = detectors.create(config, 3).levels((320, 320))
    assert tuple(level.rows for level in levels) == GRIDS
    boxes = [len(level) for level in anchors.place(levels)]
    assert sum(boxes) == 6 * (400 + 100 + 25 + 9 + 4 + 1)
    predictions, variables = shapes_of(small_model(dtype="bfloat16"))
    logits, deltas, _ = jax.eval_shape(Predictions.per_anchor, predictions)
    assert [level.shape for level in logits] == [(2, n, 4) for n in boxes]
    assert [level.shape for level in deltas] == [(2, n, 4) for n in boxes]
    assert logits[0].dtype == deltas[0].dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_it_has_torchvisions_parameters():
    # The `num_params` of torchvision's ssdlite320_mobilenet_v3_large, with 91 outputs.
    _, variables = shapes_of(ssdlite_defaults.get_config().model, num_classes=90)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 3_440_060


def test_the_default_boxes_by_hand():
    config = ssdlite_defaults.get_config()
    level = detectors.create(config, 3).levels((320, 320))[3]
    assert level.stride_x == level.stride_y == pytest.approx(320 / 3)
    # 65 % of 320 is 208, the next size is 80 %: 256, and sqrt(208 * 256) = 230.76. Of the ratio 2
    # the sides are 208 * 1.41421 = 294.16 and 208 / 1.41421 = 147.08; of the ratio 3 360.27, which
    # is cut to 320, and 120.09.
    sides = level.cell[:, 2:] - level.cell[:, :2]
    expected = [(208, 208), (230.76, 230.76), (294.16, 147.08), (147.08, 294.16)]
    expected += [(320, 120.09), (120.09, 320)]
    np.testing.assert_allclose(sides, expected, atol=5e-3)
    np.testing.assert_allclose((level.cell[:, 2:] + level.cell[:, :2]) / 2, 320 / 6, rtol=1e-12)
    # Of other images the shares are the same.
    assert ssdlite_defaults.get_config("cls", 512).anchors.sizes[:2] == (102.4, 179.2)


def filled(block, x):
    """Variables with norms that do nothing at first, and kernels that differ."""
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        is_kernel = path[-1].key == "kernel"
        return generator.normal(0, 0.5 * is_kernel, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.partial(jax.jit, static_argnums=0)
def trained(block, variables, x):
    """What a block puts out in training, its gradient, and the statistics after it."""

    def total(x):
        y, after = block.apply(variables, x, train=True, mutable="batch_stats")
        return y.sum(), (y, after["batch_stats"])

    gradient, (y, statistics) = jax.grad(total, has_aux=True)(x)
    return y, gradient, statistics


def test_an_extra_block_halves_the_grid_and_is_cut_at_6():
    block = ssdlite_network.ExtraBlock(4, "batch_norm", 1e-3, 0.97)
    x = np.random.default_rng(1).normal(0, 50, (2, 5, 3, 3)).astype(np.float32)
    variables = filled(block, x)
    params = variables["params"]
    kernels = {name: of["kernel"].shape for name, of in params.items() if "kernel" in of}
    assert kernels == {
        "reduce_conv": (1, 1, 3, 2),
        "depthwise_conv": (3, 3, 1, 2),
        "expand_conv": (1, 1, 2, 4),
    }
    params["expand_norm"]["scale"] *= 1e6  # so that every value is cut
    y, _, statistics = trained(block, variables, x)
    assert y.shape == (2, 3, 2, 4)
    assert set(np.unique(y)) == {0.0, 6.0}
    # .97 of the mean of before, which is 0, and .03 of the batch's.
    reduced = x.reshape(-1, 3) @ params["reduce_conv"]["kernel"][0, 0]
    np.testing.assert_allclose(
        statistics["reduce_norm"]["mean"], 0.03 * reduced.mean(axis=0), rtol=1e-4
    )


def test_a_norm_of_one_value_is_its_bias():
    # The coarsest level of a single image: its variance is 0, which torch refuses.
    block = ssdlite_network.ExtraBlock(2, "batch_norm", 1e-3, 0.97)
    x = np.ones((1, 1, 1, 2), np.float32)
    variables = filled(block, x)
    variables["params"]["expand_norm"]["bias"] = np.array([0.5, 2.0], np.float32)
    y, gradient, _ = trained(block, variables, x)
    np.testing.assert_array_equal(y, [[[[0.5, 2.0]]]])
    assert np.all(np.isfinite(gradient))


def test_frozen_norms_are_those_of_the_backbone():
    network = ssdlite.create_network(small_model(norm="frozen_bn"), 3, (6,) * 6)
    assert network.backbone.norm == "frozen_bn"
    assert {block.norm for block in network.extra_blocks} == {"batch_norm"}
    assert {head.norm for head in network.classification_heads} == {"batch_norm"}
    network = ssdlite.create_network(small_model(norm="group_norm"), 3, (6,) * 6)
    assert network.localization_heads[0].norm == network.backbone.norm == "group_norm"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"backbone": "resnet50"}, "model.backbone is 'resnet50'; that of an SSDLite must be"),
        ({"norm": "layer_norm"}, "model.norm is 'layer_norm', but an SSDLite has batch norms"),
    ],
)
def test_what_is_no_ssdlite_is_refused(model, words):
    with pytest.raises(ConfigError, match=words):
        ssdlite.create_network(small_model(**model), 3, (6,) * 6)


def test_an_ssdlite_has_six_levels():
    with pytest.raises(ConfigError, match="has 6 levels, but anchors are given for 5; give"):
        ssdlite.create_network(small_model(), 3, (6,) * 5)
