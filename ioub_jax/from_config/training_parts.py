"""A configuration's detector, optimizer, metrics and options."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import optax

from ioub_jax import detectors
from ioub_jax.configs import refusals
from ioub_jax.detectors import Detector, PlacedDetector
from ioub_jax.devices import placement, self_test
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.coco_metrics import CocoMetric
from ioub_jax.evaluation.dense_objects import COCO_DETECTIONS
from ioub_jax.evaluation.lvis_metrics import LvisMetric
from ioub_jax.evaluation.metric import Metric
from ioub_jax.evaluation.voc_metrics import VocMetric
from ioub_jax.from_config.loading_parts import loading_of
from ioub_jax.key_names import below, naming, naming_fields, with_keys
from ioub_jax.training import optimization, train_state
from ioub_jax.training.experiment import Trainer, TrainingOptions, create_trainer
from ioub_jax.training.initial_weights import InitialWeights
from ioub_jax.workdirs import configuration


def detector_of(
    config: Any,
    num_classes: int,
    network: nn.Module | None = None,
    detector: Detector | None = None,
    *,
    devices: Sequence[jax.Device] | None = None,
) -> PlacedDetector:
    """The detector of a configuration on the configured number of devices, for training.

    Args:
      config: the whole configuration.
      num_classes: C.
      network: a network to use instead of the configured one.
      detector: a detector to use instead of the configured one.
      devices: the available devices; None: those of this process and its peers.

    Raises:
      ConfigError: the configuration cannot be run, or the given network or detector does not fit.
    """
    with naming({"device_count": "runtime.devices"}):
        mesh = placement.create_mesh(config.runtime.devices, devices)
    refusals.check_devices(config, mesh.size)
    placed = PlacedDetector(_with_parts(config, num_classes, network, detector), mesh)
    # Only shapes are evaluated, so that a wrong choice is found before anything is computed.
    if network is None and detector is None:
        with naming(below("model", ("backbone", "width"))):
            _ = placed.abstract_variables
    else:
        placed.check(loading_of(config).canvases[0], num_classes)
    return placed


def check_given(network: Any, detector: Any) -> None:
    """Checks the types of a given network or detector, and that only one of them is given.

    Raises:
      ConfigError: a type is wrong, or both are given.
    """
    if network is not None and detector is not None:
        raise ConfigError("network and detector are both given; give only one of them.")
    if not isinstance(network, nn.Module | None):
        raise ConfigError(f"network is {network!r}; it must be an instance of flax.linen.Module.")
    if not isinstance(detector, Detector | None):
        raise ConfigError(f"detector is {detector!r}; it must be an ioub_jax.detectors.Detector.")


def _with_parts(
    config: Any, num_classes: int, network: nn.Module | None, detector: Detector | None
) -> Detector:
    """Returns the configured detector with the given network if any, or the given detector."""
    detector = detector or detectors.create(config, num_classes)
    return detector if network is None else dataclasses.replace(detector, network=network)


def planned(config: Any, batch_size: int) -> ml_collections.ConfigDict:
    """The configuration for all available devices, with its largest canvas only.

    Args:
      config: the whole configuration.
      batch_size: the number of images in a step, in training and in evaluation.
    """
    values = config.to_dict()
    values["runtime"]["devices"] = None
    copied = ml_collections.ConfigDict(values)
    copied.data.canvases = (max(map(tuple, config.data.canvases), key=math.prod),)
    copied.batch_size = copied.evaluation.batch_size = batch_size
    if "classification" in copied.get("loss", {}):
        copied.loss.classification.class_weights = None  # one per class; they cost nothing
    return copied


def detector_for_inference(
    config: Any,
    num_classes: int,
    network: nn.Module | None = None,
    detector: Detector | None = None,
) -> PlacedDetector:
    """The detector of a configuration on one device, for inference only.

    Args:
      config: the whole configuration, or the part of one that `torchvision_config` returns.
      num_classes: C.
      network: a network to use instead of the configured one.
      detector: a detector to use instead of the configured one.
    """
    detector = _with_parts(config, num_classes, network, detector)
    return PlacedDetector(detector, placement.create_mesh(1))


def check_choices(config: Any) -> None:
    """Checks that a configuration can be trained, without its data and without devices.

    Raises:
      ConfigError: the losses, the optimizer, the canvases or the augmentation are refused.
    """
    detectors.create(config, num_classes=1)
    schedule_of(config)
    optimizer_options_of(config)
    loading_of(config)


def is_in_epochs(config: Any) -> bool:
    """True if any length of a run is given in epochs, so that it depends on the data."""
    schedule, evaluation = config.schedule, config.evaluation
    # Runs of earlier versions do not have these keys.
    lengths = [schedule.get(key) for key in ("epochs", "warmup_epochs")]
    return any(epochs is not None for epochs in (*lengths, evaluation.get("every_epochs")))


def schedule_of(config: Any, images_per_epoch: int = 1) -> optimization.Schedule:
    """The schedule of the learning rate.

    Args:
      config: the whole configuration.
      images_per_epoch: the number of images in an epoch. It is only used if a length is given in
        epochs; any number serves if nothing is trained.
    """
    with naming_fields("schedule", optimization.Schedule):
        return optimization.Schedule(
            **optimization.in_images(config.schedule, images_per_epoch, config.batch_size)
        )


def schedule_warnings(config: Any, images_per_epoch: int = 1) -> list[str]:
    """A sentence for each schedule entry that has no effect or precedes the full learning rate."""
    keys = below("schedule", ("decay_at", "warmup_images"))
    schedule = schedule_of(config, images_per_epoch)
    return [with_keys(warning, keys) for warning in schedule.warnings(config.batch_size)]


def length_lines(config: Any, images_per_epoch: int) -> list[str]:
    """A line with the length of a run if it is given in epochs; no line for other runs.

    Args:
      config: the whole configuration.
      images_per_epoch: as in `schedule_of`.

    Raises:
      ConfigError: the warm-up takes the whole run.
    """
    if not is_in_epochs(config):
        return []
    schedule = schedule_of(config, images_per_epoch)
    refusals.check_warmup(schedule.images, schedule.warmup_images, config.batch_size)
    epochs = config.schedule.get("epochs")
    if epochs is None:
        return []
    return [
        f"Length: {epochs:g} epochs of {images_per_epoch:,} images, "
        f"{schedule.steps(config.batch_size):,} steps of {config.batch_size:,}."
    ]


def optimizer_options_of(config: Any) -> optimization.OptimizerOptions:
    """The options of the optimizer, without the averaging of the weights."""
    options = {key: value for key, value in config.optimizer.items() if key != "ema_decay"}
    with naming_fields("optimizer", optimization.OptimizerOptions):
        return optimization.OptimizerOptions(**options)


def optimizer_of(
    config: Any, frozen: Any, images_per_epoch: int = 1
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a configuration and its learning rate.

    Args:
      config: the whole configuration.
      frozen: a tree of bool like the parameters, True for each frozen one.
      images_per_epoch: as in `schedule_of`.
    """
    learning_rate = schedule_of(config, images_per_epoch).learning_rate(config.batch_size)
    options = optimizer_options_of(config)
    with naming_fields("optimizer", optimization.OptimizerOptions):
        return optimization.create_optimizer(options, learning_rate, frozen), learning_rate


