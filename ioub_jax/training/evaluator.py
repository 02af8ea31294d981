"""Evaluation of a detector on a whole data set: COCO results, and their metrics."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ioub_jax import files
from ioub_jax.data.batching import without_fillers
from ioub_jax.data.loading import Loading
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.tiles import whole_of
from ioub_jax.detectors import PlacedDetector
from ioub_jax.devices import hosts
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import coco_format
from ioub_jax.evaluation.metric import Metric, Report, finite
from ioub_jax.evaluation.recorded_numbers import is_loss
from ioub_jax.evaluation.thresholds import ScoreThresholds, best_thresholds
from ioub_jax.training.tile_collection import Collector, collector_of
from ioub_jax.workdirs import score_thresholds


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of a detector on a data set, and the inputs that they were computed from.

    Attributes:
      reports: the report of each metric by the metric's name, in the order of the metrics; empty if
        there are no annotations.
      results: the detections, one COCO result dict each.
      headline_key: the number of the first report that picks the best checkpoint; None without one.
      highest_score: the highest score of all candidates, whether they became detections or not;
        None if it is unknown.
      score_threshold: the score that every detection exceeds.
      losses: the terms of the objective by name; empty if they were not computed.
      thresholds: the best score thresholds for detections; None if there are no annotations.
    """

    reports: Mapping[str, Report]
    results: list[dict[str, Any]]
    headline_key: str | None = None
    highest_score: float | None = None
    score_threshold: float = 0.0
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    thresholds: ScoreThresholds | None = None

    @property
    def headline(self) -> float | None:
        """The number that picks the best checkpoint; None without ground truth."""
        return self.record()[self.headline_key] if self.headline_key else None

    def record(self) -> dict[str, float | None]:
        """The numbers for `evaluation.jsonl`, under the keys of the metrics.

        COCO's are `AP`, `APs`, `AR100`, ..., VOC's `voc_AP`, `voc_AP50`, ... (11 points) and
        `voc_all_points_AP`, `voc_all_points_AP50`, ... The losses are `loss` and its terms, None
        where they are not finite.
        """
        values = {
            key: number
            for report in self.reports.values()
            for key, number in report.numbers.items()
        } | {name: finite(value) for name, value in self.losses.items()}
        # The headline comes first, where comparisons of runs look for it.
        return {key: values[key] for key in [self.headline_key] if key} | values

    def describe(self) -> str:
        """The tables for a terminal, or a sentence on why there are none."""
        tables = [
            f"{name if report.title is None else report.title}, {report.table}"
            for name, report in self.reports.items()
        ] or [
            "The data set has no annotations, so there is nothing to compare the detections with; "
            "*_detections.json is the results file for its evaluation server, with the data set's "
            "own category ids."
        ]
        return "\n\n".join([*tables, *self._loss(), *self._why_nothing()])

    def _loss(self) -> Iterator[str]:
        """A line with the loss and its terms."""
        if self.losses:
            terms = [
                f"{name.removeprefix('loss_')} {value:.4f}"
                for name, value in self.losses.items()
                if name != "loss"
            ]
            yield f"Loss {self.losses['loss']:.4f} ({', '.join(terms)})."

    def _why_nothing(self) -> Iterator[str]:
        """A line with the range of the scores, if the headline is 0 or nothing was detected."""
        if self.highest_score is None or (self.results and self.headline != 0.0):
            return
        threshold = f"evaluation.score_threshold={self.score_threshold:g}"
        if not self.results:
            yield (
                f"No score reached {threshold}, the highest was {self.highest_score:.3g}: train "
                "longer, or lower it to see what is found."
            )
        else:
            # The headline of VOC's metric is shown as AP, too.
            headline = str(self.headline_key).removeprefix(f"{next(iter(self.reports))}_")
            yield (
                f"{headline} is 0 with {len(self.results):,} detections; the highest score was "
                f"{self.highest_score:.3g} ({threshold})."
            )

    def write(self, folder: pathlib.Path, name: str) -> None:
        """Writes `NAME_detections.json` (COCO results) and two files of each metric.

        The files of COCO's metric are `NAME_metrics.json` and `NAME_table.txt`, those of other
        metrics `NAME_METRIC_metrics.json` and `NAME_METRIC_table.txt`. If any detection is true, it
        also writes `NAME_thresholds.json`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / f"{name}_detections.json", self.results)
        for metric, report in self.reports.items():
            infix = f"{metric}_" if report.file_infix is None else report.file_infix
            details = report.numbers if report.details is None else report.details
            files.write_json(folder / f"{name}_{infix}metrics.json", details, indent=2)
            files.write_text(folder / f"{name}_{infix}table.txt", report.table + "\n")
        self.write_thresholds(folder, name)

    def write_thresholds(self, folder: pathlib.Path, name: str) -> None:
        """Writes the scores that 'best' stands for to `NAME_thresholds.json`.

        Nothing is written if no detection is true.
        """
        found = self.thresholds
        if found is None or found.all_classes.by_f1 is None:
            return
        scores = zip(found.per_class, found.scores(), strict=True)
        score_thresholds.write(
            folder / score_thresholds.file_name(name),
            found.all_classes.by_f1.threshold,
            [(row.category_id, row.name, score) for row, score in scores],
        )


def check_metrics(metrics: Sequence[Metric]) -> None:
    """Checks everything about metrics that can be checked before they compute anything.

    Raises:
      ConfigError: there is no metric, an object is not a metric, two metrics have the same name, or
        a name cannot be part of a file name.
    """
    if not isinstance(metrics, Sequence):
        raise ConfigError(f"metrics is {metrics!r}; give a sequence of them, such as (metric,).")
    for metric in metrics:
        if isinstance(metric, type) or not callable(getattr(metric, "compute", None)):
            raise ConfigError(
                f"A metric is {metric!r}; it must be an object with `name`, `headline_key` and "
                "`compute`, such as ioub_jax.evaluation.CocoMetric()."
            )
    names = [metric.name for metric in metrics]
    if not names:
        raise ConfigError(
            "metrics is empty; give at least one metric: the headline of the first selects the "
            "best checkpoint."
        )
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two metrics have the name {name!r}; give each its own name.")
        if not re.fullmatch(r"[\w-]+", name, re.ASCII):
            raise ConfigError(
                f"A metric has the name {name!r}, which is part of file names; it must consist of "
                "letters, digits, '_' and '-'."
            )


def evaluate_source(
    predict: Callable[..., Any],
    source: Source,
    detector: PlacedDetector,
    loading: Loading,
    metrics: Sequence[Metric],
    batch_size: int,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    with_losses: bool = False,
) -> Evaluation | None:
    """Evaluates a detector on every image of a source, each counted once.

    If the source consists of tiles, the detections of the tiles of an image are merged, and the
    metrics are computed over whole images.

    Args:
      predict: `PlacedDetector.predict` with the variables bound, or `predict_with_losses` with the
        variables and the carried state bound.
      source: the data set.
      detector: the detector.
      loading: how images become batches.
      metrics: the metrics to compute; the headline of the first picks the best checkpoint.
      batch_size: the images of a batch over all devices and processes.
      should_stop: called before every batch; it must return the same in all processes of a run.
      with_losses: whether `predict` also returns losses. The losses of the evaluation are means
        over the batches, weighted by their numbers of images: each batch is normalized as in
        training.

    Returns:
      The evaluation, or None if `should_stop` returned True.

    Raises:
      ConfigError: as for `compare`.
    """
    check_metrics(metrics)
    collector = collector_of(source, detector)
    highest = -np.inf
    losses = _MeanLosses()
    with loading.evaluation_batches(
        source,
        batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ) as batches:
        for batch in batches:
            if should_stop():
                return None
            # Every process collects the detections of all processes, so that all compute the same
            # metrics.
            names = {key: batch[key] for key in ("image_id", "is_real")}
            if with_losses:
                on_devices = detector.on_devices(without_fillers(batch), batch_size)
                predicted, of_batch = predict(*on_devices)
            else:
                predicted, of_batch = predict(*detector.on_devices(batch, batch_size)), {}
            detections, names = hosts.gather(detector.mesh, predicted, names)
            collect(collector, names, detections)
            losses.add(of_batch, int(names["is_real"].sum()))
            scores = detections.scores[names["is_real"]]
            highest = np.fmax.reduce(scores, axis=None, initial=highest)
    ground_truth = ground_truth_of(source, collector)
    evaluation = compare(ground_truth, collector.results, metrics)
    return dataclasses.replace(
        evaluation,
        highest_score=finite(highest),
        score_threshold=detector.detector.options.score_threshold,
        losses=losses.means(),
    )


class _MeanLosses:
    """Running means of the losses of an evaluation."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = collections.defaultdict(float)
        self._images = 0

    def add(self, losses: Mapping[str, jax.Array], images: int) -> None:
        """Adds the losses of a batch of `images` images."""
        self._images += images
        for name, value in jax.device_get(losses).items():
            self._sums[name] += images * float(value)

    def means(self) -> dict[str, float]:
        """The mean of each loss over all images."""
        return {name: total / max(self._images, 1) for name, total in self._sums.items()}


