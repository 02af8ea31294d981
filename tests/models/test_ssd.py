import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import anchors, detectors
from ioub_jax.configs import ssd_defaults
from ioub_jax.detectors import ssd
from ioub_jax.models import Predictions, ssd_network

# Of the paper: 8732 boxes at 300, 24564 at 512.
GRIDS = {300: (38, 19, 10, 5, 3, 1), 512: (64, 32, 16, 8, 4, 2, 1)}
PER_CELL = {300: (4, 6, 6, 6, 4, 4), 512: (4, 6, 6, 6, 6, 4, 4)}


def small_config(size=300, **model):
    config = ssd_defaults.get_config(input_size=size).model
    config.update({"width": 1} | model)
    return config


def predictions_of(config, num_classes=3, per_cell=None):
    per_cell = PER_CELL[config.input_size] if per_cell is None else per_cell
    model = ssd.create_network(config, num_classes, per_cell)
    images = jax.ShapeDtypeStruct((2, config.input_size, config.input_size, 3), jnp.uint8)
    return jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=True), jax.random.key(0), images
    )


@pytest.mark.parametrize("size", [300, 512])
def test_one_prediction_for_every_default_box(size):
    config = ssd_defaults.get_config(input_size=size)
    levels = detectors.create(config, 3).levels((size, size))
    assert tuple(level.rows for level in levels) == GRIDS[size]
    assert tuple(len(level.cell) for level in levels) == PER_CELL[size]
    boxes = [len(level) for level in anchors.place(levels)]
    assert sum(boxes) == {300: 8732, 512: 24564}[size]
    predictions, variables = predictions_of(small_config(size))
    logits, deltas, _ = jax.eval_shape(Predictions.per_anchor, predictions)
    assert [level.shape for level in logits] == [(2, n, 4) for n in boxes]
    assert [level.shape for level in deltas] == [(2, n, 4) for n in boxes]
    assert variables.keys() == {"params"}


def test_ssd300_has_torchvisions_parameters():
    # The `num_params` of torchvision's ssd300_vgg16, with 91 outputs.
    _, variables = predictions_of(small_config(width=64), num_classes=90)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 35_641_826


def test_the_extra_layers_of_ssd512_end_with_a_kernel_of_four():
    _, variables = predictions_of(small_config(512, width=64))
    kernels = {
        name: layer["kernel"].shape for name, layer in variables["params"]["extra_layers"].items()
    }
    assert kernels == {
        "conv8_1": (1, 1, 1024, 256),
        "conv8_2": (3, 3, 256, 512),
        "conv9_1": (1, 1, 512, 128),
        "conv9_2": (3, 3, 128, 256),
        "conv10_1": (1, 1, 256, 128),
        "conv10_2": (3, 3, 128, 256),
        "conv11_1": (1, 1, 256, 128),
        "conv11_2": (3, 3, 128, 256),
        "conv12_1": (1, 1, 256, 128),
        "conv12_2": (4, 4, 128, 256),
    }


def test_no_parameter_depends_on_the_size_of_the_image():
    model = ssd.create_network(small_config(), 3, PER_CELL[300])
    of_size = [
        jax.eval_shape(
            lambda key, size=size: model.init(key, jnp.zeros((1, size, size, 3)), train=False),
            jax.random.key(0),
        )
        for size in (64, 300)
    ]
    assert jax.tree.map(jnp.shape, of_size[0]) == jax.tree.map(jnp.shape, of_size[1])


class Identity(ssd_network.nn.Module):
    """A backbone whose two features are its images, and levels that are those features."""

    levels: int = 2

    def __call__(self, x):
        return (x, x)[: self.levels]


class NoLayers(ssd_network.nn.Module):
    def __call__(self, x):
        return ()


