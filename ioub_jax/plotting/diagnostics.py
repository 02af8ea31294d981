"""All pictures of the diagnostics."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ioub_jax.plotting.gradient_norms import gradient_norm
from ioub_jax.plotting.lost_by_nms import suppression
from ioub_jax.plotting.positives import positives
from ioub_jax.plotting.precision import calibration, lrp, precision_recall
from ioub_jax.plotting.score_and_iou import correlation_by_class, iou_bins, score_against_iou


def diagnostics(folder: str | os.PathLike[str], report: Mapping[str, Any]) -> list[str]:
    """Draws every picture for which a report has the numbers; each picture shows all runs.

    Args:
      folder: the folder for the PNGs; it must exist.
      report: `runs` and `gradient_norm`. `runs` maps names to the results of
        `diagnostics.of_detections.diagnosis_to_json`, with `suppression` and `histograms`
        (`records` and `ranges`) if they are known. The runs must have the same classes.

    Returns:
      the names of the files.
    """
    folder, runs = pathlib.Path(folder), report["runs"]
    names = []

    def path_of(name: str) -> pathlib.Path:
        names.append(f"{name}.png")
        return folder / names[-1]

    score_against_iou(path_of("score_against_iou"), runs)
    correlation_by_class(path_of("correlation_by_class"), runs)
    iou_bins(path_of("iou_bins"), runs)
    searched = {name: run for name, run in runs.items() if "suppression" in run}
    if searched:
        suppression(path_of("suppression"), searched)
    trained = {name: run["histograms"] for name, run in runs.items() if "histograms" in run}
    if trained:
        ranges = next(iter(trained.values()))["ranges"]
        records = {name: histograms["records"] for name, histograms in trained.items()}
        positives(path_of("positives"), records, ranges)
    lrp(path_of("lrp"), runs)
    precision_recall(path_of("precision_recall"), runs)
    calibration(path_of("calibration"), runs)
    gradient_norm(path_of("gradient_norm"), report["gradient_norm"])
    return names
