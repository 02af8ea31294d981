"""Loading of a data set's images in batches for training and evaluation."""

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
    """Processing of every image from its file to the network.

    Attributes:
      canvases: heights and widths that images are padded to.
      resize: how images are scaled.
      scales: factors of that size, one of which is drawn for each training batch.
      augmentation: the random transforms of training.
      max_boxes: ground-truth slots of an image; the largest of more objects are kept.
      on_error: 'raise' or 'skip', for images that cannot be read.
      workers: number of processes that load batches; 0: threads of this process.
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
        """Checks the values before there are images, by making a plan of a single image."""
        check_on_error(self.on_error)
        self.training_plan(np.ones((1, 2)), batch_size=1, seed=0)

    def training_plan(
        self, sizes: np.ndarray, batch_size: int, seed: int, repeats: np.ndarray | None = None
    ) -> BatchPlan:
        """Plan of the training batches; arguments and errors are those of `BatchPlan`."""
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
        """Plan of an evaluation's batches; arguments and errors are those of `EvaluationPlan`."""
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
        """The batches of some steps; see `pipeline.training_batches` for arguments and errors."""
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
        """Batches of every image once; see `pipeline.evaluation_batches` for arguments and errors.

        The images are not augmented.
        """
        return pipeline.evaluation_batches(
            source,
            self.evaluation_plan(source.sizes, batch_size),
            max_boxes=self.max_boxes,
            on_error=self.on_error,
            process_index=process_index,
            process_count=process_count,
            num_workers=self.workers,
            # Tiles are read in order; two threads would read at two places of an image, or from
            # two images, at once.
            prefetch=2 if self.tiling is None else 1,
        )
