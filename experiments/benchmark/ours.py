"""Our side of a comparison: the same work on the same inputs as a peer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import torchvision
from experiments.benchmark import timing
from experiments.benchmark.workloads import ARCHITECTURES, Workload
from ioub_jax import boxes, postprocess
from ioub_jax.detectors import Carried
from ioub_jax.devices import host_memory
from ioub_jax.from_config import training_parts
from ioub_jax.models import Predictions


class Program:
    """A jitted function with its arguments; a call ends when its result is available.

    Args:
      function: the jitted function.
      *arguments: its arguments.
      carries: whether the first item of a result is the first argument of the next call.
    """

    def __init__(
        self, function: Callable[..., Any], *arguments: Any, carries: bool = False
    ) -> None:
        self._function: Any = function
        self._arguments, self._carries = arguments, carries

    def compile(self) -> dict[str, timing.Seconds]:
        """Times to trace, lower, compile and run it once; later calls run the compiled program."""
        moments = [timing.now()]
        traced = self._function.trace(*self._arguments)
        moments.append(timing.now())
        lowered = traced.lower()
        moments.append(timing.now())
        self._function = lowered.compile()
        host_memory.give_back()  # as a training does
        moments.append(timing.now())
        self()
        moments.append(timing.now())
        names = ("trace", "lower", "compile", "first run")
        ends = zip(moments[1:], moments[:-1], strict=True)
        return {name: end - start for name, (end, start) in zip(names, ends, strict=True)}

    @property
    def flops(self) -> float:
        """The flops that XLA counts in the compiled program."""
        return float(self._function.cost_analysis()["flops"])

    def __call__(self) -> Any:
        """Runs the function once."""
        result = jax.block_until_ready(self._function(*self._arguments))
        if self._carries:
            self._arguments = (result[0], *self._arguments[1:])
        return result


def configuration(workload: Workload) -> ml_collections.ConfigDict:
    """Torchvision's detector on one device; the timing does not need its weights."""
    config = torchvision.get_config(f"{ARCHITECTURES[workload.detector]},{workload.arm}")
    config.model.dtype = workload.dtype
    config.runtime.rematerialize = workload.rematerialize
    config.batch_size = config.evaluation.batch_size = workload.batch
    config.data.canvases = ((workload.height, workload.width),)
    config.evaluation.score_threshold = 0.0
    config.schedule.base_learning_rate = 1e-6
    config.runtime.devices = 1
    return config


def train_step(workload: Workload) -> Program:
    """Forward, matching, losses, backward and SGD."""
    config = configuration(workload)
    detector = training_parts.detector_of(config, workload.classes)
    trainer = training_parts.trainer_of(config, detector)
    state = trainer.create_state()
    state = state.replace(w_loc=jnp.ones_like(state.w_loc))
    inputs = detector.on_devices(workload.training_batch())
    return Program(trainer.train_step, state, *inputs, carries=True)


def inference(workload: Workload) -> Program:
    """Images to detections, with 1,000 candidates from every level."""
    config = configuration(workload)
    detector = training_parts.detector_of(config, workload.classes)
    variables = training_parts.trainer_of(config, detector).create_state().variables
    return Program(detector.predict, variables, *detector.on_devices(workload.training_batch()))


def objective(workload: Workload) -> Program:
    """Matching, both losses and their gradients with respect to the predictions."""
    detector = training_parts.detector_of(configuration(workload), workload.classes)
    anchors = detector.anchors_of((workload.height, workload.width))
    ends = np.cumsum([len(level) for level in anchors])
    logits, deltas = (
        tuple(jnp.asarray(level, workload.dtype) for level in np.split(part, ends[:-1], axis=1))
        for part in workload.predictions(ends[-1])
    )
    batch = {name: jnp.asarray(array) for name, array in workload.training_batch().items()}
    carried = Carried(jnp.ones((), jnp.float32), jnp.ones((), jnp.float32))

    def loss_of(predictions: Predictions, batch: Any) -> jax.Array:
        return detector.detector.objective(predictions, batch, anchors, carried).loss

    predictions = Predictions(logits, deltas)
    return Program(jax.jit(jax.value_and_grad(loss_of)), predictions, batch)


def nms(workload: Workload) -> Program:
    """Class-wise NMS of one image."""
    candidates = [jnp.asarray(part) for part in workload.candidate_boxes()]
    valid = jnp.ones(workload.candidates, bool)

    @jax.jit
    def suppress(*candidates: jax.Array) -> Any:
        return postprocess.class_wise_nms(*candidates, iou_threshold=0.5, max_detections=300)

    return Program(suppress, *candidates, valid)


def iou(workload: Workload) -> Program:
    """IoUs of the candidates with the ground truth of the first image."""
    candidates = jnp.asarray(workload.candidate_boxes()[0])
    ground_truth = jnp.asarray(workload.ground_truth()[0][0])
    return Program(jax.jit(boxes.pairwise_iou), candidates, ground_truth)
