"""Both RetinaNets of torchvision: all they put out, what they are trained on, and the gradients."""

import pytest

from ioub_jax import anchors
from tests.parity import imported
from tests.parity.comparison import Reference

# Each takes more than ten seconds on two cores.
NAMES = (
    "retinanet_resnet50_fpn",
    pytest.param("retinanet_resnet50_fpn_v2", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=NAMES)
def ours(request):
    return imported.outputs(request.param)


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


def test_anchors_of_a_usual_canvas():
    reference = Reference(NAMES[0])
    levels = anchors.retinanet_anchors(
        (800, 1088), center_offset=0.0, whole_sizes=True, stride_from_grid=True
    )
    reference.check({f"anchors_800x1088/{i}": level for i, level in enumerate(levels)})
