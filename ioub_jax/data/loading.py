"""Loading of a data set's images as batches for training and evaluation."""

import dataclasses

import numpy as np

from ioub_jax.data import pipeline
from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import FIT, BatchPlan, EvaluationPlan
from ioub_jax.data.checks import check_on_error
from ioub_jax.data.pipeline import NO_AUGMENTATION, BatchIterator
from ioub_jax.data.resizing import Resize, Size
from ioub_jax.data.sources.example import Source
from ioub_jax.data.tiling import Tiling


@dataclasses.dataclass(frozen=True)
class Loading:
    """Processing of every image on its way to the network.

    Attributes:
      canvases: heights and widths that images are padded to.
      resize: how images are scaled.
      scales: factors of that size, of which each training batch draws one.
      augmentation: the random transforms of training.
      max_boxes: ground-truth slots of an image; of more objects the largest are kept.
      on_error: 'raise', or 'skip' what cannot be read.
      workers: processes that load; 0: threads of this one.
      tiling: how images are cut into the tiles that the network sees; None: it sees whole images.

    Raises:
      ValueError: there are no or too many canvases, a scale is not in (0, 1], or `on_error` is
        unknown.
    """

    canvases: tuple[Size, ...]
    resize: Resize = FIT
    scales: tuple[float, ...] = (1.0,)
    augmentation: Augmentation = NO_AUGMENTATION
    max_boxes: int = 100
    on_error: str = "raise"
    workers: int = 0
    tiling: Tiling | None = None

    def __post_init__(self) -> None:
        """Refuses values that no plan can have, before there are images."""
        check_on_error(self.on_error)
        self.training_plan(np.ones((1, 2)), batch_size=1, seed=0)

    def training_plan(
        self, sizes: np.ndarray, batch_size: int, seed: int, repeats: np.ndarray | None = None
    ) -> BatchPlan:
        """Plan of the training batches; arguments and errors as `BatchPlan`."""
        return BatchPlan(
            sizes,
            batch_size,
            seed,
            self.canvases,
            resize=self.resize,
            scales=self.scales,
            repeats=repeats,
        )

    def evaluation_plan(self, sizes: np.ndarray, batch_size: int) -> EvaluationPlan:
        """Plan of an evaluation's batches for images of these sizes; raises as `EvaluationPlan`."""
        return EvaluationPlan(sizes, batch_size, self.canvases, resize=self.resize)

    def training_batches(
        self,
        source: Source,
        plan: BatchPlan,
        start_step: int,
        num_steps: int,
        *,
        seed: int,
        total_steps: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> BatchIterator:
        """The batches of some steps; arguments and errors as `pipeline.training_batches`."""
        return pipeline.training_batches(
            source,
            plan,
            seed=seed,
            start_step=start_step,
            num_steps=num_steps,
            max_boxes=self.max_boxes,
            augmentation=self.augmentation,
            total_steps=total_steps,
            on_error=self.on_error,
            process_index=process_index,
            process_count=process_count,
            num_workers=self.workers,
        )

    def evaluation_batches(
        self,
        source: Source,
        batch_size: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ) -> BatchIterator:
        """Every image once, as it is; arguments and errors as `pipeline.evaluation_batches`."""
        return pipeline.evaluation_batches(
            source,
            self.evaluation_plan(source.sizes, batch_size),
            max_boxes=self.max_boxes,
            on_error=self.on_error,
            process_index=process_index,
            process_count=process_count,
            num_workers=self.workers,
            # Two threads would be at two places of an image, or at two images.
            prefetch=2 if self.tiling is None else 1,
        )