def trainer_of(config: Any, detector: PlacedDetector) -> Trainer:
    """Trainer of a detector as configured, without weights and without data."""
    optimizer = optimizer_of(config, frozen_of(config, detector))
    return create_trainer(detector, *optimizer, options_of(config))


def frozen_of(config: Any, detector: PlacedDetector) -> Any:
    """A tree of bool like the parameters of a detector, True for each that is frozen.

    Raises:
      ConfigError: the backbone does not have that many stages.
    """
    params = detector.abstract_variables["params"]
    stages = config.model.get("frozen_stages", -1)
    last = train_state.last_stage(params)
    if last is not None and stages > last:
        raise ConfigError(
            f"model.frozen_stages is {stages}, but the last stage of the backbone is {last}; give "
            f"at most {last}, which freezes all of them."
        )
    return train_state.frozen_parameters(params, stages)


def constants_of(config: Any, frozen: Any) -> Any:
    """A tree like `frozen`, in which scales and biases of frozen batch norms are True as well.

    No gradient reaches them, but the weight decay of an optimizer may.
    """
    if config.model.get("norm") != "frozen_bn":
        return frozen

    def is_constant(path: tuple[Any, ...], is_frozen: bool) -> bool:
        names = tuple(entry.key for entry in path)
        is_of_norm = names[0] == "backbone" and names[-1] in ("scale", "bias")
        return is_frozen or (is_of_norm and any("norm" in name for name in names[1:-1]))

    return jax.tree_util.tree_map_with_path(is_constant, frozen)


