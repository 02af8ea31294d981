"""A detector over a whole data set: detections in COCO's results format, and their metrics."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from ioub_jax import files
from ioub_jax.data import batching, pipeline
from ioub_jax.data.sources.example import Source
from ioub_jax.evaluation import coco, coco_format
from ioub_jax.training.detector import Detector


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of a detector on a data set, and what they were computed from.

    Attributes:
      metrics: the COCO metrics.
      results: the detections, one COCO result dict each.
    """

    metrics: coco.CocoMetrics
    results: list[dict[str, Any]]

    def write(self, folder: pathlib.Path, name: str) -> None:
        """Writes `NAME_metrics.json`, `NAME_detections.json` (COCO results), `NAME_table.txt`."""
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(
            folder / f"{name}_metrics.json", coco.metrics_to_json(self.metrics), indent=2
        )
        files.write_json(folder / f"{name}_detections.json", self.results)
        files.write_text(folder / f"{name}_table.txt", coco.format_table(self.metrics) + "\n")


def evaluate_source(
    predict: Callable[..., Any],
    source: Source,
    detector: Detector,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """COCO metrics of a detector over every image of a source, each counted once.

    Args:
      predict: from `step.make_predict_step`, with the variables given.
      source: the data set.
      detector: the detector.
      should_stop: asked before every batch.

    Returns:
      The evaluation, or None where `should_stop` said so.
    """
    config = detector.config
    collector = coco_format.DetectionCollector(source.category_ids)
    with evaluation_batches(source, config) as batches:
        for batch in batches:
            if should_stop():
                return None
            detections = jax.device_get(predict(*detector.on_devices(batch)))
            collector.add(
                image_ids=batch["image_id"],
                boxes=detections.boxes,
                scores=detections.scores,
                labels=detections.labels,
                valid=detections.valid,
                is_real=batch["is_real"],
            )
    ground_truth = _restricted(coco_format.to_coco_ground_truth(source), collector.image_ids)
    metrics = coco.evaluate_detections(
        ground_truth, collector.results, backend=config.evaluation.backend
    )
    return Evaluation(metrics, collector.results)


def evaluation_batches(source: Source, config: ml_collections.ConfigDict) -> pipeline.BatchIterator:
    """Every image of a source once, as a configuration wants images scaled and padded."""
    plan = batching.EvaluationPlan(source.sizes, config.evaluation.batch_size, config.data.canvases)
    return pipeline.evaluation_batches(
        source,
        plan,
        max_boxes=config.data.max_boxes,
        on_error=config.data.on_error,
        num_workers=config.runtime.workers,
    )


def _restricted(ground_truth: dict[str, Any], image_ids: set[int]) -> dict[str, Any]:
    """The ground truth of the images that were read; under `on_error='skip'` some may not be."""
    return ground_truth | {
        "images": [image for image in ground_truth["images"] if image["id"] in image_ids],
        "annotations": [
            annotation
            for annotation in ground_truth["annotations"]
            if annotation["image_id"] in image_ids
        ],
    }