def test_the_order_of_predictions_is_row_column_anchor():
    # Two levels of 2 x 2 cells; a head of 3 anchors with 2 values has output channels anchor-major.
    model = ssd_network.SSD(
        backbone=Identity(),
        l2_norm=ssd_network.ChannelNorm(initial_scale=1.0),
        extra_layers=NoLayers(),
        classification_heads=tuple(ssd_network.head_convolution(6, jnp.float32) for _ in range(2)),
        localization_heads=tuple(ssd_network.head_convolution(12, jnp.float32) for _ in range(2)),
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
    )
    # One pixel, at row 1 and column 0, is (10, 0, 0); its normalized vector is (1, 0, 0).
    x = jnp.zeros((1, 2, 2, 3)).at[0, 1, 0, 0].set(10.0)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables["params"])
    params["l2_norm"]["scale"] = jnp.ones(3)
    for level in range(2):
        # Only the center tap of the kernel, which then sees nothing but its own location.
        head = params[f"classification_heads_{level}"]
        head["kernel"] = head["kernel"].at[1, 1, 0].set(jnp.arange(1.0, 7.0))
    predictions = model.apply({"params": params}, x, train=False).per_anchor()
    for logits, factor in zip(predictions.logits, (1, 10), strict=True):
        expected = np.zeros((4, 3, 2))
        # Row 1, column 0 is location 2 of four.
        expected[2] = [[1, 2], [3, 4], [5, 6]]
        np.testing.assert_allclose(logits, factor * expected.reshape(1, 12, 2), rtol=1e-6)
    assert [deltas.shape for deltas in predictions.deltas] == [(1, 12, 4)] * 2


def test_the_norm_over_channels_by_hand():
    # |(3, 4)| = 5, so 20 * (3, 4) / 5 = (12, 16); the scale is of the channel.
    x = jnp.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]])
    norm = ssd_network.ChannelNorm()
    variables = norm.init(jax.random.key(0), x)
    np.testing.assert_allclose(norm.apply(variables, x), [[12, 16], [0, 0], [0, -20]], rtol=1e-6)
    scaled = norm.apply({"params": {"scale": jnp.array([1.0, 10.0])}}, x)
    np.testing.assert_allclose(scaled, [[0.6, 8], [0, 0], [0, -10]], rtol=1e-6)
    assert norm.apply(variables, x.astype(jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-13, 1e18])
def test_the_norm_and_its_gradient_are_finite(value):
    norm = ssd_network.ChannelNorm()
    x = jnp.full((2, 3), value).at[0, 0].set(0.0)
    variables = norm.init(jax.random.key(0), x)
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(norm.apply(variables, x)))(x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_extra_levels_are_after_their_relu():
    extra = ssd_network.ExtraLayers(input_size=300, width=1)
    x = jax.random.normal(jax.random.key(0), (1, 19, 19, 16))
    levels, variables = jax.jit(extra.init_with_output)(jax.random.key(1), x)
    assert [level.shape for level in levels] == [
        (1, 10, 10, 8),
        (1, 5, 5, 4),
        (1, 3, 3, 4),
        (1, 1, 1, 4),
    ]
    assert all(float(level.min()) >= 0.0 for level in levels)
    assert float(levels[0].max()) > 0.0
    # Xavier: uniform within sqrt(6 / (fan_in + fan_out)), here sqrt(6 / (9 * (4 + 8))) = .2357.
    kernel = variables["params"]["conv8_2"]["kernel"]
    assert 0.9 * 0.2357 < float(jnp.abs(kernel).max()) <= 0.2358
    assert not np.any(variables["params"]["conv8_2"]["bias"])


def test_bfloat16_reaches_the_predictions():
    predictions, variables = predictions_of(small_config(dtype="bfloat16"))
    assert predictions.logits[0].dtype == predictions.deltas[0].dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"backbone": "resnet50"}, "model.backbone is 'resnet50'; that of an SSD must be 'vgg16'"),
        ({"input_size": 400}, "model.input_size is 400; it must be one of 300, 512"),
        (
            {"input_size": 512},
            "SSD of model.input_size 512 has 7 levels, but anchors are given for 6",
        ),
    ],
)
def test_what_is_no_ssd_is_refused(model, words):
    with pytest.raises(ValueError, match=words):
        predictions_of(small_config(**model), per_cell=PER_CELL[300])