def check_arithmetic(config: Any, device: jax.Device) -> None:
    """Refuses a dtype that the device computes wrongly, before a training is wasted."""
    dtype = config.model.get("dtype", "float32")
    if dtype != "float32":  # other dtypes are known to be wrong on some devices
        self_test.check_convolution(dtype, device)


def initial_weights_of(config: Any) -> InitialWeights:
    """Initial weights of a new run of the configuration."""
    return InitialWeights(
        backbone=config.model.get("backbone", ""),
        pretrained=config.model.get("pretrained"),
        init_from=config.init_from,
        settings=configuration.to_dict(config),
    )


def options_of(config: Any, images_per_epoch: int = 1) -> TrainingOptions:
    """The options of a configuration's training, such as its length and sizes.

    Args:
      config: the whole configuration.
      images_per_epoch: as in `schedule_of`.
    """
    evaluation, runtime = config.evaluation, config.runtime
    every_epochs = evaluation.get("every_epochs")
    return TrainingOptions(
        images=schedule_of(config, images_per_epoch).images,
        batch_size=config.batch_size,
        seed=config.seed,
        evaluation_batch_size=evaluation.batch_size,
        evaluate_every_images=evaluation.every_images
        if every_epochs is None
        else max(round(every_epochs * images_per_epoch), 1),
        checkpoint_every_images=runtime.checkpoint_every_images,
        log_every_steps=runtime.log_every_steps,
        calibration_batches=config.loss.calibration_batches,
        # Runs of earlier versions do not have these keys.
        gradient_accumulation=runtime.get("gradient_accumulation", 1),
        rematerialize=runtime.get("rematerialize", "nothing"),
        ema_decay=config.optimizer.get("ema_decay"),
        check_compilations=runtime.get("check_compilations", True),
        wandb_project=runtime.get("wandb_project"),
        evaluate_losses=evaluation.get("losses", True),
        pictures=evaluation.get("pictures", 8),
        patience=evaluation.get("patience"),
        min_delta=evaluation.get("min_delta", 0.0),
        bit_depth=config.data.get("bit_depth"),
    )


def metrics_of(config: Any) -> tuple[Metric, ...]:
    """The metrics of a configuration, in its order.

    Args:
      config: the whole configuration, of which `evaluation` is used.

    Raises:
      ConfigError: it names no metric, the same one twice, or one that does not exist.
    """
    evaluation = config.evaluation
    names = tuple(evaluation.metrics)
    chosen = tuple(evaluation.get("average_classes", ()))  # earlier runs have none
    known: dict[str, Metric] = {
        "coco": CocoMetric(evaluation.backend, counted_detections(config), chosen),
        "voc": VocMetric(chosen),
        "lvis": LvisMetric(evaluation.backend, chosen),
    }
    if not names or len(set(names)) < len(names) or not set(names) <= known.keys():
        raise ConfigError(
            f"evaluation.metrics is {names!r}; it must name 'coco', 'voc', 'lvis' or several, the "
            "one whose AP picks the best checkpoint first."
        )
    return tuple(known[name] for name in names)


def counted_detections(config: Any) -> int:
    """Number of detections per class and image that COCO's metrics count."""
    return int(config.evaluation.get("coco_detections", COCO_DETECTIONS))  # earlier runs have none
