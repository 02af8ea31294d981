"""Torchvision's FCOS with ResNet-50: all it puts out, what it is trained on, and the gradients."""

import pytest

from tests.parity import imported

pytestmark = pytest.mark.slow  # more than ten seconds on two cores


@pytest.fixture(scope="module")
def ours():
    return imported.outputs("fcos_resnet50_fpn")


@pytest.mark.parametrize(
    "kind", ["features/", "logits/", "deltas/", "centreness/", "anchors/", "decoded/"]
)
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
