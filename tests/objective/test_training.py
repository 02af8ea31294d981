"""Every loss that can be chosen trains: fifty steps on one batch lower it and move the boxes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ioub_jax import detectors, objective
from ioub_jax.data import batching, pipeline
from ioub_jax.from_config import data_parts, training_parts
from tests import tiny
from tests.every_day import one_of_a_kind

CLASSES, STRIDE = 8, 8
SIDES = (12, 16, 24, 32)  # of the stand-in's square anchors, in pixels

PLAIN = {"lambda_": 0.0}
CLASSIFICATION = {
    "focal": {"eta": 0.0},
    "eta 1.5": {"eta": 1.5},
    "quality_focal": {"name": "quality_focal", "eta": 0.0},
    "varifocal": {"name": "varifocal", "eta": 0.0},
    **{name: {"name": name, "eta": 0.0} for name in ("ia_bce", "ghm_c", "mal")},
    **{
        name: {"name": name, "eta": 0.0}
        for name in ("rank_and_sort", "bucketed_rank_and_sort", "average_lrp")
    },
    "correlation": {"eta": 0.0, "correlation_weight": 0.2},
    "isr_p": {"isr_p": True, "eta": 0.0},
    "softmax": {"name": "softmax", "eta": 0.0},
    "softmax, eta 1.5": {"name": "softmax", "eta": 1.5, "normalizer_scope": "image"},
    "softmax, isr_p": {"name": "softmax", "eta": 0.0, "isr_p": True},
}
LOCALIZATION = {
    "smooth_l1": PLAIN,
    "l1": {**PLAIN, "beta": 0.0},
    "lambda 1.5": {"lambda_": 1.5},
    "dynamic": {"lambda_": 1.5, "dynamic": True},
    "balanced_l1": {**PLAIN, "name": "balanced_l1"},
    "carl": {**PLAIN, "carl_weight": 1.0},
    **{name: {**PLAIN, "name": name} for name in ("iou", "giou", "diou", "ciou")},
    **{
        f"{name}, power 3": {**PLAIN, "name": name, "power": 3.0}
        for name in ("iou", "giou", "diou", "ciou")
    },
}


@pytest.fixture(scope="module")
def batch():
    """One batch of the tiny configuration, as the compiled steps take it."""
    config = tiny.get_config()
    source = data_parts.create_source(config.data, "train")
    plan = batching.BatchPlan(source.sizes, config.batch_size, 0, config.data.canvases)
    with pipeline.training_batches(
        source, plan, seed=0, start_step=0, num_steps=1, max_boxes=16
    ) as batches:
        return next(iter(batches))


# ------------------------------------------------------------------ a stand-in for a detector


def stand_in_anchors():
    """`[N, 4]`: squares around the center of each cell."""
    centers = (np.arange(64 // STRIDE) + 0.5) * STRIDE
    y, x, side = np.meshgrid(centers, centers, SIDES, indexing="ij")
    return np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], -1).reshape(-1, 4)


def convolve(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def predict(params, images):
    """`[B, N, columns]` logits and `[B, N, 4]` deltas of three convolutions."""
    x = images.astype(jnp.float32) / 128.0 - 1.0
    x = jax.nn.relu(convolve(x, params["first"], 4))
    x = jax.nn.relu(convolve(x, params["second"], 2))
    logits = convolve(x, params["logits"], 1).reshape(x.shape[0], -1, params["bias"].size)
    deltas = convolve(x, params["deltas"], 1).reshape(x.shape[0], -1, 4)
    return logits + params["bias"][None, None], deltas


def stand_in_parameters(softmax):
    columns = CLASSES + softmax
    shapes = {
        "first": (7, 7, 3, 16),
        "second": (3, 3, 16, 32),
        "logits": (3, 3, 32, len(SIDES) * columns),
        "deltas": (3, 3, 32, len(SIDES) * 4),
    }
    rng = np.random.default_rng(0)
    params = {
        name: jnp.asarray(rng.normal(0, np.prod(shape[:3]) ** -0.5, shape), jnp.float32)
        for name, shape in shapes.items()
    }
    # A head of small kernels: before training every box is nearly its anchor.
    params |= {name: 0.1 * params[name] for name in ("logits", "deltas")}
    # The prior probability of RetinaNet; a softmax starts with equal columns.
    params["bias"] = jnp.zeros(columns) if softmax else jnp.full(columns, -np.log(99.0))
    return params


@functools.partial(jax.jit, static_argnames="options")
def train_stand_in(params, images, matches, targets, anchors, options):
    """Metrics of fifty steps of Adam, each `[50]`."""
    optimizer = optax.adam(1e-3)
    halves = anchors.shape[0] // 2

    def loss_of(params):
        logits, deltas = predict(params, images)
        # Two levels, so that predictions are cut and joined as a pyramid's are.
        result = objective.detection_objective(
            (logits[:, :halves], logits[:, halves:]),
            (deltas[:, :halves], deltas[:, halves:]),
            (anchors[:halves], anchors[halves:]),
            matches,
            targets,
            w_loc=jnp.float32(1.0),
            moving_average=jnp.float32(100.0),
            options=options,
        )
        return result.loss, result.metrics

    def step(carry, _):
        params, state = carry
        (_, metrics), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), metrics

    _, metrics = jax.lax.scan(step, (params, optimizer.init(params)), length=50)
    return metrics


@pytest.fixture(scope="module")
def matched(batch):
    """The batch's images, matches and targets, and the anchors."""
    config = tiny.get_config()
    anchors = jnp.asarray(stand_in_anchors(), jnp.float32)
    flags = ("valid", "crowd", "difficult", "ignored")
    truth = {name: batch[name] for name in ("boxes", "labels", *flags)}
    objective_of_anchors = detectors.create(config, CLASSES).objective
    matches, targets = jax.jit(lambda truth: objective_of_anchors.match(truth, (anchors,)))(truth)
    return batch["image"], matches, targets, anchors


