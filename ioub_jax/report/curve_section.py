"""Section of a report on scores: precision over recall, and scores of true detections."""

from collections.abc import Sequence

from ioub_jax.diagnostics.coco_matches import PrecisionCurves
from ioub_jax.report.html_elements import Html, decimals, element, joined, name_html
from ioub_jax.report.measurement import Measured
from ioub_jax.report.svg_axes import scores_axis, shares_axis
from ioub_jax.report.svg_charts import Line, legend, line_chart, mirrored_histogram

#: If there are more classes, only the curves of those with the most objects are drawn.
MOST_CLASSES = 100
_OPEN = 12
_RECALLS = tuple(k / 100 for k in range(101))
_IOUS = {"0.50": "IoU .50", "0.75": "IoU .75", "0.90": "IoU .90"}


def curve_section(measured: Measured) -> Html:
    """The curves of all classes together, then those of each class."""
    thresholds = measured.errors.thresholds.all_classes.by_f1
    upright = None if thresholds is None else thresholds.threshold
    names = list(_IOUS.values())
    mean = element(
        "figure",
        element("figcaption", "Precision over recall, the mean over the classes"),
        _precision_recall(measured.curves[0], "the mean over the classes"),
        legend(names, as_lines=True),
        class_="card",
    )
    histogram = element(
        "figure",
        element("figcaption", "True detections (upwards) and false ones by score, at IoU .5"),
        _histogram(measured, None, upright),
        legend(["true", "false"], as_lines=False, kinds=["true", "false"]),
        class_="card",
    )
    return joined(
        element("div", mean, _sweep(measured, upright), histogram, class_="cards"),
        _by_class(measured),
    )


def _sweep(measured: Measured, upright: float | None) -> Html:
    scores = measured.scores
    f1 = [
        2 * precision * recall / (precision + recall) if precision and recall else None
        for precision, recall in zip(scores.precision, scores.recall, strict=True)
    ]
    names = ["precision", "recall", "F1"]
    lines = [
        Line(name, list(zip(scores.thresholds, values, strict=True)))
        for name, values in zip(names, (scores.precision, scores.recall, f1), strict=True)
    ]
    low, high = scores.edges[0], scores.edges[-1]
    told = "none is best" if upright is None else f"the best F1 is at {decimals(upright)}"
    return element(
        "figure",
        element(
            "figcaption", "Score thresholds: the detections kept from each score on, all classes"
        ),
        line_chart(
            lines,
            scores_axis(low, high),
            shares_axis("precision, recall, F1"),
            f"Precision, recall and F1 by score threshold; {told}",
            upright=upright,
        ),
        legend(names, as_lines=True),
        class_="card",
    )


def _precision_recall(
    curves: PrecisionCurves, told: str, marked: tuple[float, float] | None = None
) -> Html:
    lines = [Line(name, _points(curves.precision[key])) for key, name in _IOUS.items()]
    description = f"Precision over recall of {told}"
    return line_chart(
        lines, shares_axis("recall"), shares_axis("precision"), description, marked=marked
    )


def _points(precision: Sequence[float] | None) -> list[tuple[float, float | None]]:
    return [] if precision is None else list(zip(_RECALLS, precision, strict=True))


def _histogram(measured: Measured, number: int | None, upright: float | None) -> Html:
    scores = measured.scores
    counts = scores.all_classes if number is None else scores.per_class[number]
    told = "all classes" if number is None else measured.class_names[number]
    return mirrored_histogram(
        counts.true,
        counts.false,
        scores.edges,
        f"Scores of {told}: {sum(counts.true):,} true detections, {sum(counts.false):,} false ones",
        upright=upright,
    )


def _by_class(measured: Measured) -> Html:
    rows = measured.metrics.per_class
    order = sorted(range(len(rows)), key=lambda number: -rows[number].boxes)[:MOST_CLASSES]
    shown = sorted(order)
    left_out = len(rows) - len(shown)
    told = f"Curves of {'each class' if not left_out else f'the {len(shown)} largest classes'}"
    cards = (_card(measured, number) for number in shown)
    return element(
        "details",
        element("summary", told),
        element(
            "p",
            "The dot is at the best threshold by F1, the vertical line at the threshold in use.",
        ),
        element("div", *cards, class_="cards"),
        open=len(rows) <= _OPEN,
    )


def _card(measured: Measured, number: int) -> Html:
    row, curves = measured.metrics.per_class[number], measured.curves[number + 1]
    point = measured.errors.thresholds.per_class[number].by_f1
    marked = None if point is None else (point.recall, point.precision)
    title = joined(name_html(row.name), f": {row.boxes:,} objects, AP {decimals(row.AP)}")
    return element(
        "figure",
        element("figcaption", title),
        _precision_recall(curves, row.name, marked),
        _histogram(measured, number, measured.cut.thresholds[number]),
        class_="card",
        data_c=number,
    )
