"""A detector on devices: its anchors, its variables, and what does not fit it."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import detectors
from ioub_jax.detectors import PlacedDetector
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.models import Predictions
from tests import tiny


class Network(nn.Module):
    """One convolution a level, with so many anchors and logits and so large a kernel."""

    anchors: int = 9
    logits: int = 8
    kernel: int = 1

    @nn.compact
    def __call__(self, images, *, train):
        x = jnp.mean(images / 255.0, axis=-1, keepdims=True)
        logits, deltas = [], []
        for stride in (8, 16, 32, 64, 128):
            size = [-(-side // stride) for side in images.shape[1:3]]
            level = jax.image.resize(x, (len(images), *size, 1), "linear")
            kernel = (self.kernel, self.kernel)
            logits.append(nn.Conv(self.anchors * self.logits, kernel)(level))
            deltas.append(nn.Conv(self.anchors * 4, kernel)(level))
        return Predictions(tuple(logits), tuple(deltas))


def place(network=None, devices=1):
    detector = detectors.create(tiny.get_config(), num_classes=8)
    if network is not None:
        detector = dataclasses.replace(detector, network=network)
    return PlacedDetector(detector, placement.create_mesh(devices))


def test_anchors_are_those_of_the_levels_on_every_device():
    placed = place(devices=2)
    anchors = placed.anchors_of((64, 64))
    # 64 + 16 + 4 + 1 + 1 locations with nine anchors each.
    assert [level.shape for level in anchors] == [(n * 9, 4) for n in (64, 16, 4, 1, 1)]
    assert anchors[0].sharding.is_fully_replicated
    for on_devices, on_host in zip(anchors, placed.host_anchors((64, 64)), strict=True):
        np.testing.assert_array_equal(on_devices, on_host)
    assert placed.anchors_of((64, 64)) is anchors


def test_variables_without_values_have_the_shapes_of_the_others():
    placed = place()
    shapes = jax.tree.map(lambda leaf: leaf.shape, placed.init_variables(np.int32(0)))
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, placed.abstract_variables)


def test_a_network_of_ones_own_detects():
    placed = place(Network())
    placed.check((64, 64), num_classes=8)
    batch = {
        "image": np.zeros((2, 64, 64, 3), np.uint8),
        "image_size": np.full((2, 2), 64, np.float32),
        "scale": np.full((2, 2), 0.5, np.float32),
    }
    found = placed.predict(placed.init_variables(np.int32(0)), *placed.on_devices(batch))
    assert found.boxes.shape == (2, 100, 4)
    # Half the pixels of the originals: boxes reach twice as far.
    assert 64 < float(found.boxes.max()) <= 128


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Network(anchors=3), r"deltas of \[192, 48, 12, 3, 3\] anchors, .* \[576, 144, 36, 9, 9\]"),
        (Network(logits=5), "5 logits per anchor, but 8 classes need 8, or .* 9"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network, words):
    with pytest.raises(ConfigError, match=words):
        place(network).check((64, 64), num_classes=8)


def test_a_softmax_has_a_column_more():
    place(Network(logits=9)).check((64, 64), num_classes=8)
