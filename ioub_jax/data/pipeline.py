"""Batches from a source by a plan, loaded ahead of time by threads or worker processes.

The elements of the grain data set are whole batches, addressed by their step. A batch does not
depend on the process that loads it or on the time. The stream is therefore the same for any number
of hosts and workers and after every resumption, and no iterator state has to be saved.
"""

import collections
import dataclasses
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import cv2
import grain
import numpy as np
from absl import flags

from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import (
    EvaluationPlan,
    Plan,
    PlannedBatch,
    assemble_batch,
    keep_largest,
)
from ioub_jax.data.checks import KINDS, DataError, Problem, check_on_error
from ioub_jax.data.partners import Others, choose_others, group_of, mosaic_draw
from ioub_jax.data.shared_batches import (
    SharedBatch,
    SharedBatchReader,
    SharedImageMemory,
    set_worker_index,
)
from ioub_jax.data.sources.example import Example, Source, channels_of, create_example
from ioub_jax.data.transforms import resize
from ioub_jax.data.worker_memory import keep_freed_memory

Batch = dict[str, np.ndarray]
Element = tuple[Batch | SharedBatch, tuple[Problem, ...]]
NO_AUGMENTATION = Augmentation()


@dataclasses.dataclass(frozen=True)
class _BatchLoader:
    """A random-access sequence of (this host's part of a batch, the problems in it).

    It is pickled and sent to the worker processes, so all of its attributes must be picklable.
    """

    source: Source
    plan: Plan
    start_step: int
    num_steps: int
    max_boxes: int
    on_error: str
    process_index: int
    process_count: int
    seed: int = 0
    shared_memory: SharedImageMemory | None = None  # None without worker processes
    augmentation: Augmentation | None = None  # None: evaluation, no image may replace another
    closes_at: int | None = None  # the first step without joined examples; None: there is none

    def __post_init__(self) -> None:
        check_on_error(self.on_error)
        if self.plan.batch_size % self.process_count:
            raise ValueError(
                f"The batch size {self.plan.batch_size} cannot be shared equally by "
                f"{self.process_count} hosts; make it a multiple."
            )

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, position: int) -> Element:
        step = self.start_step + position
        planned = self.plan[step]
        share = self.plan.batch_size // self.process_count
        rows = range(self.process_index * share, (self.process_index + 1) * share)
        shape = (share, *planned.canvas, channels_of(self.source))
        if self.shared_memory is None:
            images = np.empty(shape, np.uint8)
        else:
            name, images = self.shared_memory.take(shape)
        problems: list[Problem] = []
        loading = _Loading(planned, self._augmentation_at(step), problems)
        examples, is_real = [], []
        for row, out in zip(rows, images, strict=True):
            example, real = self._load(loading, row, out)
            examples.append(example)
            is_real.append(real)
        batch = assemble_batch(
            images,
            examples,
            self.source.sizes[planned.indices[rows]],
            max_boxes=self.max_boxes,
            is_real=is_real,
        )
        if self.shared_memory is None:
            return batch, tuple(problems)
        del batch["image"]
        return SharedBatch(name, shape, batch), tuple(problems)

    def _augmentation_at(self, step: int) -> Augmentation | None:
        if self.augmentation is None or self.closes_at is None or step < self.closes_at:
            return self.augmentation
        return self.augmentation.closed()

    def _load(self, loading: "_Loading", row: int, out: np.ndarray) -> tuple[Example, bool]:
        """One example of a batch, and whether it is real.

        Its image is written to the top left corner of `out`.
        """
        planned = loading.planned
        index, epoch = int(planned.indices[row]), int(planned.epochs[row])
        if loading.augmentation is None:
            example = self._try_to_load(loading, index)
            if example is None:
                return self._blank(index, out), False
            return resize(example, self._size(planned, index), out), bool(planned.is_real[row])
        if row == group_of(row, len(planned.indices)).start:
            loading.held.clear()
        example = self._readable(loading, index)

        def choose(rng: np.random.Generator, count: int) -> list[Example]:
            chosen = choose_others(planned, row, len(self.source), rng, count)
            return [self._readable(loading, other) for other in chosen]

        others = Others(choose, lambda one: mosaic_draw(planned, self.seed, one.image_id))

        rng = np.random.default_rng((self.seed, epoch, index))
        example = loading.augmentation(example, rng, self.plan.resize, planned.scale, out, others)
        return self._limited(loading, example, index, joined=True), True

    def _readable(self, loading: "_Loading", index: int) -> Example:
        """The example of an image before augmentation, kept for the other rows of its group.

        An unreadable image is replaced by the next readable one, so that the batch keeps its shape
        and remains a function of its step.
        """
        held = loading.held.get(index)
        if held is not None:
            return held
        candidates = ((index + ahead) % len(self.source) for ahead in range(len(self.source)))
        loaded = (self._try_to_load(loading, candidate) for candidate in candidates)
        example = next((found for found in loaded if found is not None), None)
        if example is None:
            last = loading.problems[-1]
            raise DataError(
                f"No image of the data set can be read; the last one: {last}", last.kind
            )
        if loading.augmentation is not None and loading.augmentation.joins:
            loading.held[index] = example
        return example

    def _size(self, planned: PlannedBatch, index: int) -> tuple[int, int]:
        """Height and width of a whole image on the canvas."""
        height, width = self.source.sizes[index].tolist()
        return self.plan.resize.size((height, width), planned.canvas, planned.scale)

    def _at_least(self, loading: "_Loading", index: int) -> tuple[int, int] | None:
        """The size at which decoding an image loses nothing; None for its full size."""
        zoom: float | None = 1.0
        if (augmentation := loading.augmentation) is not None:
            draw = 0.0  # not used without mosaics
            if augmentation.mosaic:
                draw = mosaic_draw(loading.planned, self.seed, self.source.image_id(index))
            zoom = augmentation.zoom(draw)
        if zoom is None:
            return None
        height, width = self._size(loading.planned, index)
        return int(height * zoom), int(width * zoom)

    def _try_to_load(self, loading: "_Loading", index: int) -> Example | None:
        """The example with at most `max_boxes` objects, or None if its image must be skipped."""
        try:
            example = self.source.load(index, self._at_least(loading, index))
        except DataError as error:
            if self.on_error == "raise":
                raise
            loading.problems.append(Problem(error.kind, str(error)))
            return None
        return self._limited(loading, example, index)

    def _limited(
        self, loading: "_Loading", example: Example, index: int, *, joined: bool = False
    ) -> Example:
        """An example with its `max_boxes` largest objects."""
        count = len(example.labels)
        if count <= self.max_boxes:
            return example
        name = self.source.describe(index)
        if joined:  # the sentence does not depend on the other images, so it is logged once
            told = (
                f"{name}: joined with other images (mosaic, mixup, copy-paste) it has more objects "
                f"than config.data.max_boxes={self.max_boxes}; the smallest are left out, raise it "
                "to keep them."
            )
        else:
            told = (
                f"{name}: has {count} objects, more than "
                f"config.data.max_boxes={self.max_boxes}; the smallest "
                f"{count - self.max_boxes} were left out, raise it to {count} to keep them."
            )
        loading.problems.append(Problem("too_many_objects", told))
        return keep_largest(example, self.max_boxes)

    def _blank(self, index: int, out: np.ndarray) -> Example:
        out[:] = 0
        nothing = np.zeros(0)
        return create_example(nothing, nothing, self.source.image_id(index), image=out)


