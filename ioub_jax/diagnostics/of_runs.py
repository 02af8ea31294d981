"""Diagnosis of a trained detector, including the losses by NMS, and of a file of detections."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax import boxes, postprocess
from ioub_jax.data.checks import DataError
from ioub_jax.detectors import Anchors, Batch
from ioub_jax.detectors.placed import PlacedDetector, in_original_pixels
from ioub_jax.diagnostics import of_detections, suppression
from ioub_jax.diagnostics.detection_files import read_json
from ioub_jax.evaluation.coco_metrics import CocoMetric
from ioub_jax.objective import histograms
from ioub_jax.trained import Trained
from ioub_jax.training import evaluator, tile_collection
from ioub_jax.workdirs import records


def diagnose_workdir(workdir: pathlib.Path, model: Trained) -> dict[str, Any]:
    """Diagnoses a run, and returns the report as a dict for JSON.

    Args:
      workdir: the run's folder.
      model: its detector, with the images to use it on.

    Returns:
      the result of `of_detections.diagnosis_to_json`, with `suppression` and `histograms`. The
      latter have their `ranges` and the `records` of `histograms.jsonl`; runs of earlier versions
      do not have them.

    Raises:
      DataError: an image is broken.
    """
    ground_truth, results, summary = search_source(model)
    counted = [metric.counted for metric in model.metrics if isinstance(metric, CocoMetric)]
    diagnosis = of_detections.diagnose(ground_truth, results, *counted[:1])
    report = of_detections.diagnosis_to_json(diagnosis)
    report["suppression"] = dataclasses.asdict(summary)
    recorded = [
        record
        for record in records.read_records(workdir / "histograms.jsonl", sys.maxsize)
        if histograms.RANGES.keys() <= record.keys()  # a custom objective has none
    ]
    if recorded:
        report["histograms"] = {"ranges": histograms.RANGES, "records": recorded}
    return report


class Found(NamedTuple):
    """Detections of a batch, and the localization of each ground-truth box before and after NMS.

    Attributes:
      detections: the detections, in pixels of the original images.
      candidate_ious: `[B, M]`, for every ground-truth slot the highest IoU among the candidates of
        its class.
      kept_ious: `[B, M]`, the same among the detections.
    """

    detections: postprocess.Detections
    candidate_ious: jax.Array
    kept_ious: jax.Array


def make_search(placed: PlacedDetector) -> Callable[..., Found]:
    """Returns `search(variables, batch, anchors)`: the detections of `predict`, and the IoUs."""

    @jax.jit
    def search(variables: Any, batch: Batch, anchors: Anchors) -> Found:
        candidates = placed.find_candidates(variables, batch, anchors)
        kept = placed.suppress(candidates)
        return Found(
            detections=in_original_pixels(kept, batch),
            candidate_ious=best_ious(batch["boxes"], batch["labels"], candidates),
            kept_ious=best_ious(batch["boxes"], batch["labels"], kept),
        )

    return search


def best_ious(
    targets: jax.Array, labels: jax.Array, found: postprocess.Candidates | postprocess.Detections
) -> jax.Array:
    """The highest IoU of every ground-truth box with the found boxes of its class.

    Args:
      targets: `[B, M, 4]` xyxy, in the pixels of `found`.
      labels: `[B, M]` int32.
      found: `[B, P]` boxes.

    Returns:
      `[B, M]` float32; 0 for a ground-truth box that no found box overlaps.
    """

    # The slots are processed one after the other, since M x P IoUs per image would be large.
    def best_of(slot: tuple[jax.Array, jax.Array]) -> jax.Array:
        target, label = slot
        ious = jax.vmap(boxes.pairwise_iou)(found.boxes, target[:, None])[..., 0]
        counts = found.valid & (found.labels == label[:, None])
        return jnp.max(jnp.where(counts, ious, 0.0), axis=1)

    slots = (jnp.swapaxes(targets, 0, 1), jnp.swapaxes(labels, 0, 1))
    return jnp.swapaxes(jax.lax.map(best_of, slots), 0, 1)


def search_source(
    model: Trained,
) -> tuple[dict[str, Any], list[dict[str, Any]], suppression.Suppression]:
    """Detects in every image of a trained detector's source, in a single process.

    Objects beyond `data.max_boxes` of an image do not count for the suppression. The suppression in
    tiles is measured tile by tile, with the objects that each tile shows.

    Returns:
      the ground truth in COCO's format, the detections in COCO's results format, and the losses by
      NMS.

    Raises:
      DataError: an image is broken.
    """
    search = functools.partial(make_search(model.placed), model.variables)
    collector = tile_collection.collector_of(model.source, model.placed)
    candidate_ious, kept_ious = [], []
    with model.loading.evaluation_batches(model.source, model.batch_size) as batches:
        for batch in batches:
            found = jax.device_get(search(*model.placed.on_devices(batch)))
            evaluator.collect(collector, batch, found.detections)
            regions = batch["crowd"] | batch["ignored"]
            objects = batch["valid"] & ~regions & batch["is_real"][:, None]
            candidate_ious.append(found.candidate_ious[objects])
            kept_ious.append(found.kept_ious[objects])
    ground_truth = evaluator.ground_truth_of(model.source, collector)
    summary = suppression.suppression_of(np.concatenate(candidate_ious), np.concatenate(kept_ious))
    return ground_truth, collector.results, summary


# ------------------------------------------------------------------ detections of any detector


def diagnose_file(
    path: pathlib.Path, annotations: pathlib.Path, ground_truth: dict[str, Any]
) -> dict[str, Any]:
    """The diagnosis of a file of detections; `annotations` is the path of `ground_truth`.

    Raises:
      DataError: the file is broken, or does not belong to this ground truth.
    """
    try:
        found = of_detections.diagnose(ground_truth, read_json(path, list))
    except (AttributeError, KeyError, TypeError) as error:
        sentence = f"{path} or {annotations} is not in COCO's format: {error!r}."
        raise DataError(sentence, "broken_annotation") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {error}.", "broken_annotation") from None
    return of_detections.diagnosis_to_json(found)
