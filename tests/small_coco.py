"""A data set in COCO's format of a few small images, for the tests of what reads one."""

import json
import pathlib

import cv2
import numpy as np

from ioub_jax.data.sources.coco import CocoSource

SIZES = ((30, 40), (40, 30), (36, 36))


def all_that_is_read(source: CocoSource) -> list:
    """All that a source has read of its file, as values that can be compared."""
    arrays = vars(source._annotations).items()
    return [
        {name: (array.dtype.str, array.tolist()) for name, array in arrays},
        [source.describe(index) for index in range(len(source))],
        source.classes,
        source.category_ids,
        source.skipped,
        source.census,
        source.written_ids,
    ]


def write(folder: pathlib.Path, count: int = 22, most_objects: int = 5) -> pathlib.Path:
    """Writes `count` images of three aspect ratios, 1.png and so on, and their instances.json."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, count + 1):
        height, width = SIZES[number % 3]
        pixels = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (width, height))
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        size = {"height": height, "width": width}
        images.append({"id": number, "file_name": f"{number}.png", **size})
        for _ in range(rng.integers(most_objects + 1)):
            left, top, *sides = rng.integers(1, 15, 4).tolist()
            box = {"bbox": [left, top, *sides], "category_id": 1, "image_id": number}
            annotations.append({"id": len(annotations) + 1, **box})
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "thing"}]
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"