def assert_trained(metrics, slow=()):
    """Every term of the loss has fallen, and the boxes fit their objects better."""
    for name in (name for name in metrics if name.startswith("loss")):
        if name != "loss_normalizer":
            share = 1.0 if name in slow else 0.7
            assert metrics[name][-1] < share * metrics[name][0], name
    ious = metrics["mean_positive_iou"]
    assert ious[-1] > ious[0] + 0.15
    assert all(np.isfinite(values).all() for values in metrics.values())


def train(matched, classification, localization):
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(**classification),
        objective.LocalizationOptions(**localization),
    )
    params = stand_in_parameters(classification.get("name") == "softmax")
    return jax.device_get(train_stand_in(params, *matched, options=options))


#: Terms that are not most of the way down after fifty steps: a cross entropy has the entropy of its
#: targets left, which rise with the scores, and a correlation begins with scores of .01.
UNEVEN = {"ia_bce": ("loss", "loss_classification"), "correlation": ("loss_correlation",)}


@pytest.mark.parametrize("name", one_of_a_kind(CLASSIFICATION, "focal", "softmax", "rank_and_sort"))
def test_classification_loss_trains(matched, name):
    assert_trained(train(matched, CLASSIFICATION[name], PLAIN), UNEVEN.get(name, ()))


@pytest.mark.parametrize("name", one_of_a_kind(LOCALIZATION, "smooth_l1", "dynamic", "giou"))
def test_localization_loss_trains(matched, name):
    metrics = train(matched, {"eta": 0.0}, LOCALIZATION[name])
    assert_trained(metrics)
    assert ("loss_carl" in metrics) == (name == "carl")


def test_every_name_is_trained():
    classification = {options.get("name", "focal") for options in CLASSIFICATION.values()}
    localization = {options.get("name", "smooth_l1") for options in LOCALIZATION.values()}
    assert classification == set(objective.CLASSIFICATION_LOSSES)
    # The others on boxes alone, in tests/losses/test_box_losses.py.
    assert localization == {*objective.options.DELTA_LOSSES, "iou", "giou", "diou", "ciou"}


def test_dynamic_weights_leave_nothing_to_measure():
    for dynamic, measured in ((True, False), (False, True)):
        config = tiny.get_config("both")
        config.loss.localization.dynamic = dynamic
        trainer = training_parts.trainer_of(config, training_parts.detector_of(config, CLASSES))
        assert bool(np.isnan(trainer.create_state().w_loc)) == measured
