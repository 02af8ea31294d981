"""Training on one batch, again and again: whatever learns at all fits it."""

import jax
import numpy as np

from ioub_jax.data import batching, pipeline
from ioub_jax.from_config import data_parts, training_parts


def train(config, steps):
    """The metrics of the steps, name -> `[steps]`; `config` is of eight classes."""
    detector = training_parts.detector_of(config, 8)
    trainer = training_parts.trainer_of(config, detector)
    state = trainer.create_state()
    source = data_parts.create_source(config.data, "train")
    plan = batching.BatchPlan(source.sizes, config.batch_size, 0, config.data.canvases)
    with pipeline.training_batches(
        source, plan, seed=0, start_step=0, num_steps=1, max_boxes=config.data.max_boxes
    ) as batches:
        on_devices = detector.on_devices(next(iter(batches)))
    history = []
    for _ in range(steps):
        state, metrics = trainer.train_step(state, *on_devices)
        history.append(jax.device_get(metrics))
    return {name: np.array([step[name] for step in history]) for name in history[0]}
