"""The interface of a detector for training, evaluation, inference and export."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax

from ioub_jax.anchors import AnchorLevel
from ioub_jax.models.interface import Predictions
from ioub_jax.objective import Objective
from ioub_jax.postprocess import Candidates, check_suppression

Canvas = tuple[int, int]
Batch = Mapping[str, jax.Array]
#: `[N_l, 4]` of every level, xyxy in pixels of the canvas.
Anchors = tuple[jax.Array, ...]


class Carried(NamedTuple):
    """State that an objective carries from step to step: float32 scalars, part of checkpoints.

    Attributes:
      w_loc: the constant of the localization loss (arXiv 1908.05641, eq. 4).
      moving_average: the moving average of the positives in a global batch.
      loss_state: the state of a loss, by name; most losses have none.
    """

    w_loc: jax.Array
    moving_average: jax.Array
    loss_state: Mapping[str, jax.Array] = {}


@dataclasses.dataclass(frozen=True)
class DetectionOptions:
    """Options for selecting detections among the candidates.

    Attributes:
      score_threshold: the exclusive lower bound of the scores of candidates.
      nms_iou: the IoU above which the lower-scored of two boxes of a class is suppressed.
      max_detections: the maximum number of detections in an image.
      suppression: the method that reduces candidates to detections, one of
        `postprocess.SUPPRESSIONS`.
      soft_nms_sigma: the sigma of 'soft_nms_gaussian'.
      class_agnostic: as in `postprocess.suppress`.

    Raises:
      ValueError: there is no such suppression.
    """

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100
    suppression: str = "nms"
    soft_nms_sigma: float = 0.5
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        """Refuses an unknown suppression."""
        check_suppression(self.suppression, self.class_agnostic)

    def __str__(self) -> str:
        """One line for the user: 'scores above 0.05, nms with an IoU of 0.5, ...'."""
        gaussian = self.suppression == "soft_nms_gaussian"
        number = f"sigma {self.soft_nms_sigma:g}" if gaussian else f"an IoU of {self.nms_iou:g}"
        return (
            f"scores above {self.score_threshold:g}, {self.suppression} with {number}"
            f"{' across classes' if self.class_agnostic else ''}, "
            f"at most {self.max_detections} detections"
        )


@dataclasses.dataclass(frozen=True)
class Detector:
    """A detector, described by its parts, without weights and without devices.

    Attributes:
      network: maps images `[B, H, W, in_channels]`, 0-255, with `train=`, to `Predictions`. Its
        module `backbone` is the part with pretrained weights.
      levels: maps a canvas, the height and width of the network's input, to the anchors of its
        levels. A detector without anchors has one anchor of any size at each location, whose center
        is the point.
      objective: maps (predictions, batch, anchors, carried) to an `Objective`. The predictions are
        the network's output, and the batch is that of `data.batching.assemble_batch`.
      candidates: maps (predictions, anchors, image sizes `[B, 2]`), with `score_threshold=`, to
        `Candidates`. The predictions are `per_anchor`. With several devices, it gets the images of
        one device.
      options: the options for selecting detections among the candidates.
      initial_w_loc: `Carried.w_loc` of the first step; None: measured on the first batches.
      initial_loss_state: `Carried.loss_state` of the first step, numbers by name.
      canvas: the only canvas that the network accepts; None: any canvas.
      in_channels: the number of channels of the images: 3 for RGB, 1 for gray, others as in the
        files.
    """

    network: nn.Module
    levels: Callable[[Canvas], tuple[AnchorLevel, ...]]
    objective: Callable[[Predictions, Batch, Anchors, Carried], Objective]
    candidates: Callable[..., Candidates]
    options: DetectionOptions = DetectionOptions()
    initial_w_loc: float | None = 1.0
    initial_loss_state: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    canvas: Canvas | None = None
    in_channels: int = 3
