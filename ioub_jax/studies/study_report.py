"""The report of a comparison: `report.md`, `report.json` and `report.png`."""

import pathlib
from collections.abc import Callable, Sequence

from ioub_jax import files
from ioub_jax.configs import words
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.dense_objects import base_of
from ioub_jax.studies import comparison_text
from ioub_jax.studies import paired_differences as statistics
from ioub_jax.studies.planned_runs import PlannedRun, result_of

#: COCO's metrics in the picture. Other metrics are drawn beside them, as many as there is room for.
_DRAWN = ("AP", "AP50", "AP75", "AP90", statistics.SPEARMAN)
_COLUMNS = 8


def write(
    runs: Sequence[PlannedRun],
    output: pathlib.Path,
    resamplings: int,
    draw: Callable[..., None],
) -> str:
    """Writes the report of the finished runs.

    Args:
      runs: the runs of all arms, beginning with one of the reference.
      output: the folder to write into.
      resamplings: how many times the validation images are resampled.
      draw: `plotting.gains.comparison`.

    Returns:
      The Markdown of the report.

    Raises:
      ConfigError: no run of the reference is finished, or the evaluation of a run is missing.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    results = [result for run in runs if (result := result_of(run, resamplings)) is not None]
    try:
        comparison = statistics.compare(results, arms)
    except ValueError as error:
        raise ConfigError(f"There is nothing to report: {error}.") from None
    missing = len(runs) - len(results)
    title = comparison_text.title_of(arms)
    text = comparison_text.format_markdown(comparison, title, _what(runs, comparison.headline))
    if missing:
        text += f"\n{missing} of {len(runs)} runs are not finished and not in these numbers.\n"
    output.mkdir(parents=True, exist_ok=True)
    files.write_text(output / "report.md", text)
    files.write_json(output / "report.json", statistics.to_json(comparison), indent=2)
    _draw(draw, output / "report.png", results, comparison)
    return text


def _what(runs: Sequence[PlannedRun], headline: str) -> str:
    """Describes the training and the evaluation of all runs, each distinct description once."""
    described = " And: ".join(dict.fromkeys(words.describe(run.settings) for run in runs))
    of_ap = f"; {headline} in sentences is in hundredths" if base_of(headline) == "AP" else ""
    return (
        f"{described} Metrics are on the validation images after the last step{of_ap}. The whole "
        "configuration of a run is in its result."
    )


def _draw(
    draw: Callable[..., None],
    path: pathlib.Path,
    results: Sequence[statistics.Result],
    comparison: statistics.Comparison,
) -> None:
    values: dict[str, dict[str, dict[int, float]]] = {arm: {} for arm in comparison.arms}
    for result in results:
        for metric, value in result.metrics.items():
            if value is not None:
                values[result.arm].setdefault(metric, {})[result.seed] = value
    intervals = {
        arm: {
            metric: None if one.by_seeds is None else (one.mean, *one.by_seeds)
            for metric, one in differences.items()
        }
        for arm, differences in comparison.differences.items()
    }
    of_coco = [metric for metric in comparison.metrics if statistics.is_of_coco(metric)]
    others = [metric for metric in comparison.metrics if metric not in of_coco]
    metrics = [metric for metric in of_coco if base_of(metric) in _DRAWN]
    draw(
        path,
        values,
        intervals,
        metrics=(metrics + others)[:_COLUMNS],
        hundredths=of_coco,
        title="Results of each arm, and its gains",
    )