@dataclasses.dataclass(frozen=True)
class _Loading:
    """A batch that is being loaded.

    Attributes:
      planned: the plan of the batch.
      augmentation: the random transforms at its step; None in an evaluation.
      problems: the problems found so far.
      held: the decoded examples of the rows that are joined with each other, by index.
    """

    planned: PlannedBatch
    augmentation: Augmentation | None
    problems: list[Problem]
    held: dict[int, Example] = dataclasses.field(default_factory=dict)


class BatchIterator(Iterator[Batch]):
    """Iterator over batches, and context manager that ends its threads or worker processes.

    Problems that leave something out are appended to the source's `skipped`, each of them once, and
    counted in the log. Nothing is left running after the last batch, an error or `close()`.
    """

    def __init__(self, loader: _BatchLoader, num_workers: int, prefetch: int) -> None:
        self._source = loader.source
        self._skipped = set(loader.source.skipped)
        self._counts: collections.Counter[str] = collections.Counter()
        self._length = len(loader)
        self._num_workers = num_workers
        share = loader.plan.batch_size // loader.process_count
        pixels = max(height * width for height, width in loader.plan.canvases)
        memory = SharedImageMemory(share * pixels * channels_of(loader.source))
        self._reader = SharedBatchReader(memory.prefix, num_workers)
        if num_workers > 0:
            loader = dataclasses.replace(loader, shared_memory=memory)
        batches = _grain_data_set(loader, num_workers, prefetch)
        self._iterator: grain.DatasetIterator[Element] | None = iter(batches)

    def __len__(self) -> int:
        """The number of batches of the whole iteration."""
        return self._length

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
          DataError: a file cannot be read; the message is the same for threads and processes.
        """
        if self._iterator is None:
            raise StopIteration
        try:
            batch, problems = next(self._iterator)
        except DataError as error:
            self.close()
            # The traceback of a worker process adds nothing to the message.
            raise DataError(str(error), error.kind) from None
        except BaseException:
            self.close()
            raise
        for problem in problems:
            if problem not in self._skipped:
                self._skipped.add(problem)
                self._source.skipped.append(problem)
                self._log(problem)
        return self._reader.read(batch) if isinstance(batch, SharedBatch) else batch

    def _log(self, problem: Problem) -> None:
        """Logs the 1st, 10th, 100th, ... problem of a kind."""
        self._counts[problem.kind] += 1
        count = self._counts[problem.kind]
        if count in (1, 10, 100) or count % 1000 == 0:
            logging.getLogger(__name__).warning(
                "Left out (%d %s so far): %s", count, KINDS[problem.kind], problem
            )

    def close(self) -> None:
        """Ends the threads and worker processes; may be called repeatedly."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None
            self._reader.close()
            if self._num_workers > 0:
                # The workers' queues are in reference cycles with dozens of semaphores. If a later
                # garbage collection frees them inside multiprocessing's resource tracker, whose
                # lock their release needs, they leak (with a warning). So they are freed now.
                gc.collect()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the iterator."""
        self.close()


def _grain_data_set(
    loader: _BatchLoader, num_workers: int, prefetch: int
) -> grain.IterDataset[Element]:
    batches = grain.MapDataset.source(loader)
    if num_workers == 0:
        options = grain.ReadOptions(num_threads=prefetch, prefetch_buffer_size=prefetch)
        return batches.to_iter_dataset(options)
    # grain reads absl flags here, which are not parsed in a notebook or under pytest.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    # A worker loads its batches one after another and keeps `prefetch` of them ready.
    unbuffered = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return batches.to_iter_dataset(unbuffered).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=prefetch),
        worker_init_fn=_prepare_worker,
    )


def _prepare_worker(worker_index: int, worker_count: int) -> None:
    """Prepares a worker process; it is called first in that process."""
    del worker_count
    set_worker_index(worker_index)
    cv2.setNumThreads(0)
    keep_freed_memory()
    # A signal to the whole process group is handled by the main process, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker process as soon as the main process has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def training_batches(
    source: Source,
    plan: Plan,
    *,
    seed: int,
    start_step: int,
    num_steps: int,
    max_boxes: int,
    augmentation: Augmentation = NO_AUGMENTATION,
    total_steps: int | None = None,
    on_error: str = "raise",
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    prefetch: int = 2,
) -> BatchIterator:
    """Loads the batches of steps `start_step` to `start_step + num_steps - 1`.

    Args:
      source: the data set.
      plan: the images of each global batch.
      seed: seed of the augmentation; the generator of an image is seeded by (seed, epoch, index).
      start_step: the first step; a resumed run starts where it stopped.
      num_steps: the number of batches.
      max_boxes: ground-truth slots of an image; the largest of more objects are kept, and the
        image is added to the source's `skipped`.
      augmentation: the random transforms.
      total_steps: the steps of the whole run, of which `augmentation.close_after` is a share; None:
        mosaic, mixup and copy-paste never end.
      on_error: 'raise', or 'skip' to replace an unreadable image by the next readable one.
      process_index: the number of this host.
      process_count: the number of hosts that share a batch; host k gets the k-th equal part of its
        rows.
      num_workers: number of worker processes; 0 loads in threads of this process.
      prefetch: number of batches that each worker keeps ready, at least 1.

    Returns:
      an iterator over the dictionaries of `assemble_batch` with the rows of this host.

    Raises:
      ValueError: the hosts cannot share the batch equally or `on_error` is unknown.
      DataError: raised by the iteration, if an image cannot be read under `on_error='raise'`.
    """
    closes_at = None if total_steps is None else round(augmentation.close_after * total_steps)
    loader = _BatchLoader(
        source=source,
        plan=plan,
        start_step=start_step,
        num_steps=num_steps,
        max_boxes=max_boxes,
        on_error=on_error,
        process_index=process_index,
        process_count=process_count,
        seed=seed,
        augmentation=augmentation,
        closes_at=closes_at,
    )
    return BatchIterator(loader, num_workers, prefetch)


def evaluation_batches(
    source: Source,
    plan: EvaluationPlan,
    *,
    max_boxes: int,
    on_error: str = "raise",
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    prefetch: int = 2,
) -> BatchIterator:
    """Loads every image once, without augmentation, in the batches of an `EvaluationPlan`.

    Args:
      source: the data set.
      plan: the evaluation plan.
      max_boxes: ground-truth slots of an image; the largest of more objects are kept, and the
        image is added to the source's `skipped`.
      on_error: 'raise', or 'skip' to mark the row of an unreadable image as not real.
      process_index: the number of this host.
      process_count: the number of hosts that share a batch.
      num_workers: number of worker processes; 0 loads in threads of this process.
      prefetch: number of batches that each worker keeps ready, at least 1.

    Returns:
      an iterator as from `training_batches`; rows with `is_real` False must not be evaluated.

    Raises:
      ValueError: the hosts cannot share the batch equally or `on_error` is unknown.
      DataError: raised by the iteration, if an image cannot be read under `on_error='raise'`.
    """
    loader = _BatchLoader(
        source=source,
        plan=plan,
        start_step=0,
        num_steps=len(plan),
        max_boxes=max_boxes,
        on_error=on_error,
        process_index=process_index,
        process_count=process_count,
    )
    return BatchIterator(loader, num_workers, prefetch)
