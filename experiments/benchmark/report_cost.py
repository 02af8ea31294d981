"""Cost of a report on a whole evaluation: seconds, and the bytes of the page."""

from typing import Any

import cv2
import numpy as np

from experiments.benchmark import detection_metrics, timing
from experiments.benchmark.rates import REPEATS
from ioub_jax.report import page
from ioub_jax.report.measurement import measure

_SIDE = 640
_MIB = 2**20


class _Drawn:
    """Images of noise at several scales, about as hard to compress as photographs."""

    def read(self, number: int) -> np.ndarray:
        """As `ImageReader`."""
        rng = np.random.default_rng(number)
        image = np.zeros((_SIDE, _SIDE, 3), np.float32)
        for side in (10, 40, 160):
            noise = rng.normal(0.0, 20.0, (side, side, 3)).astype(np.float32)
            image += cv2.resize(noise, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
        return np.clip(image + 128, 0, 255).astype(np.uint8)


def report_cost() -> dict[str, Any]:
    """Seconds to measure generated detections and to write a page on them, and its size."""
    ground_truth = detection_metrics.generated_truth()
    for image in ground_truth["images"]:
        image |= {"width": _SIDE, "height": _SIDE, "file_name": f"{image['id']:06d}.jpg"}
    detections = detection_metrics.generated_detections(ground_truth)
    turns = []
    for _ in range(REPEATS.value):
        start = timing.now()
        measured = measure(ground_truth, detections, "generated")
        is_measured = timing.now()
        made = page.make_page(measured, _Drawn())
        end = timing.now()
        turns.append({"measuring": is_measured - start, "page": end - is_measured})
    return {
        "images": len(ground_truth["images"]),
        "detections": len(detections),
        "pictures": made.pictures,
        "page, MiB": round(len(made.text.encode()) / _MIB, 2),
        "turns": len(turns),
        **{part: timing.of_turns([turn[part] for turn in turns]) for part in turns[0]},
    }
