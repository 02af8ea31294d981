"""Cost of reading an image of 108 million pixels by rows of tiles."""

import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import cv2
import numpy as np

from experiments.benchmark.timing import rounded

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_HEIGHT, _WIDTH = 9000, 12000
_FILES = {
    "PNG": ("image.png", [cv2.IMWRITE_PNG_COMPRESSION, 1]),
    "TIFF (LZW, strips)": ("image.tif", []),
    "JPEG": ("image.jpg", [cv2.IMWRITE_JPEG_QUALITY, 90]),
}


def reading_cost() -> dict[str, Any]:
    """Seconds and memory of reading it in tiles of 640 pixels, in a process for every format."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 248, (_HEIGHT // 20, _WIDTH // 20, 3), np.uint8)
    pixels = cv2.resize(small, (_WIDTH, _HEIGHT))
    pixels += rng.integers(0, 8, pixels.shape, np.uint8)
    result: dict[str, Any] = {"size": [_HEIGHT, _WIDTH], "decoded MiB": pixels.nbytes >> 20}
    with tempfile.TemporaryDirectory(prefix="ioub_jax_huge_") as temporary:
        for name, (file, options) in _FILES.items():
            path = pathlib.Path(temporary) / file
            cv2.imwrite(str(path), pixels, options)
            result[name] = {"file MiB": rounded(path.stat().st_size / 2**20), **_read(path)}
    return result


def check_reading() -> str:
    """A line that describes what would be read."""
    return f"an image of {_WIDTH}x{_HEIGHT} as {', '.join(_FILES)}, made for it"


def _read(path: pathlib.Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "experiments.benchmark.read_rows", str(path)]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    took: dict[str, Any] = json.loads(done.stdout)
    figures = {key: took[key] for key in ("seconds", "MiB more than before")}
    return {"in parts": took["in parts"]} | {key: rounded(took) for key, took in figures.items()}
