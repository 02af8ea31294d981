"""Cost of opening the annotations of a training set for the first time and again.

The file is generated, with the size of COCO's train2017 (118,000 images, 900,000 boxes with
polygons) or that of the flags: `--images=1800000 --boxes=25000000 --nopolygons` is the size of
Objects365.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any

import cv2
import numpy as np
from absl import flags

from experiments.benchmark.compiled import BOXES, IMAGES
from experiments.benchmark.rates import REPEATS
from experiments.benchmark.timing import rounded
from ioub_jax.errors import ConfigError

_POLYGONS = flags.DEFINE_boolean("polygons", True, "Whether the boxes have segmentations.")

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CLASSES = 80
_HEIGHT, _WIDTH = 480, 640
# A file modified in the last 4 seconds is hashed, since another change might not alter its time.
_SETTLED_SECONDS = 5
# A file can have 65,000 names on ext4.
_MOST_LINKS = 60_000
_OF_A_FOLDER = 200_000
_AT_ONCE = 100_000
# Bytes of an image, an annotation and an annotation with a polygon in COCO's files.
_IMAGE_BYTES, _BOX_BYTES, _POLYGON_BYTES = 290, 165, 450


def opening_cost() -> dict[str, Any]:
    """Seconds and memory of opening the file in separate processes.

    The first process finds no index, the next ones find the index of the first. Before the last
    one, the time of the file changes, so that the process reads it for its SHA-256. The file is in
    the system's cache, so the time of the disk is not counted.
    """
    check_opening()
    with tempfile.TemporaryDirectory(prefix="ioub_jax_open_") as temporary:
        folder = pathlib.Path(temporary)
        path = folder / "instances.json"
        _make(folder, _images(), _boxes(), _POLYGONS.value)
        time.sleep(_SETTLED_SECONDS)
        first = _open(folder)
        turns = [_open(folder) for _ in range(REPEATS.value)]
        path.touch()
        touched = _open(folder)
        kept = list((folder / "cache").rglob("*.npz"))
        taken = [first, *turns, touched]
        if any(took["learned"] != first["learned"] for took in taken):
            raise AssertionError("an index differs from its file")
        return {
            "images": _images(),
            "boxes": _boxes(),
            "file MiB": _mib(path.stat().st_size),
            "index MiB": _mib(sum(file.stat().st_size for file in kept)),
            "first": _figures([first]),
            "again": _figures(turns),
            "again, after the file was touched": _figures([touched]),
        }


def check_opening() -> str:
    """A line that describes what would be opened; raises `ConfigError` if there is no space."""
    size = _images() * _IMAGE_BYTES + _boxes() * (_POLYGON_BYTES if _POLYGONS.value else _BOX_BYTES)
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free < 1.5 * size:
        raise ConfigError(
            f"{place} has {_mib(free):,} MiB, and the file needs {_mib(size):,}; set TMPDIR to a "
            "folder with room."
        )
    return (
        f"a COCO file of {_images():,} images and {_boxes():,} boxes, about {_mib(size):,} "
        f"MiB, made in {place} and deleted"
    )


def _images() -> int:
    return IMAGES.value or 118_000


def _boxes() -> int:
    return BOXES.value or 900_000


def _mib(size: float) -> float:
    return round(size / 2**20, 1)


def _figures(taken: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the median times and the peak memory over some processes."""
    return {
        "CPU seconds": rounded(statistics.median(took["CPU seconds"] for took in taken)),
        "wall seconds": rounded(statistics.median(took["wall seconds"] for took in taken)),
        "peak MiB": max(took["peak MiB"] or 0.0 for took in taken),
    }


def _open(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the cost in one process, which keeps its index in the folder."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmark.open_once", folder],
        cwd=_ROOT,
        env=os.environ | {"IOUB_JAX_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise ConfigError("A process that opened the file ended; its output is above.")
    took: dict[str, Any] = json.loads(done.stdout)
    return took


def _make(folder: pathlib.Path, images: int, boxes: int, polygons: bool) -> None:
    """Writes the JSON, and the images as names (hard links) of a few files."""
    names = [f"{number // _OF_A_FOLDER}/{number:012d}.jpg" for number in range(images)]
    encoded = cv2.imencode(".jpg", np.zeros((_HEIGHT, _WIDTH, 3), np.uint8))[1].tobytes()
    for begin in range(0, images, _OF_A_FOLDER):
        (folder / "images" / pathlib.Path(names[begin]).parent).mkdir(parents=True)
    for number, name in enumerate(names):
        path = f"{folder}/images/{name}"
        if number % _MOST_LINKS == 0:
            pathlib.Path(path).write_bytes(encoded)
            first = path
        else:
            os.link(first, path)
    with (folder / "instances.json").open("w") as file:
        file.write('{"info": {"description": "made"}, "images": [')
        _write(file, map(_image, range(images), names))
        file.write('], "annotations": [')
        _write(file, _annotations(images, boxes, polygons))
        file.write('], "categories": [')
        _write(file, (f'{{"id": {label}, "name": "c{label}"}}' for label in range(_CLASSES)))
        file.write("]}")


def _write(file: IO[str], entries: Iterator[str]) -> None:
    for number, entry in enumerate(entries):
        file.write(f", {entry}" if number else entry)


def _image(number: int, name: str) -> str:
    """Returns an image's entry, with the URLs that COCO's entries have."""
    return (
        f'{{"license": 3, "file_name": "{name}", '
        f'"coco_url": "http://images.cocodataset.org/train2017/{name}", '
        f'"height": {_HEIGHT}, "width": {_WIDTH}, "date_captured": "2013-11-14 11:18:45", '
        f'"flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg", '
        f'"id": {number}}}'
    )


def _annotations(images: int, boxes: int, polygons: bool) -> Iterator[str]:
    """Yields annotations with numbers as COCO writes them, of images in random order."""
    rng = np.random.default_rng(0)
    shapes = [rng.uniform(0, _HEIGHT, 2 * corners).round(2) for corners in rng.integers(6, 42, 997)]
    extras = [f'"segmentation": [{shape.tolist()}]' for shape in shapes]
    if not polygons:
        extras = ['"isfake": 0, "isreflected": 0']
    for begin in range(0, boxes, _AT_ONCE):
        count = min(_AT_ONCE, boxes - begin)
        corners = rng.uniform(0, (_WIDTH - 140, _HEIGHT - 80), (count, 2))
        sides = rng.uniform(2, (140, 80), (count, 2))
        rows = zip(
            range(begin, begin + count),
            np.hstack([corners, sides]).round(2).tolist(),
            (0.7 * sides.prod(axis=1)).tolist(),
            rng.integers(images, size=count).tolist(),
            rng.integers(_CLASSES, size=count).tolist(),
            strict=True,
        )
        for number, box, area, image, label in rows:
            yield (
                f'{{{extras[number % len(extras)]}, "area": {area}, "iscrowd": 0, '
                f'"image_id": {image}, "bbox": {box}, "category_id": {label}, "id": {number}}}'
            )
