"""Our detectors with the weights, the images and the ground truth of a fixture."""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import torchvision
from ioub_jax import objective, weights
from ioub_jax.detectors import AnchorObjective, PlacedDetector
from ioub_jax.from_config import training_parts
from ioub_jax.models import ssd_network, ssdlite_network
from tests.parity import synthetic
from tests.parity.comparison import Reference, pair_detections

#: What is run once need not be fast.
COMPILED_ONCE = {"xla_backend_optimization_level": 0}

#: A gradient jumps where rounding moves a unit over the kink of its ReLU, or lets another pixel win
#: a pool. Torchvision's own gradients of a backbone change by up to 1.4e-3 of their scale with
#: another library of convolutions, or with 3e-7 of noise on the image.
GRADIENT_TOLERANCE = 2e-3

# Where the levels come from, of an SSD and an SSDLite six.
_SSD_LEVELS = ("l2_norm", "backbone", "extra_layers")
_SSDLITE_LEVELS = ("backbone", *(f"extra_blocks_{i}" for i in range(4)))


def configuration(
    imported: weights.ImportedDetector, shape: tuple[int, int, int]
) -> ml_collections.ConfigDict:
    """What a user writes to train the imported detector with torchvision's losses."""
    config = torchvision.get_config(imported.architecture)
    config.update(imported.config)
    config.batch_size = config.evaluation.batch_size = shape[0]
    config.data.canvases = (tuple(shape[1:]),)
    config.runtime.devices = 1
    return config


def batch(targets: Any, images: np.ndarray, category_ids: Iterable[int]) -> dict[str, np.ndarray]:
    """A batch as the pipeline makes it, of ground truth as torchvision takes it."""
    label_of = {id_: label for label, id_ in enumerate(category_ids)}
    count, slots = len(targets), max(len(labels) for _, labels in targets)
    made = {
        "image": images,
        "image_size": np.full((count, 2), images.shape[1:3], np.int32),
        "scale": np.ones((count, 2), np.float32),
        "boxes": np.zeros((count, slots, 4), np.float32),
        "labels": np.full((count, slots), -1, np.int32),
        **{
            flag: np.zeros((count, slots), bool)
            for flag in ("valid", "crowd", "difficult", "ignored")
        },
    }
    for i, image in enumerate(targets):
        for slot, (box, label) in enumerate(zip(*image, strict=True)):
            made["boxes"][i, slot] = box
            made["labels"][i, slot] = label_of[label]
            made["valid"][i, slot] = True
    return made


class Outputs(NamedTuple):
    """What our detector computes of the batch of a fixture, in numpy.

    Attributes:
      reference: the fixture.
      config: the configuration.
      tensors: by the names they have in the fixture.
      labels: `[B, N]` of every anchor, -1 background, -2 ignored.
      gt_index: `[B, N]` the box it is matched to.
      detections: of every image `boxes`, `scores` and `labels` (torchvision's).
    """

    reference: Reference
    config: ml_collections.ConfigDict
    tensors: dict[str, np.ndarray]
    labels: np.ndarray
    gt_index: np.ndarray
    detections: list[dict[str, np.ndarray]]


@functools.cache
def outputs(name: str) -> Outputs:
    """Runs our counterpart of a detector of torchvision."""
    reference = Reference(name)
    state = reference.state_dict()
    imported = weights.detector_of(state, name=name)
    assert imported.architecture == name
    config = configuration(imported, reference.settings["images"])
    detector = training_parts.detector_of(config, imported.num_classes)
    images = synthetic.images(reference.settings["images"], reference.settings["seed"])
    made = batch(reference.settings["targets"], images, imported.category_ids)
    on_devices, anchors = detector.on_devices(made)
    gradient_of = jax.jit(
        jax.value_and_grad(_loss_function(detector), has_aux=True), compiler_options=COMPILED_ONCE
    )
    (_, (metrics, predictions, features, decoded, matches)), gradients = gradient_of(
        imported.variables["params"], imported.variables.get("batch_stats", {}), on_devices, anchors
    )
    found = jax.device_get(detector.predict(imported.variables, on_devices, anchors))
    tensors = {
        f"{kind}/{i}": np.asarray(level)
        for kind, levels in (
            ("features", features),
            ("logits", predictions.logits),
            ("deltas", predictions.deltas),
            ("anchors", anchors),
            ("decoded", decoded),
        )
        for i, level in enumerate(levels)
    }
    for i, level in enumerate(predictions.others.get("quality", ())):
        tensors[f"centreness/{i}"] = np.asarray(level)
    tensors["losses/classification"] = np.asarray(metrics["loss_classification"])
    tensors["losses/bbox_regression"] = np.asarray(metrics["loss_localization"])
    if "loss_quality" in metrics:
        tensors["losses/bbox_ctrness"] = np.asarray(metrics["loss_quality"])
    tensors |= _gradients(reference, state, gradients)
    detections = [_detections(found, i, imported.category_ids) for i in range(len(found.valid))]
    return Outputs(
        reference,
        config,
        tensors,
        np.asarray(matches.labels),
        np.asarray(matches.gt_index),
        detections,
    )


