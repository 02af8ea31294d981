"""What is told of the input pipeline's speed."""

import multiprocessing
import time

import numpy as np
import PIL.Image
import pytest

from ioub_jax.data import throughput
from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import BatchPlan
from ioub_jax.data.sources import FileSource, ShapesSource
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example


def test_seconds_of_the_processors_are_those_of_the_workers_too():
    before = throughput._cpu_seconds()
    worker = multiprocessing.get_context("spawn").Process(target=sum, args=(range(10**12),))
    worker.start()
    try:
        ends = time.monotonic() + 60.0
        own = time.process_time()
        while throughput._cpu_seconds() - before < 0.2 and time.monotonic() < ends:
            time.sleep(0.05)
        own = time.process_time() - own
        assert throughput._cpu_seconds() - before >= 0.2 > own
    finally:
        worker.terminate()
        worker.join()


def test_every_stage_is_measured_on_the_first_batches(tmp_path):
    examples = []
    for number in range(3):
        PIL.Image.new("RGB", (40, 30)).save(tmp_path / f"{number}.png")
        examples.append(create_example([[0, 0, 9, 9], [0, 0, 5, 5]], [0, 0], number))
    source = FileSource(
        collect_annotations(examples, np.array([[30, 40]] * 3)),
        [str(tmp_path / f"{number}.png") for number in range(3)],
        ("cat",),
        (1,),
        [],
    )
    plan = BatchPlan(source.sizes, 2, 0, [(60, 80)])
    benchmark = throughput.InputBenchmark(
        source, plan, 2, seed=0, max_boxes=1, augmentation=Augmentation(horizontal_flip=1.0)
    )
    assert len(benchmark) == 4
    rates = benchmark.stages()
    assert list(rates) == ["read", "decode", "resize", "augment and resize", "batch"]
    pipeline, memory = benchmark.whole_pipeline(workers=0)
    assert all(rate.wall > 0 for rate in (benchmark.bare_loop(), *rates.values(), pipeline))
    assert memory == 0.0  # of no worker


def test_only_files_are_measured():
    source = ShapesSource(num_images=2)
    with pytest.raises(ValueError, match=r"^source has images that are not files"):
        throughput.InputBenchmark(
            source, BatchPlan(source.sizes, 1, 0, [(64, 64)]), 1, seed=0, max_boxes=1
        )
