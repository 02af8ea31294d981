"""What is told of the input pipeline's speed."""

import multiprocessing
import time

from ioub_jax.data import throughput


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
