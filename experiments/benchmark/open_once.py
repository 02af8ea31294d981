"""Opens a COCO JSON as a training does and prints what that took: a process of its own each time.

python -m experiments.benchmark.open_once FOLDER

The folder has `instances.json` and `images`. Nothing here imports jax, whose memory would count.
"""

import json
import sys
import time

import ml_collections

from experiments.benchmark import timing
from ioub_jax.data import sources
from ioub_jax.data.sources.fingerprint import fingerprint_of


def data_config(folder: str) -> ml_collections.ConfigDict:
    """A `config.data` for the folder."""
    coco = {"root": folder, "train_annotations": "instances.json", "train_images": "images"}
    return ml_collections.ConfigDict(
        {
            "source": "coco",
            "on_error": "raise",
            "keep_empty": False,
            "max_boxes": 100,
            "exif": "ignore",
            "bit_depth": None,
            "coco": coco | {"classes": ()},
        }
    )


def main(folder: str) -> None:
    """Prints seconds and memory as JSON."""
    processor, wall = time.process_time(), time.perf_counter()
    source, learned = sources.open_counted(data_config(folder), "train")
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
