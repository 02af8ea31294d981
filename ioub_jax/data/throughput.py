"""Images per second of the input pipeline, stage by stage and as a whole.

Everything is measured on training images, in the order of their batch plan. The reference is the
least that any loader must do: a single-threaded loop of `cv2.imdecode` and `cv2.resize`.
"""

import itertools
import multiprocessing
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from ioub_jax.data import pipeline
from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import BatchPlan, assemble_batch, keep_largest
from ioub_jax.data.images import AS_STORED, decode_image
from ioub_jax.data.partners import Others, mosaic_draw
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.file_source import AnnotatedImages, scale_to_image
from ioub_jax.data.transforms import resize

Size = tuple[int, int]


class Rate(NamedTuple):
    """Images per second.

    Attributes:
      wall: images per second of elapsed time.
      cpu: images per second of CPU time, including worker processes; infinite if the CPU time is
        below the resolution of its clock.
    """

    wall: float
    cpu: float


class InputBenchmark:
    """The first images of a training, and the benchmarks on them.

    Args:
      source: the training images, which must be files.
      plan: the plan of their batches.
      num_batches: the number of batches; their decoded images are kept in memory.
      seed: the seed of the augmentation, as for `pipeline.training_batches`.
      max_boxes: ground-truth slots of an image.
      augmentation: the random transforms.
      on_error: 'raise' or 'skip'.

    Raises:
      ValueError: the images are not files.
    """

    def __init__(
        self,
        source: Source,
        plan: BatchPlan,
        num_batches: int,
        *,
        seed: int,
        max_boxes: int,
        augmentation: Augmentation = pipeline.NO_AUGMENTATION,
        on_error: str = "raise",
    ) -> None:
        self._source = source
        self._plan = plan
        self._seed = seed
        self._max_boxes = max_boxes
        self._augmentation = augmentation
        self._on_error = on_error
        self._reading = source.reading if isinstance(source, AnnotatedImages) else AS_STORED
        self._num_batches = num_batches
        planned = [plan[step] for step in range(num_batches)]
        self._indices = [int(index) for batch in planned for index in batch.indices]
        self._canvases = [batch.canvas for batch in planned for _ in batch.indices]
        self._paths = [pathlib.Path(source.describe(index)) for index in self._indices]
        if not os.path.isfile(self._paths[0]):
            raise ValueError(
                "source has images that are not files; the input benchmark needs those of 'coco', "
                "'voc' or 'cityscapes'."
            )

    def __len__(self) -> int:
        """The number of images, including repeated ones."""
        return len(self._indices)

    def _original(self, position: int) -> Size:
        height, width = self._source.sizes[self._indices[position]].tolist()
        return height, width

    def _target(self, position: int) -> Size:
        return self._plan.resize.size(self._original(position), self._canvases[position])

    def bare_loop(self) -> Rate:
        """The rate of reading, `cv2.imdecode` and `cv2.resize` to the sizes of training."""

        def work() -> None:
            for position, path in enumerate(self._paths):
                image: Any = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
                height, width = self._target(position)
                cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

        return self._rate(work)

    def stages(self) -> dict[str, Rate]:
        """The rate of every stage by itself, single-threaded."""
        data = [path.read_bytes() for path in self._paths]
        decoded = [
            keep_largest(self._decoded(position, content), self._max_boxes)
            for position, content in enumerate(data)
        ]
        rows = [np.zeros((*canvas, self._reading.channels), np.uint8) for canvas in self._canvases]
        resized = [
            resize(example, self._target(position), rows[position])
            for position, example in enumerate(decoded)
        ]

        def choose(rng: np.random.Generator, count: int) -> list[Any]:
            return [decoded[position] for position in rng.integers(len(decoded), size=count)]

        first = self._plan[0]
        others = Others(choose, lambda one: mosaic_draw(first, self._seed, one.image_id))

        def augment() -> None:
            for position, example in enumerate(decoded):
                rng = np.random.default_rng((self._seed, position))
                self._augmentation(example, rng, self._plan.resize, 1.0, rows[position], others)

        def batch() -> None:
            size = self._plan.batch_size
            for start in range(0, len(resized), size):
                part = slice(start, start + size)
                assemble_batch(
                    np.empty((size, *self._canvases[start], self._reading.channels), np.uint8),
                    resized[part],
                    self._source.sizes[self._indices[part]],
                    max_boxes=self._max_boxes,
                    is_real=[True] * size,
                )

        stages: dict[str, Callable[[], Any]] = {
            "read": lambda: [path.read_bytes() for path in self._paths],
            "decode": lambda: [self._decoded(*item) for item in enumerate(data)],
            "resize": lambda: [
                resize(example, self._target(position), rows[position])
                for position, example in enumerate(decoded)
            ],
            "augment and resize": augment,
            "batch": batch,
        }
        return {name: self._rate(work) for name, work in stages.items()}

    def _decoded(self, position: int, content: bytes) -> Any:
        size = self._original(position)
        image = decode_image(content, "", size, self._target(position), reading=self._reading)
        return scale_to_image(self._source.annotations(self._indices[position]), image, size)

    def _rate(self, work: Callable[[], Any]) -> Rate:
        """The rate of a task on all images; OpenCV uses one thread, as in a worker process."""
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        try:
            start, start_cpu = time.perf_counter(), time.process_time()
            work()
            return self._rate_of(time.perf_counter() - start, time.process_time() - start_cpu)
        finally:
            cv2.setNumThreads(threads)

    def _rate_of(self, wall: float, cpu: float) -> Rate:
        return Rate(len(self) / wall, len(self) / cpu if cpu > 0.0 else float("inf"))

    def whole_pipeline(self, workers: int) -> tuple[Rate, float]:
        """The rate of the batches of training, and the memory of a worker.

        Args:
          workers: number of worker processes; 0 loads in threads of this process.

        Returns:
          the rate after all workers have started and returned their first batch; and the largest
          resident memory of a worker in MiB, which is 0 without workers or if it is unknown.
        """
        warm_up = max(2 * workers, 2)
        steps = warm_up + self._num_batches
        with pipeline.training_batches(
            self._source,
            self._plan,
            seed=self._seed,
            start_step=0,
            num_steps=steps,
            max_boxes=self._max_boxes,
            augmentation=self._augmentation,
            on_error=self._on_error,
            num_workers=workers,
        ) as batches:
            _consume(batches, warm_up)
            start, start_cpu = time.perf_counter(), _cpu_seconds()
            _consume(batches, self._num_batches)
            rate = self._rate_of(time.perf_counter() - start, _cpu_seconds() - start_cpu)
            memory = max(map(_resident_mib, multiprocessing.active_children()), default=0.0)
        return rate, memory


def _consume(batches: Iterator[Any], count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


def _resident_mib(process: Any) -> float:
    """The largest resident memory of a process so far in MiB, from Linux's proc file system."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def _cpu_seconds() -> float:
    """CPU seconds of this process and its living workers, from Linux's proc file system."""
    seconds = time.process_time()
    for process in multiprocessing.active_children():
        try:
            status = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
        except OSError:
            continue
        # Fields 14 and 15 of proc_pid_stat(5), counted after the name, which may contain blanks.
        user, system = status.rpartition(")")[2].split()[11:13]
        seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds
