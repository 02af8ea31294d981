"""Torchvision's SSD300 with VGG16: all it puts out, what it is trained on, and the gradients."""

import pytest

from tests.parity import imported

pytestmark = pytest.mark.slow  # half a minute, as RetinaNet's are in the quick ones


@pytest.fixture(scope="module")
def ours():
    return imported.outputs("ssd300_vgg16")


@pytest.mark.parametrize("kind", ["features/", "logits/", "deltas/", "anchors/", "decoded/"])
def test_tensors_of_every_level(ours, kind):
    imported.check(ours, kind)


def test_detections(ours):
    imported.check_detections(ours)


def test_matches(ours):
    imported.check_matches(ours)


def test_losses(ours):
    imported.check(ours, "losses/")


def test_gradients(ours):
    imported.check_gradients(ours)
