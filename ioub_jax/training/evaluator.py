"""A detector over a whole data set: detections in COCO's results format, and their metrics."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from ioub_jax import files
from ioub_jax.data.sources.example import Source
from ioub_jax.devices import hosts
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import coco_format, coco_metrics, voc_metrics
from ioub_jax.from_config import data_parts
from ioub_jax.training.detector import Detector


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of a detector on a data set, and what they were computed from.

    Attributes:
      coco: the COCO metrics; None where they were not asked for, or nothing is annotated.
      voc: the PASCAL VOC metrics; None likewise.
      headline: the AP of the first of `config.evaluation.metrics`, VOC's over 11 points; None
        without ground truth.
      results: the detections, one COCO result dict each.
      highest_score: of all candidates, detections or not; None where it is not known.
      score_threshold: `config.evaluation.score_threshold`, which detections exceed.
    """

    coco: coco_metrics.CocoMetrics | None
    voc: voc_metrics.VocMetrics | None
    headline: float | None
    results: list[dict[str, Any]]
    highest_score: float | None = None
    score_threshold: float = 0.0

    def record(self) -> dict[str, float | None]:
        """The numbers for `evaluation.jsonl`.

        COCO's have their own keys (`AP`, `APs`, `AR100`, ...), VOC's are `voc_AP`, `voc_AP50`, ...
        (11 points) and `voc_all_points_AP`, `voc_all_points_AP50`, ...
        """
        values: dict[str, float | None] = {}
        if self.coco:
            values |= self.coco.summary
        if self.voc:
            values |= {f"voc_{key}": ap for key, ap in self.voc.eleven_point.items()}
            values |= {f"voc_all_points_{key}": ap for key, ap in self.voc.all_points.items()}
        return values

    def describe(self) -> str:
        """The tables for a terminal, or a sentence that says why there are none."""
        tables = [f"{title}, {table}" for title, table in self._tables()] or [
            "The data set has no annotations, so there is nothing to compare the detections with; "
            "*_detections.json is the results file for its evaluation server, with the data set's "
            "own category ids."
        ]
        return "\n\n".join([*tables, *self._why_nothing()])

    def _why_nothing(self) -> Iterator[str]:
        """Where AP is 0, or nothing was found, what scores there are."""
        if self.highest_score is None or (self.results and self.headline != 0.0):
            return
        threshold = f"evaluation.score_threshold={self.score_threshold:g}"
        if not self.results:
            yield (
                f"No score reached {threshold}, the highest was {self.highest_score:.3g}: train "
                "longer, or lower it to see what is found."
            )
        else:
            yield (
                f"AP is 0 with {len(self.results):,} detections; the highest score was "
                f"{self.highest_score:.3g} ({threshold})."
            )

    def _tables(self) -> Iterator[tuple[str, str]]:
        if self.coco:
            yield "COCO", coco_metrics.format_table(self.coco)
        if self.voc:
            yield "PASCAL VOC", voc_metrics.format_voc_table(self.voc)

    def write(self, folder: pathlib.Path, name: str) -> None:
        """Writes `NAME_detections.json` (COCO results) and what there is of metrics.

        COCO's are `NAME_metrics.json` and `NAME_table.txt`, VOC's `NAME_voc_metrics.json` and
        `NAME_voc_table.txt`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / f"{name}_detections.json", self.results)
        if self.coco:
            report = coco_metrics.metrics_to_json(self.coco)
            files.write_json(folder / f"{name}_metrics.json", report, indent=2)
            files.write_text(
                folder / f"{name}_table.txt", coco_metrics.format_table(self.coco) + "\n"
            )
        if self.voc:
            report = voc_metrics.voc_metrics_to_json(self.voc)
            files.write_json(folder / f"{name}_voc_metrics.json", report, indent=2)
            files.write_text(
                folder / f"{name}_voc_table.txt", voc_metrics.format_voc_table(self.voc) + "\n"
            )


def check_metrics(config: ml_collections.ConfigDict) -> None:
    """Checks `config.evaluation.metrics`.

    Raises:
      ConfigError: it is empty, or names a metric twice or one that does not exist.
    """
    names = tuple(config.evaluation.metrics)
    if not names or len(set(names)) < len(names) or not set(names) <= {"coco", "voc"}:
        raise ConfigError(
            f"evaluation.metrics is {names!r}; it must name 'coco', 'voc' or both, first the one "
            "whose AP picks the best checkpoint."
        )


def headline_key(config: ml_collections.ConfigDict) -> str:
    """What a record calls the headline: the key in `evaluation.jsonl` that says which is best."""
    return {"coco": "AP", "voc": "voc_AP"}[config.evaluation.metrics[0]]


def evaluate_source(
    predict: Callable[..., Any],
    source: Source,
    detector: Detector,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """The configured metrics of a detector over every image of a source, each counted once.

    Args:
      predict: from `step.make_predict_step`, with the variables given.
      source: the data set.
      detector: the detector.
      should_stop: asked before every batch; all processes of a run must get the same answer.

    Returns:
      The evaluation, or None where `should_stop` said so.

    Raises:
      ConfigError: as `check_metrics`.
    """
    check_metrics(detector.config)
    collector = coco_format.DetectionCollector(source.category_ids, source.written_ids)
    highest = -np.inf
    with data_parts.evaluation_batches_of(
        detector.config,
        source,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ) as batches:
        for batch in batches:
            if should_stop():
                return None
            # Every process collects the detections of all, so that all know the same metrics.
            names = {key: batch[key] for key in ("image_id", "is_real")}
            predicted = predict(*detector.on_devices(batch, detector.config.evaluation.batch_size))
            detections, names = hosts.gather(detector.mesh, predicted, names)
            collect(collector, names, detections)
            scores = detections.scores[names["is_real"]]
            highest = np.fmax.reduce(scores, axis=None, initial=highest)
    ground_truth = ground_truth_of(source, collector)
    evaluation = compare(ground_truth, collector.results, detector.config.evaluation)
    return dataclasses.replace(
        evaluation,
        highest_score=float(highest) if np.isfinite(highest) else None,
        score_threshold=detector.config.evaluation.score_threshold,
    )


def compare(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], config: ml_collections.ConfigDict
) -> Evaluation:
    """The metrics that `config.evaluation` asks for; none where nothing is annotated.

    Args:
      ground_truth: a data set in COCO's JSON format.
      results: the detections, one COCO result dict each.
      config: `config.evaluation`: `metrics` and `backend`.
    """
    if not ground_truth["annotations"]:
        return Evaluation(coco=None, voc=None, headline=None, results=results)
    of_coco, of_voc, headlines = None, None, {}
    if "coco" in config.metrics:
        of_coco = coco_metrics.evaluate_detections(ground_truth, results, backend=config.backend)
        headlines["coco"] = of_coco.summary["AP"]
    if "voc" in config.metrics:
        of_voc = voc_metrics.evaluate_voc(ground_truth, results)
        headlines["voc"] = of_voc.eleven_point["AP"]
    return Evaluation(of_coco, of_voc, headlines[config.metrics[0]], results)


def collect(
    collector: coco_format.DetectionCollector, names: Mapping[str, Any], found: Any
) -> None:
    """Adds `postprocess.Detections` of a batch, on the host; `names` has its ids and `is_real`."""
    collector.add(
        image_ids=names["image_id"],
        boxes=found.boxes,
        scores=found.scores,
        labels=found.labels,
        valid=found.valid,
        is_real=names["is_real"],
    )


def ground_truth_of(source: Source, collector: coco_format.DetectionCollector) -> dict[str, Any]:
    """The ground truth of the images that were read; under `on_error='skip'` some may not be."""
    ground_truth, image_ids = coco_format.to_coco_ground_truth(source), collector.image_ids
    return ground_truth | {
        "images": [image for image in ground_truth["images"] if image["id"] in image_ids],
        "annotations": [
            annotation
            for annotation in ground_truth["annotations"]
            if annotation["image_id"] in image_ids
        ],
    }