def compare(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], metrics: Sequence[Metric]
) -> Evaluation:
    """Computes the metrics of some detections; there are no reports without annotations.

    Args:
      ground_truth: a data set in COCO's JSON format.
      results: the detections, one COCO result dict each.
      metrics: the metrics to compute.

    Raises:
      ConfigError: as for `check_metrics`; also if two numbers have the same name, or if the first
        metric has no number under its headline key.
    """
    check_metrics(metrics)
    if not ground_truth["annotations"]:
        return Evaluation(reports={}, results=results)
    reports = {metric.name: metric.compute(ground_truth, results) for metric in metrics}
    _check_numbers(reports)
    first = metrics[0]
    if first.headline_key not in reports[first.name].numbers:
        raise ConfigError(
            f"The metric {first.name!r} calls {first.headline_key!r} its headline, but its numbers "
            f"are {', '.join(reports[first.name].numbers) or 'none'}; name one of them."
        )
    found = [report.thresholds for report in reports.values() if report.thresholds is not None]
    thresholds = found[0] if found else best_thresholds(ground_truth, results)
    return Evaluation(reports, results, first.headline_key, thresholds=thresholds)


def _check_numbers(reports: Mapping[str, Report]) -> None:
    """Checks that no two numbers have the same key in `evaluation.jsonl`."""
    owners = {"step": "the record of an evaluation"}
    for name, report in reports.items():
        if not isinstance(report, Report):
            raise ConfigError(
                f"The metric {name!r} computes a {type(report).__name__}; it must be an "
                "ioub_jax.evaluation.Report."
            )
        for key in report.numbers:
            if is_loss(key):
                owners[key] = "the objective"
            if key in owners:
                raise ConfigError(
                    f"The metric {name!r} has a number {key!r}, which {owners[key]} has, too; give "
                    f"it another key, such as {f'{name}_{key}'!r}."
                )
            owners[key] = f"the metric {name!r}"


def collect(collector: Collector, names: Mapping[str, Any], found: Any) -> None:
    """Adds the detections of a batch.

    Args:
      collector: the collector.
      names: `image_id` and `is_real` of the batch.
      found: the `postprocess.Detections` of the batch, on the host.
    """
    collector.add(
        image_ids=names["image_id"],
        boxes=found.boxes,
        scores=found.scores,
        labels=found.labels,
        valid=found.valid,
        is_real=names["is_real"],
    )


def ground_truth_of(source: Source, collector: Collector) -> dict[str, Any]:
    """The ground truth of the images that were read; `on_error='skip'` may leave some out."""
    ground_truth = coco_format.to_coco_ground_truth(whole_of(source))
    image_ids = collector.image_ids
    return ground_truth | {
        "images": [image for image in ground_truth["images"] if image["id"] in image_ids],
        "annotations": [
            annotation
            for annotation in ground_truth["annotations"]
            if annotation["image_id"] in image_ids
        ],
    }
