"""A batch in parts has the gradient of the batch at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import matching, objective
from ioub_jax.data import batching, pipeline
from ioub_jax.devices import placement
from ioub_jax.from_config import data_parts, training_parts
from ioub_jax.models import Predictions
from ioub_jax.training import gradients, steps
from tests import tiny

CLASSES = 3


def forward(params, batch_stats, images):
    """Two levels of one linear layer each, and a statistic that follows every part."""
    x = images.reshape(images.shape[0], -1, 16)
    predictions = Predictions(
        logits=tuple(x[:, level::2] @ params["logits"] - 2.0 for level in (0, 1)),
        deltas=tuple(x[:, level::2] @ params["deltas"] for level in (0, 1)),
    )
    return predictions, batch_stats + jnp.mean(images)


def problem(options):
    """Parameters, images and the objective of eight images with 12 anchors on two levels."""
    rng = np.random.default_rng(0)
    params = {
        "logits": jnp.asarray(rng.normal(size=(16, CLASSES)), jnp.float32),
        "deltas": jnp.asarray(0.2 * rng.normal(size=(16, 4)), jnp.float32),
    }
    images = jnp.asarray(rng.normal(size=(8, 8, 8, 3)), jnp.float32)
    corners = rng.uniform(0, 40, (12, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (12, 2))], 1)
    anchors = tuple(jnp.asarray(boxes[level::2], jnp.float32) for level in (0, 1))
    # Images have between 0 and 7 positives.
    labels = np.where(np.arange(12) < np.arange(8)[:, None], rng.integers(0, CLASSES, (8, 12)), -1)
    matches = matching.Matches(
        labels=jnp.asarray(labels, jnp.int32),
        gt_index=jnp.asarray(rng.integers(0, 3, (8, 12)), jnp.int32),
        iou=jnp.zeros((8, 12)),
    )
    targets = jnp.asarray(boxes[None] + rng.normal(scale=3.0, size=(8, 12, 4)), jnp.float32)
    objective_of = functools.partial(
        run_objective, anchors=anchors, matches=matches, targets=targets, options=options
    )
    return params, images, objective_of


def run_objective(predictions, **known):
    return objective.detection_objective(
        *predictions[:2], w_loc=jnp.float32(3.0), moving_average=jnp.float32(100.0), **known
    )


# Normalizers over the positives of the batch; over a level of the batch; over the batch (eq. 5);
# and a sort of the whole batch, with weights that have a gradient.
@pytest.mark.parametrize(
    ("parts", "devices", "classification", "localization", "normalizer"),
    [
        (4, 1, {"eta": 0.0}, {"lambda_": 0.0}, "positives"),
        (2, 4, {"normalizer_scope": "level"}, {}, "positives_at_least_one_per_image"),
        (2, 4, {"normalizer_scope": "batch"}, {"dynamic": True}, "moving_average"),
        (4, 2, {"eta": 0.0, "isr_p": True}, {"lambda_": 0.0, "carl_weight": 1.0}, "per_image"),
    ],
)
def test_parts_are_the_whole_batch(parts, devices, classification, localization, normalizer):
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(**classification),
        objective.LocalizationOptions(**localization),
        normalizer,
    )
    params, images, objective_of = problem(options)
    mesh = placement.create_mesh(devices)
    images = jax.device_put(
        images, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    )
    whole, in_parts = (
        jax.jit(functools.partial(of, forward, objective_of, **arguments))(
            params, jnp.float32(0.0), images
        )
        for of, arguments in (
            (gradients.gradient_at_once, {}),
            (gradients.accumulated_gradient, {"parts": parts, "mesh": mesh}),
        )
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
        (in_parts.params, in_parts.objective),
        (whole.params, whole.objective),
    )
    # The mean of every part once, so their sum is the mean of the batch so many times.
    np.testing.assert_allclose(in_parts.batch_stats, parts * whole.batch_stats, rtol=1e-4)


def two_steps(devices, **runtime):
    """Metrics of two steps of a detector, and the state after them."""
    config = tiny.get_config()
    config.loss.localization.w_loc = 3.0
    config.model.norm = "group_norm"
    config.runtime.update({"devices": devices, **runtime})
    detector = training_parts.detector_of(config, 8)
    trainer = training_parts.trainer_of(config, detector)
    state = trainer.create_state()
    source = data_parts.create_source(config.data, "train")
    plan = batching.BatchPlan(source.sizes, 8, 0, config.data.canvases)
    metrics = []
    with pipeline.training_batches(
        source, plan, seed=0, start_step=0, num_steps=2, max_boxes=16
    ) as batches:
        for batch in batches:
            state, values = trainer.train_step(state, *detector.on_devices(batch))
            metrics.append(jax.device_get(values))
    return metrics, jax.device_get(state)


def kept(capsys, rematerialize):
    """What a small detector keeps for the gradient by the images, one line an array."""
    config = tiny.get_config()
    detector = training_parts.detector_of(config, 3)
    images = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(
        lambda: detector.network.init(jax.random.key(0), images, train=False)
    )
    forward = steps._forward(detector.network, rematerialize)

    def loss_of(params, batch_stats):
        predictions, _ = forward(params, batch_stats, images)
        return sum(jnp.sum(level) for level in predictions.logits + predictions.deltas)

    capsys.readouterr()
    jax.ad_checkpoint.print_saved_residuals(loss_of, variables["params"], variables["batch_stats"])
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if "from the argument" not in line]


def test_what_is_rematerialized_is_not_kept(capsys):
    everything, between, blocks = (
        kept(capsys, what) for what in ("nothing", "activations", "blocks")
    )
    assert len(blocks) < len(between) < len(everything)
    # The pool, eight residual blocks and five levels. (jax 0.10.1 tells of them by no name.)
    assert sum("(block_result)" in line for line in blocks) == 14


@pytest.mark.slow
def test_a_detector_trains_the_same_in_parts_on_several_devices():
    parts = {"gradient_accumulation": 2, "rematerialize": "activations"}
    (metrics, state), (metrics_of_parts, state_of_parts) = two_steps(1), two_steps(4, **parts)
    for first, second in zip(metrics, metrics_of_parts, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_allclose(second[name], value, rtol=1e-4, err_msg=name)
    for first, second in zip(
        jax.tree.leaves(state.opt_state), jax.tree.leaves(state_of_parts.opt_state), strict=True
    ):
        # The momentum is the gradients of both steps. Relative to the largest of each array.
        assert np.abs(first - second).max() <= 1e-4 * np.abs(first).max() + 1e-7
