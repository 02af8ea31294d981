"""Cost of detection in images of mixed sizes in one call, compared with images of one size."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark import exported, timing
from experiments.benchmark.compiled import BATCH
from experiments.benchmark.rates import REPEATS

_IMAGES = 48
_BATCH = 8
#: The range of the sides of an image, relative to those of a canvas.
_FACTORS = (0.5, 2.0)


def mixed_beside_alike() -> dict[str, Any]:
    """Seconds for images of one size, of mixed sizes together, and of mixed sizes one by one.

    All three take turns. The mixed images have random sizes and the shapes of the canvases, in
    random order; the images of one size have the mean area of the mixed ones. One by one, images
    are in batches of one. The weights are those of the first step.
    """
    exported.check_configuration()
    detector, alone = map(exported.untrained_detector, (BATCH.value or _BATCH, 1))
    mixed = _mixed(detector.canvases)
    side = int(np.sqrt(np.mean([image.shape[0] * image.shape[1] for image in mixed])))
    alike = [_image((side, side)) for _ in mixed]
    works: dict[str, Callable[[], Any]] = {
        "one size": lambda: detector(alike),
        "mixed sizes": lambda: detector(mixed),
        "mixed sizes, one by one": lambda: [alone(image) for image in mixed],
    }
    for work in works.values():
        work()  # compile
    turns = [
        {name: exported.seconds_of(work) for name, work in works.items()}
        for _ in range(REPEATS.value)
    ]
    by_work = {name: [turn[name] for turn in turns] for name in works}
    return {
        "images": len(mixed),
        "canvases": [list(canvas) for canvas in detector.canvases],
        "batch size": detector.batch_size,
        "turns": len(turns),
        **{name: timing.of_turns(spent) for name, spent in by_work.items()},
        "mixed, times as fast as one size": timing.times_as_fast(
            by_work["mixed sizes"], by_work["one size"]
        ),
        "mixed, times as fast as one by one": timing.times_as_fast(
            by_work["mixed sizes"], by_work["mixed sizes, one by one"]
        ),
    }


def _mixed(canvases: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(canvases), _IMAGES)
    factors = random.uniform(*_FACTORS, _IMAGES)
    return [
        _image((round(canvases[index][0] * factor), round(canvases[index][1] * factor)))
        for index, factor in zip(chosen, factors, strict=True)
    ]


def _image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
