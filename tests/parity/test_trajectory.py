"""Twenty steps of torchvision's detectors and of ours, from the same weights, stay together."""

import jax
import numpy as np
import pytest

from ioub_jax import weights
from ioub_jax.devices import placement
from ioub_jax.from_config import training_parts
from ioub_jax.weights import mapping
from ioub_jax.weights.torchvision_detectors import KEYS
from tests.parity import imported, synthetic
from tests.parity.comparison import Reference

#: Largest difference of a step's loss, relative to it.
TOLERANCE = 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("trajectory", "retinanet_resnet50_fpn"),
        ("trajectory_fcos", "fcos_resnet50_fpn"),
        ("trajectory_ssdlite", "ssdlite320_mobilenet_v3_large"),
    ],
)
def test_losses_of_twenty_steps(name, architecture):
    reference = Reference(name)
    settings = reference.settings
    state_dict = synthetic.untrained_heads(Reference(architecture).state_dict())
    found = weights.detector_of(state_dict, name=name)
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
        terms = ("loss_classification", "loss_localization", "loss_quality")
        losses.append([metrics[term] for term in terms if term in metrics])
    ours, expected = np.asarray(losses), reference.whole("losses")
    totals = expected.sum(axis=1)
    differences = np.abs(ours.sum(axis=1) - totals) / totals
    print("step  torchvision: every loss; ours; difference of the sums")
    for step, rows in enumerate(zip(expected, ours, strict=True)):
        theirs, mine = (" ".join(f"{value:.6f}" for value in row) for row in rows)
        print(f"{step:4}  {theirs}     {mine}     {differences[step]:.1e}")
    assert np.all(differences <= TOLERANCE)
    # It has learned something: of every batch the last loss is below the first.
    count = len(batches)
    assert np.all(ours[-count:].sum(axis=1) < 0.98 * ours[:count].sum(axis=1))
    # Norms that learn carry the statistics of all batches.
    names = reference.names("statistics/")
    if names:
        stats = {"batch_stats": jax.device_get(state.batch_stats)}
        _check_statistics(reference, names, mapping.collect(stats, KEYS[architecture]))


def _check_statistics(reference, names, ours):
    """Ours are not further from torchvision's than those of its training from rounded weights."""
    perturbed = reference.whole("perturbed_losses").sum(axis=1)
    totals = reference.whole("losses").sum(axis=1)
    print("of torchvision from rounded weights:")
    print(f"  losses {np.max(np.abs(perturbed - totals) / totals):.1e}")
    for name in names:
        error = reference.error(name, ours[name.removeprefix("statistics/")])
        own = reference.error(name, reference.whole(f"perturbed_{name}"))
        print(f"  {name}: {own:.1e}, of ours {error:.1e}")
        assert error <= max(TOLERANCE, 3.0 * own)