def _loss_function(detector: PlacedDetector) -> Any:
    """The loss as the training step has it, but for the statistics of trained batch norms."""
    model, of_anchors = detector.network, detector.detector.objective
    assert isinstance(of_anchors, AnchorObjective)
    parts = _parts(model)

    def loss_of(params: Any, batch_stats: Any, batch: Any, anchors: Any) -> Any:
        predictions, captured = model.apply(
            {"params": params, "batch_stats": batch_stats},
            batch["image"],
            train=False,
            capture_intermediates=lambda module, _: module.name in parts,
        )
        matches, targets = of_anchors.match(batch, anchors)
        options = of_anchors.losses
        result = objective.detection_objective(
            predictions.logits,
            predictions.deltas,
            anchors,
            matches,
            targets,
            w_loc=jnp.float32(1.0),
            moving_average=jnp.float32(100.0),
            options=options,
            others=predictions.others,
        )
        decoded = [
            options.codec.decode(delta, level[None])
            for delta, level in zip(predictions.per_anchor().deltas, anchors, strict=True)
        ]
        outputs = [captured["intermediates"][part]["__call__"][0] for part in parts]
        features = _features(parts, outputs)
        per_anchor = predictions.per_anchor()
        return result.loss, (result.metrics, per_anchor, features, decoded, matches)

    return loss_of


def _parts(model: Any) -> tuple[str, ...]:
    """The modules that put out the levels."""
    if isinstance(model, ssd_network.SSD):
        return _SSD_LEVELS
    return _SSDLITE_LEVELS if isinstance(model, ssdlite_network.SSDLite) else ("pyramid",)


def _features(parts: tuple[str, ...], outputs: list[Any]) -> Any:
    """The levels, of what their modules put out."""
    if parts == _SSD_LEVELS:
        return (outputs[0], outputs[1][1], *outputs[2])
    return (*outputs[0], *outputs[1:])


def _gradients(
    reference: Reference, state: dict[str, np.ndarray], gradients: Any
) -> dict[str, np.ndarray]:
    """The gradients of the fixture, and of all frozen parameters, in the layout of torch.

    An import is a permutation: that of a state dict of running numbers says where in torch's
    parameters each of ours comes from.
    """
    kept = [name.removeprefix("gradients/") for name in reference.names("gradients/")]
    kept += reference.settings["frozen"]
    numbered = {name: np.zeros(value.shape, np.float32) for name, value in state.items()}
    start = 1
    for name in kept:
        stop = start + state[name].size
        numbered[name] = np.arange(start, stop, dtype=np.float32).reshape(state[name].shape)
        start = stop
    assert start < 2**24  # exact in float32
    positions = weights.detector_of(numbered, name=reference.name).variables["params"]
    flat = np.full(start, np.nan, np.float32)

    def scatter(position: np.ndarray, gradient: jax.Array) -> None:
        flat[position.astype(np.int64)] = gradient

    jax.tree.map(scatter, positions, gradients)
    flat, found = flat[1:], {}
    for name in kept:
        found[f"gradients/{name}"] = flat[: state[name].size].reshape(state[name].shape)
        flat = flat[state[name].size :]
    return found


def _detections(found: Any, image: int, category_ids: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The detections of an image without their padding, with the labels of torchvision."""
    valid = found.valid[image]
    return {
        "boxes": found.boxes[image][valid],
        "scores": found.scores[image][valid],
        "labels": np.asarray(category_ids)[found.labels[image][valid]],
    }


def check_detections(ours: Outputs) -> None:
    """Every detection of torchvision is one of ours, and there are no more of them."""
    for i, found in enumerate(ours.detections):
        names = {key: f"detections/{i}/{key}" for key in ("boxes", "scores", "labels")}
        expected = {key: ours.reference.whole(name) for key, name in names.items()}
        assert len(found["scores"]) == len(expected["scores"]) > 0
        pairs = pair_detections(expected, found)
        assert sorted(pairs) == list(range(len(pairs)))
        assert np.all(np.diff(found["scores"]) <= 0)
        ours.reference.check({names[key]: found[key][pairs] for key in names})


def check_matches(ours: Outputs) -> None:
    """Every anchor is matched as torchvision's is: to the same box, to none, or ignored."""
    targets = ours.reference.settings["targets"]
    for i, (true_boxes, _) in enumerate(targets):
        found = np.where(ours.labels[i] >= 0, ours.gt_index[i], ours.labels[i])
        expected = ours.reference.whole(f"matches/{i}") if true_boxes else np.full(len(found), -1)
        np.testing.assert_array_equal(found, expected)


def check_gradients(ours: Outputs) -> None:
    """The gradients of the fixture agree, and what torchvision freezes gets none."""
    frozen = [f"gradients/{name}" for name in ours.reference.settings["frozen"]]
    assert frozen or ours.reference.name.startswith("ssdlite"), "of which nothing is frozen"
    assert all(np.all(ours.tensors[name] == 0.0) for name in frozen)
    tensors = {name: ours.tensors[name] for name in ours.reference.names("gradients/")}
    heads = {name: value for name, value in tensors.items() if name.startswith("gradients/head.")}
    ours.reference.check(heads)
    below = {name: value for name, value in tensors.items() if name not in heads}
    ours.reference.check(below, tolerance=GRADIENT_TOLERANCE)


def check(ours: Outputs, kind: str) -> None:
    """The tensors of a kind agree."""
    ours.reference.check({name: ours.tensors[name] for name in ours.reference.names(kind)})
