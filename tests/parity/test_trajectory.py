"""Twenty steps of torchvision's RetinaNet and of ours, from the same weights, stay together."""

import jax
import numpy as np
import pytest

from ioub_jax import weights
from ioub_jax.devices import placement
from ioub_jax.from_config import training_parts
from tests.parity import imported, synthetic
from tests.parity.comparison import Reference

#: Largest difference of a step's loss, relative to it.
TOLERANCE = 1e-3


@pytest.mark.slow
def test_losses_of_twenty_steps():
    reference = Reference("trajectory")
    settings = reference.settings
    state_dict = synthetic.untrained_heads(Reference("retinanet_resnet50_fpn").state_dict())
    found = weights.detector_of(state_dict, name="trajectory")
    config = imported.configuration(found, settings["images"])
    config.schedule.update({"name": "constant", "warmup_images": 0})
    config.schedule.base_learning_rate = settings["learning_rate"]
    config.schedule.reference_batch_size = config.batch_size
    config.optimizer.momentum = settings["momentum"]
    config.optimizer.weight_decay = settings["weight_decay"]
    detector = training_parts.detector_of(config, found.num_classes)
    trainer = training_parts.trainer_of(config, detector)
    # Nothing has moved yet: the momentum is 0.
    shapes = trainer.abstract_state
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = state.replace(
        params=found.variables["params"],
        batch_stats=found.variables["batch_stats"],
        w_loc=np.float32(1.0),
    )
    state = jax.device_put(state, placement.replicated(detector.mesh))
    batches = [
        detector.on_devices(
            imported.batch(
                targets,
                synthetic.images(settings["images"], settings["seed"] + 10 * i),
                found.category_ids,
            )
        )
        for i, targets in enumerate(settings["targets"])
    ]
    losses = []
    for step in range(settings["steps"]):
        state, metrics = trainer.train_step(state, *batches[step % len(batches)])
        losses.append([metrics["loss_classification"], metrics["loss_localization"]])
    ours, expected = np.asarray(losses), reference.whole("losses")
    totals = expected.sum(axis=1)
    differences = np.abs(ours.sum(axis=1) - totals) / totals
    print("step  torchvision: class, box   ours                  difference of the sums")
    for step, ((a, b), (c, d), difference) in enumerate(
        zip(expected, ours, differences, strict=True)
    ):
        print(f"{step:4}  {a:.6f} {b:.6f}         {c:.6f} {d:.6f}     {difference:.1e}")
    assert np.all(differences <= TOLERANCE)
    # It has learned something: of every batch the last loss is below the first.
    assert np.all(ours[-4:].sum(axis=1) < 0.98 * ours[:4].sum(axis=1))
