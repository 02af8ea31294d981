"""Opens a COCO JSON as a training does and prints the cost; run in a new process each time.

python -m experiments.benchmark.open_once FOLDER

The folder has `instances.json` and `images`. The module does not import jax, whose memory would
be counted.
"""

import json
import pathlib
import sys
import time

from experiments.benchmark import timing
from ioub_jax.data.sources import CocoSource, Learned, Rules, Source
from ioub_jax.data.sources.fingerprint import fingerprint_of
from ioub_jax.data.sources.image_survey import with_reading
from ioub_jax.data.sources.learned import count_learned, with_learned_images


def opened(folder: pathlib.Path) -> tuple[Source, Learned]:
    """The training data and its learned objects, as `from_config.data_parts` opens it."""
    source = CocoSource(folder / "instances.json", folder / "images", split="train")
    rules = Rules(keep_empty=False, max_boxes=100, verb="used for training")
    source = with_reading(source, "coco train")
    return with_learned_images(source, rules), count_learned(source, rules)


def main(folder: str) -> None:
    """Prints seconds and memory as JSON."""
    processor, wall = time.process_time(), time.perf_counter()
    source, learned = opened(pathlib.Path(folder))
    fingerprint = fingerprint_of(source)
    assert learned.boxes is not None
    took = {
        "CPU seconds": time.process_time() - processor,
        "wall seconds": time.perf_counter() - wall,
        "peak MiB": timing.peak_mib(),
        "learned": [learned.images.listed, learned.boxes.listed, fingerprint.objects],
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1])
