"""The losses on validation images: those of the objective, of every image once."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.data.batching import assemble_batch, without_fillers
from ioub_jax.data.sources.example import create_example
from ioub_jax.detectors import Carried
from ioub_jax.from_config import data_parts, loading_parts, training_parts
from ioub_jax.training import evaluator, loop
from tests import tiny


def test_a_filling_image_is_one_region_to_ignore():
    example = create_example(np.float32([[1, 2, 3, 4]]), np.int32([2]), 5)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    examples = [
        create_example(example.boxes, example.labels, 5, image=images[row]) for row in (0, 1)
    ]
    sizes = np.full((2, 2), 8)
    batch = assemble_batch(images, examples, sizes, max_boxes=3, is_real=[True, False])
    changed = without_fillers(batch)
    assert changed["valid"].tolist() == [[True, False, False]] * 2
    assert changed["ignored"].tolist() == [[False] * 3, [True, False, False]]
    assert changed["boxes"][0].tolist() == batch["boxes"][0].tolist()
    assert (changed["boxes"][1, 0] == (-1e4, -1e4, 1e5, 1e5)).all()
    assert batch["ignored"].sum() == 0  # the batch itself stays


def test_a_moving_average_is_that_of_the_batches_that_are_evaluated():
    """80 positives in a batch of 16 images are 20 in one of 4; nothing else changes."""
    run = types.SimpleNamespace(
        options=types.SimpleNamespace(evaluation_batch_size=4, batch_size=16),
        state=types.SimpleNamespace(carried=Carried(jnp.float32(3.0), jnp.float32(80.0))),
    )
    carried = loop.Run._carried_to_evaluate(run)
    assert carried.moving_average == 20.0
    assert carried.w_loc == 3.0


@pytest.fixture(scope="module")
def evaluated():
    """The untrained tiny detector over 12 images, 8 at once: its losses and detections."""
    config = tiny.get_config()
    config.loss.localization.w_loc = 3.0
    placed = training_parts.detector_of(config, 8)
    state = training_parts.trainer_of(config, placed).create_state()
    source = data_parts.create_source(config.data, "val")
    loading = loading_parts.loading_of(config)
    metrics = training_parts.metrics_of(config)[:1]
    found = [
        evaluator.evaluate_source(
            functools.partial(*predict), source, placed, loading, metrics, 8, with_losses=losses
        )
        for losses, predict in (
            (True, (placed.predict_with_losses, state.variables, state.carried)),
            (False, (placed.predict, state.variables)),
        )
    ]
    return placed, state, source, loading, found


@pytest.mark.slow
def test_the_loss_is_the_mean_of_the_batches_by_their_images(evaluated):
    placed, state, source, loading, (evaluation, _) = evaluated
    with loading.evaluation_batches(source, 4) as batches:
        quarters = [dict(batch) for batch in batches]
    objective = jax.jit(
        lambda batch, anchors: (
            placed.detector.objective(
                placed.network.apply(state.variables, batch["image"], train=False),
                batch,
                anchors,
                state.carried,
            ).metrics
        )
    )

    def losses_of(*parts):
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return objective(*placed.on_devices(joined))

    # Twelve images of one size in their order: a batch of eight, and four that four fill up.
    first, second = losses_of(*quarters[:2]), losses_of(quarters[2])
    assert set(evaluation.losses) == {"loss", "loss_classification", "loss_localization"}
    for name, value in evaluation.losses.items():
        expected = (8 * float(first[name]) + 4 * float(second[name])) / 12
        assert value == pytest.approx(expected, rel=1e-5)
    assert float(first["loss"]) != pytest.approx(float(second["loss"]), rel=1e-3)
    assert evaluation.record()["loss"] == evaluation.losses["loss"]
    assert f"Loss {evaluation.losses['loss']:.4f} (classification " in evaluation.describe()


def test_the_detections_are_those_without_losses(evaluated):
    *_, (evaluation, without) = evaluated
    assert without.losses == {} and "Loss" not in without.describe()
    assert evaluation.results == without.results
