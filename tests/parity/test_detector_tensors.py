"""Torchvision's detectors: all they put out, what they are trained on, and the gradients."""

import pytest

from ioub_jax import anchors
from tests.parity import imported
from tests.parity.comparison import Reference

_KINDS = ("features/", "logits/", "deltas/", "anchors/", "decoded/")
#: Detector -> the kinds of tensors that its levels have.
KINDS = {
    "retinanet_resnet50_fpn": _KINDS,
    "retinanet_resnet50_fpn_v2": _KINDS,
    "fcos_resnet50_fpn": (*_KINDS, "centreness/"),
    "ssd300_vgg16": _KINDS,
    "ssdlite320_mobilenet_v3_large": _KINDS,
}
# Each takes more than ten seconds on two cores, so one is looked at every day.
MARKS = dict.fromkeys(KINDS, pytest.mark.slow) | {"retinanet_resnet50_fpn": ()}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS[name]) for name in KINDS])
def ours(request):
    return imported.outputs(request.param)


@pytest.mark.parametrize(
    ("ours", "kind"),
    [
        pytest.param(name, kind, marks=MARKS[name])
        for name, kinds in KINDS.items()
        for kind in kinds
    ],
    indirect=["ours"],
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


def test_anchors_of_a_usual_canvas():
    reference = Reference("retinanet_resnet50_fpn")
    levels = anchors.retinanet_anchors(
        (800, 1088), center_offset=0.0, whole_sizes=True, stride_from_grid=True
    )
    reference.check({f"anchors_800x1088/{i}": level for i, level in enumerate(levels)})
