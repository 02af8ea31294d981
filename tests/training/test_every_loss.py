"""Every loss trains by its name in the configuration, in a whole network, not in a stand-in.

Fifty steps on one batch lower the loss and let the boxes of positives fit better.
"""

import numpy as np
import pytest

from ioub_jax.configs import ssdlite_defaults
from ioub_jax.objective import options
from tests import tiny
from tests.training import one_batch

pytestmark = pytest.mark.slow  # every case compiles a train step

CLASSIFICATION = [name for name in options.CLASSIFICATION_LOSSES if name != "softmax"]
#: Beside the names: what changes any of them.
WITH_OPTIONS = {
    "inner": {"name": "ciou", "inner": 0.7},
    "focaler": {"name": "giou", "focaler": (0.0, 0.95)},
    "alpha": {"name": "diou", "power": 3.0},
    "iou_balanced siou": {"name": "siou", "lambda_": 1.5, "dynamic": True},
}
#: A box loss of each kind of state and argument.
IN_SSD = ("smooth_l1", "giou", "focal_eiou", "mpdiou", "wiou_v3", "nwd")


def retinanet():
    config = tiny.get_config("baseline")
    config.schedule.base_learning_rate = 0.02
    return config


def ssdlite():
    """An SSDLite of 64 pixels, whose levels have 4, 2, 1, 1, 1 and 1 cells a side."""
    config = ssdlite_defaults.get_config("baseline", 64)
    config.model.width = 8
    config.batch_size = 8
    config.data.update({"source": "shapes", "max_boxes": 16})
    config.data.shapes.update({"num_train": 50, "image_size": (64, 64)})
    config.schedule.base_learning_rate = 0.01
    config.loss.calibration_batches = 2
    config.runtime.devices = 1
    return config


def train(config):
    """Metrics of fifty steps on one batch, each `[50]`."""
    config.schedule.update({"name": "constant", "images": 64 * 8, "warmup_images": 8 * 8})
    return one_batch.train(config, 50)


def assert_learned(metrics, rise):
    assert all(np.isfinite(values).all() for values in metrics.values())
    assert metrics["loss"][-5:].mean() < metrics["loss"][:5].mean()
    assert metrics["mean_positive_iou"][-5:].mean() > metrics["mean_positive_iou"][0] + rise


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_loss_of_retinanet(name):
    config = retinanet()
    config.loss.classification.name = name
    assert_learned(train(config), 0.05)


@pytest.mark.parametrize("name", [*options.LOCALIZATION_LOSSES, *WITH_OPTIONS])
def test_localization_loss_of_retinanet(name):
    config = retinanet()
    config.loss.localization.update(WITH_OPTIONS.get(name, {"name": name}))
    assert_learned(train(config), 0.05)


@pytest.mark.parametrize("name", IN_SSD)
def test_localization_loss_of_ssdlite(name):
    config = ssdlite()
    config.loss.localization.name = name
    assert_learned(train(config), 0.02)


def test_iou_balanced_losses_of_ssdlite():
    config = ssdlite()
    config.loss.classification.eta = 1.5
    config.loss.localization.update({"lambda_": 1.5, "w_loc": 2.3})
    assert_learned(train(config), 0.02)
