"""Section of a report on kinds of errors: the cost and the number of each."""

from ioub_jax.evaluation.error_kinds import ERROR_OF_KIND
from ioub_jax.report.html_elements import Html, decimals, element, joined, name_html
from ioub_jax.report.html_tables import (
    Column,
    Row,
    count_cell,
    number_cell,
    table,
    text_cell,
)
from ioub_jax.report.measurement import Measured
from ioub_jax.report.overview_section import ERRORS_TOLD
from ioub_jax.report.svg_charts import Bar, bar_chart, legend

_SPECIAL = {
    "false_positives": "all false detections, moved after the true ones",
    "false_negatives": "all objects that are not found, no longer counted",
}
_SIX = (*ERROR_OF_KIND, "missed")


def error_section(measured: Measured) -> Html:
    """The costs of the six errors as bars, with their counts, and by class."""
    return joined(
        element(
            "p",
            "The gains in AP50 and AP75 if all errors of a kind are corrected and everything else "
            "stays, after TIDE (arXiv 2008.08115). Kinds overlap, so the gains do not add up to "
            "the missing AP. Every detection counts, whatever its score.",
        ),
        element("div", _chart(measured), _table(measured), class_="side"),
        element("h3", "By class"),
        _class_table(measured),
    )


def _chart(measured: Measured) -> Html:
    of_ious = [errors.all_classes for errors in measured.errors.errors.values()]
    rows = [[of_iou.dAP[key] for of_iou in of_ious] for key in _SIX]
    high = max((value for row in rows for value in row if value is not None), default=0.0)
    bars = [
        Bar(key, row, [decimals(value) for value in row])
        for key, row in zip(_SIX, rows, strict=True)
    ]
    told = ", ".join(f"{bar.name} {bar.shown[0]}" for bar in bars)
    return element(
        "figure",
        bar_chart(bars, high if high > 0 else 1.0, f"Gains in AP50: {told}"),
        legend(["AP50", "AP75"], as_lines=False),
        class_="card",
    )


def _table(measured: Measured) -> Html:
    at_50, at_75 = (errors.all_classes for errors in measured.errors.errors.values())
    columns = [
        Column("error", is_text=True),
        Column("dAP50", "gain in AP50"),
        Column("dAP75", "gain in AP75"),
        Column("n at .5", "number at IoU .5"),
        Column("n at .75", "number at IoU .75"),
    ]
    rows = []
    for key, told in (*ERRORS_TOLD.items(), *_SPECIAL.items()):
        name = element("b", key.replace("_", " "))
        cells = [
            text_cell(joined(name, element("br"), element("small", told)), key),
            number_cell(at_50.dAP[key]),
            number_cell(at_75.dAP[key]),
            count_cell(at_50.counts[key]),
            count_cell(at_75.counts[key]),
        ]
        rows.append(Row(cells, ()))
    return table(columns, rows, "Errors of all classes")


def _class_table(measured: Measured) -> Html:
    columns = [Column("class", is_text=True), Column("objects"), Column("AP50")]
    columns += [Column(key, f"gain in AP50 of the class: {ERRORS_TOLD[key]}") for key in _SIX]
    rows = [
        Row(
            [
                text_cell(name_html(of_class.name or ""), of_class.name),
                count_cell(of_class.boxes),
                number_cell(of_class.AP),
                *(number_cell(of_class.dAP[key]) for key in _SIX),
            ],
            (number,),
        )
        for number, of_class in enumerate(measured.errors.errors["50"].per_class)
    ]
    return table(columns, rows, "Cost of each kind of error for each class, in AP50")
