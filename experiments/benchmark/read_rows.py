"""Reads an image by rows of tiles and prints the cost; run in a new process each time.

python -m experiments.benchmark.read_rows FILE

The module does not import jax, whose memory would be counted.
"""

import json
import pathlib
import sys
import time

from experiments.benchmark import timing
from ioub_jax.data.image_rows import open_rows
from ioub_jax.data.tiling import Tiling


def main(path: str) -> None:
    """Prints seconds and memory as JSON."""
    before, start = timing.peak_mib() or 0.0, time.perf_counter()
    tiling = Tiling(640, 0.2)
    with pathlib.Path(path).open("rb") as file:
        rows = open_rows(file, path)
        for top in tiling.starts(rows.size[0]).tolist():
            rows.read(top, min(top + tiling.size, rows.size[0]))
    took = {
        "in parts": rows.in_parts,
        "seconds": time.perf_counter() - start,
        "MiB more than before": (timing.peak_mib() or 0.0) - before,
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
