"""A detector on devices, and the compiled program that detects objects."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ioub_jax import anchors as anchor_grids
from ioub_jax import postprocess
from ioub_jax.detectors.detector import Anchors, Batch, Canvas, Carried, Detector
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.models.interface import Predictions


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedDetector:
    """A detector and the devices that it runs on, still without weights.

    Attributes:
      detector: the detector.
      mesh: the devices.
    """

    detector: Detector
    mesh: Mesh

    @property
    def network(self) -> nn.Module:
        """The network of the detector."""
        return self.detector.network

    @functools.cache  # noqa: B019  (a detector lives as long as its process)
    def anchors_of(self, canvas: Canvas) -> Anchors:
        """Anchors of every level for a canvas (height, width), on the devices."""
        grids = self.host_anchors(canvas)
        anchors: Anchors = jax.device_put(grids, placement.replicated(self.mesh))
        return anchors

    def host_anchors(self, canvas: Canvas) -> tuple[np.ndarray, ...]:
        """As `anchors_of`, on the host: float32 `[N_l, 4]` for every level."""
        return anchor_grids.place(self.detector.levels(canvas))

    def on_devices(
        self, batch: Mapping[str, np.ndarray], batch_size: int | None = None
    ) -> tuple[dict[str, jax.Array], Anchors]:
        """A batch from the host and the anchors of its canvas, as inputs of the compiled steps.

        Args:
          batch: this process's part of the batch.
          batch_size: the number of images in the global batch; None: this process has all of them.
        """
        anchors = self.anchors_of(batch["image"].shape[1:3])
        return placement.put_batch(self.mesh, batch, batch_size), anchors

    @functools.cached_property
    def init_variables(self) -> jax.stages.Wrapped:
        """`init_variables(seed)` for an int32 seed; the network is traced at the first call."""
        return jax.jit(
            functools.partial(init_variables, self.network, in_channels=self.detector.in_channels)
        )

    @functools.cached_property
    def abstract_variables(self) -> dict[str, Any]:
        """The shapes and dtypes of the variables, without any computation."""
        return jax.eval_shape(self.init_variables, jax.ShapeDtypeStruct((), jnp.int32))

    def check(self, canvas: Canvas, num_classes: int) -> None:
        """Checks that the outputs of a user's own network fit its anchors and classes.

        Args:
          canvas: height and width of an input.
          num_classes: C.

        Raises:
          ConfigError: they do not fit; the message names the first difference.
        """
        images = jax.ShapeDtypeStruct((1, *canvas, self.detector.in_channels), jnp.uint8)
        apply = functools.partial(self.network.apply, train=False)
        predictions: Any = jax.eval_shape(apply, self.abstract_variables, images)
        numbers = [len(level) for level in self.host_anchors(canvas)]
        found = [math.prod(deltas.shape[1:]) // 4 for deltas in predictions.deltas]
        if numbers != found:
            raise ConfigError(
                f"On a canvas of {canvas[0]}x{canvas[1]} the network returns deltas of {found} "
                f"anchors, level by level, but the anchors are {numbers}; make them agree."
            )
        for number, logits in zip(numbers, predictions.logits, strict=True):
            outputs = math.prod(logits.shape[1:]) / number
            if outputs not in (num_classes, num_classes + 1):
                raise ConfigError(
                    f"The network returns {outputs:g} logits per anchor, but {num_classes} "
                    f"classes need {num_classes}, or with a column for the background "
                    f"{num_classes + 1}."
                )

    @functools.cached_property
    def predict(self) -> Callable[[Any, Batch, Anchors], postprocess.Detections]:
        """`predict(variables, batch, anchors)`: detections in pixels of the original images.

        In slots without a detection, `scores` is the highest score of the image's candidates, which
        shows how far it is from the threshold.
        """

        @jax.jit
        def predict(variables: Any, batch: Batch, anchors: Anchors) -> postprocess.Detections:
            return self._detections(self.predictions(variables, batch), batch, anchors)

        return predict

    @functools.cached_property
    def predict_with_losses(
        self,
    ) -> Callable[
        [Any, Carried, Batch, Anchors], tuple[postprocess.Detections, dict[str, jax.Array]]
    ]:
        """`predict_with_losses(variables, carried, batch, anchors)`: as `predict`, and the losses.

        The losses are those of the objective's metrics that are named `loss` or `loss_...`, with
        the network in inference mode.
        """

        @jax.jit
        def predict_with_losses(
            variables: Any, carried: Carried, batch: Batch, anchors: Anchors
        ) -> tuple[postprocess.Detections, dict[str, jax.Array]]:
            predictions: Any = self.network.apply(variables, batch["image"], train=False)
            metrics = self.detector.objective(predictions, batch, anchors, carried).metrics
            losses = {
                name: value
                for name, value in metrics.items()
                if name.partition("_")[0] == "loss" and name != "loss_normalizer"
            }
            return self._detections(predictions.per_anchor(), batch, anchors), losses

        return predict_with_losses

    def _detections(
        self, predictions: Predictions, batch: Batch, anchors: Anchors
    ) -> postprocess.Detections:
        """Returns detections as in `predict`, from predictions `per_anchor`."""
        candidates = self._candidates(predictions, batch, anchors)
        detections = self.suppress(candidates)
        highest = jnp.max(candidates.scores, axis=1, keepdims=True)
        scores = jnp.where(detections.valid, detections.scores, highest)
        return in_original_pixels(detections._replace(scores=scores), batch)

    def predictions(self, variables: Any, batch: Batch) -> Predictions:
        """Predictions of the network for every anchor at inference; not compiled."""
        predictions: Any = self.network.apply(variables, batch["image"], train=False)
        per_anchor: Predictions = predictions.per_anchor()
        return per_anchor

    def find_candidates(
        self, variables: Any, batch: Batch, anchors: Anchors
    ) -> postprocess.Candidates:
        """NMS candidates of the predictions; not compiled."""
        return self._candidates(self.predictions(variables, batch), batch, anchors)

    def _candidates(
        self, predictions: Predictions, batch: Batch, anchors: Anchors
    ) -> postprocess.Candidates:
        def of_images(images: Any, anchors: Anchors) -> postprocess.Candidates:
            predictions, sizes = images
            threshold = self.detector.options.score_threshold
            found: postprocess.Candidates = self.detector.candidates(
                predictions, anchors, sizes, score_threshold=threshold
            )
            return found

        images = predictions, batch["image_size"]
        found: postprocess.Candidates = placement.on_each_device(of_images, self.mesh)(
            images, anchors
        )
        return found

    def suppress(self, candidates: postprocess.Candidates) -> postprocess.Detections:
        """NMS of the candidates, or the alternative in the options; not compiled."""
        found: postprocess.Detections = placement.on_each_device(self.suppress_here, self.mesh)(
            candidates
        )
        return found

    def suppress_here(self, candidates: postprocess.Candidates) -> postprocess.Detections:
        """As `suppress`, for the images of one device."""
        options = self.detector.options
        return postprocess.suppress(
            candidates,
            nms_iou=options.nms_iou,
            max_detections=options.max_detections,
            method=options.suppression,
            sigma=options.soft_nms_sigma,
            min_score=options.score_threshold,
            class_agnostic=options.class_agnostic,
        )


def init_variables(
    network: nn.Module, seed: int | jax.Array, in_channels: int = 3
) -> dict[str, Any]:
    """Initial variables; the shapes of parameters do not depend on the image size."""
    images = jnp.zeros((1, 64, 64, in_channels), jnp.float32)
    return dict(network.init(jax.random.key(seed), images, train=False))


def in_original_pixels(detections: postprocess.Detections, batch: Batch) -> postprocess.Detections:
    """Detections of a batch, converted from pixels of the network's input to original pixels."""
    scale = jnp.concatenate([batch["scale"][:, ::-1]] * 2, axis=1)[:, None]
    return detections._replace(boxes=detections.boxes / scale)
