"""Batches from a source by a plan, loaded ahead of time by threads or worker processes.

The elements of the grain data set are whole batches, addressed by their step. Nothing depends on
who loads a batch or when, so the stream is the same for any number of hosts and workers and after
any resume, and there is no iterator state to save.
"""

import dataclasses
import functools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import cv2
import grain
import numpy as np
from absl import flags

from ioub_jax.data.batching import (
    EvaluationPlan,
    Plan,
    PlannedBatch,
    assemble_batch,
    keep_largest,
)
from ioub_jax.data.checks import DataError, check_on_error
from ioub_jax.data.sources.example import Example, Source, create_example
from ioub_jax.data.transforms import random_flips

Batch = dict[str, np.ndarray]
Augment = Callable[[Example, np.random.Generator], Example]


@dataclasses.dataclass(frozen=True)
class _BatchLoader:
    """A random-access sequence of (this host's part of a batch, sentences about what was skipped).

    It is pickled into the worker processes, so everything in it must be.
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
    augment: Augment | None = None  # None also means evaluation: no image may replace another

    def __post_init__(self) -> None:
        check_on_error(self.on_error)
        if self.plan.batch_size % self.process_count:
            raise ValueError(
                f"The batch size {self.plan.batch_size} cannot be shared equally by "
                f"{self.process_count} hosts; make it a multiple."
            )

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, position: int) -> tuple[Batch, tuple[str, ...]]:
        planned = self.plan[self.start_step + position]
        share = self.plan.batch_size // self.process_count
        rows = range(self.process_index * share, (self.process_index + 1) * share)
        sentences: list[str] = []
        examples, is_real = [], []
        for row in rows:
            example, real = self._load(planned, row, sentences)
            examples.append(example)
            is_real.append(real)
        batch = assemble_batch(examples, planned.canvas, max_boxes=self.max_boxes, is_real=is_real)
        return batch, tuple(sentences)

    def _load(self, planned: PlannedBatch, row: int, sentences: list[str]) -> tuple[Example, bool]:
        """One example of a batch, augmented, and whether it counts."""
        index, epoch = int(planned.indices[row]), int(planned.epochs[row])
        if self.augment is None:
            example = self._try_to_load(index, sentences)
            if example is None:
                return self._blank(planned.canvas, index), False
            return example, bool(planned.is_real[row])
        # An unreadable image is replaced by the next readable one: the batch keeps its shape and
        # stays a function of its step.
        candidates = ((index + ahead) % len(self.source) for ahead in range(len(self.source)))
        loaded = (self._try_to_load(candidate, sentences) for candidate in candidates)
        example = next((found for found in loaded if found is not None), None)
        if example is None:
            raise DataError(f"No image of the data set can be read; the last one: {sentences[-1]}")
        rng = np.random.default_rng((self.seed, epoch, index))
        return self.augment(example, rng), True

    def _try_to_load(self, index: int, sentences: list[str]) -> Example | None:
        """The example with at most `max_boxes` objects, or None if its image has to be skipped."""
        try:
            example = self.source[index]
        except DataError as error:
            if self.on_error == "raise":
                raise
            sentences.append(str(error))
            return None
        count = len(example.labels)
        if count > self.max_boxes:
            sentence = (
                f"{self.source.describe(index)}: has {count} objects, more than "
                f"config.data.max_boxes={self.max_boxes}; raise it to {count}"
            )
            if self.on_error == "raise":
                raise DataError(
                    f"{sentence}, or set config.data.on_error='skip' to keep the largest."
                )
            sentences.append(f"{sentence}; the smallest {count - self.max_boxes} were left out.")
            example = keep_largest(example, self.max_boxes)
        return example

    def _blank(self, canvas: tuple[int, int], index: int) -> Example:
        image = np.zeros((*canvas, 3), np.uint8)
        nothing = np.zeros(0)
        return create_example(nothing, nothing, self.source.image_id(index), image=image)


class BatchIterator(Iterator[Batch]):
    """Iterates over batches; a context manager that ends its threads or workers.

    What had to be skipped on the way is logged and appended to the source's `skipped`, once each.
    After the last batch, an error or `close()` nothing is left running.
    """

    def __init__(self, loader: _BatchLoader, num_workers: int, prefetch: int) -> None:
        self._source = loader.source
        self._skipped = set(loader.source.skipped)
        self._length = len(loader)
        batches = _grain_data_set(loader, num_workers, prefetch)
        self._iterator: grain.DatasetIterator[tuple[Batch, tuple[str, ...]]] | None = iter(batches)

    def __len__(self) -> int:
        """The number of batches of the whole iteration."""
        return self._length

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            DataError: With the sentence about the file, wherever the batch was loaded.
        """
        if self._iterator is None:
            raise StopIteration
        try:
            batch, sentences = next(self._iterator)
        except DataError as error:
            self.close()
            # The traceback of a worker process says nothing that the sentence does not.
            raise DataError(str(error)) from None
        except BaseException:
            self.close()
            raise
        for sentence in sentences:
            if sentence not in self._skipped:
                self._skipped.add(sentence)
                self._source.skipped.append(sentence)
                logging.getLogger(__name__).warning("Skipped: %s", sentence)
        # Arrays from a worker live in shared memory, which is scarce and must not outlive grain.
        return {
            name: array if type(array) is np.ndarray else np.array(array)
            for name, array in batch.items()
        }

    def close(self) -> None:
        """Ends the threads and worker processes; harmless when repeated."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

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
) -> grain.IterDataset[tuple[Batch, tuple[str, ...]]]:
    batches = grain.MapDataset.source(loader)
    if num_workers == 0:
        options = grain.ReadOptions(num_threads=prefetch, prefetch_buffer_size=prefetch)
        return batches.to_iter_dataset(options)
    # grain reads absl flags here, which nobody has parsed in a notebook or under pytest.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    # A worker loads its batches one after the other and holds `prefetch` of them ready.
    unbuffered = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return batches.to_iter_dataset(unbuffered).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=prefetch),
        worker_init_fn=_prepare_worker,
    )


def _prepare_worker(worker_index: int, worker_count: int) -> None:
    """Runs first in every worker process."""
    del worker_index, worker_count
    cv2.setNumThreads(0)
    # A signal to the whole process group is for the main process, which then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when the main process is gone, however it was killed."""
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
    horizontal_flip: float = 0.0,
    vertical_flip: float = 0.0,
    on_error: str = "raise",
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    prefetch: int = 2,
) -> BatchIterator:
    """Loads the batches of steps `start_step` to `start_step + num_steps - 1`.

    Args:
        source: The data set.
        plan: What is in each global batch.
        seed: Seed of the augmentation: an image draws from (seed, epoch, index).
        start_step: The first step; a resumed run starts where it stopped.
        num_steps: How many batches to give.
        max_boxes: Ground-truth slots of an image.
        horizontal_flip: Probability of a horizontal flip.
        vertical_flip: Probability of a vertical flip.
        on_error: 'raise', or 'skip' to replace an unreadable image by the next readable one and to
            keep the largest `max_boxes` objects of an image.
        process_index: This host's number.
        process_count: How many hosts share a batch; host k gets the k-th equal part of its rows.
        num_workers: Worker processes; 0 loads in threads of this process.
        prefetch: Batches held ready, for each worker; at least 1.

    Returns:
        An iterator over `assemble_batch` dictionaries with this host's rows.

    Raises:
        ValueError: If the hosts cannot share the batch equally or `on_error` is unknown.
        DataError: From the iteration, under `on_error='raise'`.
    """
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
        augment=functools.partial(random_flips, horizontal=horizontal_flip, vertical=vertical_flip),
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
    """Loads every image once, not augmented, in the batches of an `EvaluationPlan`.

    Args:
        source: The data set.
        plan: The evaluation plan.
        max_boxes: Ground-truth slots of an image.
        on_error: 'raise', or 'skip' to give an unreadable image's row as not real and to keep the
            largest `max_boxes` objects of an image.
        process_index: This host's number.
        process_count: How many hosts share a batch.
        num_workers: Worker processes; 0 loads in threads of this process.
        prefetch: Batches held ready, for each worker; at least 1.

    Returns:
        An iterator as `training_batches`; rows with `is_real` False must not be evaluated.

    Raises:
        ValueError: If the hosts cannot share the batch equally or `on_error` is unknown.
        DataError: From the iteration, under `on_error='raise'`.
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
