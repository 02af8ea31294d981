"""Our side of a comparison: the same work on the same inputs as a peer's."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags

from configs import torchvision
from experiments.benchmark.workloads import Workload
from ioub_jax import boxes, postprocess
from ioub_jax import objective as objectives
from ioub_jax.training import detector as detectors
from ioub_jax.training import step as steps

_ARM = flags.DEFINE_string(
    "arm", "baseline", "Losses of `step` and `objective`; baseline has torchvision's own."
)


def configuration(workload: Workload, arm: str | None = None) -> ml_collections.ConfigDict:
    """Torchvision's RetinaNet, on one device; the weights it names are not needed to time it.

    Args:
      workload: the inputs.
      arm: the losses; None: those of `--arm`.
    """
    config = torchvision.get_config(f"retinanet_resnet50_fpn,{arm or _ARM.value}")
    config.batch_size = config.evaluation.batch_size = workload.batch
    config.data.canvases = ((workload.height, workload.width),)
    config.evaluation.score_threshold = 0.0
    config.schedule.base_learning_rate = 1e-6
    config.runtime.devices = 1
    return config


def _batch(workload: Workload) -> dict[str, np.ndarray]:
    ground_truth, labels = workload.ground_truth()
    size = np.array([[workload.height, workload.width]] * workload.batch)
    nothing = np.zeros(labels.shape, bool)
    return {
        "image": workload.images(),
        "image_size": size.astype(np.int32),
        "scale": np.ones(size.shape, np.float32),
        "boxes": ground_truth,
        "labels": labels,
        "valid": ~nothing,
        "crowd": nothing,
        "difficult": nothing,
        "ignored": nothing,
    }


def train_step(workload: Workload) -> Callable[[], Any]:
    """Forward, matching, losses, backward and SGD."""
    detector = detectors.create_detector(configuration(workload), workload.classes)
    trainer = detectors.create_trainer(detector)
    state = trainer.create_state()
    state = state.replace(w_loc=jnp.ones_like(state.w_loc))
    inputs = detector.on_devices(_batch(workload))

    def step() -> Any:
        nonlocal state
        state, metrics = trainer.train_step(state, *inputs)
        return state, metrics

    return step


def inference(workload: Workload) -> Callable[[], Any]:
    """Images to detections, 1,000 candidates of every level."""
    detector = detectors.create_detector(configuration(workload), workload.classes)
    variables = detectors.create_trainer(detector).create_state().variables
    predict = steps.make_predict_step(detector.model, detector.config)
    inputs = detector.on_devices(_batch(workload))
    return lambda: predict(variables, *inputs)


def objective(workload: Workload, arm: str | None = None) -> Callable[[], Any]:
    """Matching, both losses and their gradients by the predictions; `arm` as `configuration`."""
    config = configuration(workload, arm)
    options = steps.objective_options(config)
    anchors = tuple(
        map(jnp.asarray, detectors.canvas_anchors(config, (workload.height, workload.width)))
    )
    ends = np.cumsum([len(level) for level in anchors])
    predictions = tuple(
        tuple(map(jnp.asarray, np.split(part, ends[:-1], axis=1)))
        for part in workload.predictions(ends[-1])
    )
    batch = {name: jnp.asarray(array) for name, array in _batch(workload).items()}

    def loss_of(predictions: Any, batch: Any) -> jax.Array:
        matches, targets = steps.match_batch(batch, anchors, config.matcher)
        logits, deltas = predictions
        result = objectives.detection_objective(
            logits,
            deltas,
            anchors,
            matches,
            targets,
            w_loc=jnp.ones((), jnp.float32),
            moving_average=jnp.ones((), jnp.float32),
            options=options,
        )
        return result.loss

    value_and_gradient = jax.jit(jax.value_and_grad(loss_of))
    return lambda: value_and_gradient(predictions, batch)


def nms(workload: Workload) -> Callable[[], Any]:
    """Class-wise NMS of one image."""
    candidates = [jnp.asarray(part) for part in workload.candidate_boxes()]
    valid = jnp.ones(workload.candidates, bool)

    @jax.jit
    def suppress(*candidates: jax.Array) -> Any:
        return postprocess.class_wise_nms(*candidates, iou_threshold=0.5, max_detections=300)

    return lambda: suppress(*candidates, valid)


def iou(workload: Workload) -> Callable[[], Any]:
    """IoUs of the candidates with the ground truth of the first image."""
    candidates = jnp.asarray(workload.candidate_boxes()[0])
    ground_truth = jnp.asarray(workload.ground_truth()[0][0])
    pairwise_iou = jax.jit(boxes.pairwise_iou)
    return lambda: pairwise_iou(candidates, ground_truth)
