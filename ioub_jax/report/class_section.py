"""Sections of a report on classes: their numbers and thresholds, and their confusions."""

import numpy as np

from ioub_jax.evaluation.confusion import ConfusionMatrix
from ioub_jax.evaluation.thresholds import LEAST_BOXES, ClassThresholds, OperatingPoint
from ioub_jax.report.html_elements import Html, element, joined, name_html
from ioub_jax.report.html_tables import Column, Row, count_cell, number_cell, table, text_cell
from ioub_jax.report.measurement import Measured

_WIDEST, _LISTED = 24, 50
_COLUMNS = (
    Column("class", is_text=True),
    Column("objects", "ground-truth boxes, crowds not counted"),
    Column("AP", "mean over IoU .50 to .95"),
    Column("AP50"),
    Column("AP75"),
    Column("cut by F1", "the score threshold with the greatest F1, at IoU .5"),
    Column("precision", "the share of true detections from that score on"),
    Column("recall", "the share of the objects that they find"),
    Column("F1"),
    Column("cut by LRP", "the score threshold with the least LRP error, at IoU .5"),
    Column("precision", "as before, from that score on"),
    Column("recall", "as before, from that score on"),
    Column("LRP", "the LRP error: 0 is perfect, 1 means that nothing is right"),
)


def class_section(measured: Measured) -> Html:
    """A table with a row for each class."""
    thresholds, metrics = measured.errors.thresholds, measured.metrics
    of_all = [
        text_cell(element("b", "all classes")),
        count_cell(metrics.boxes),
        *(number_cell(metrics.summary[key]) for key in ("AP", "AP50", "AP75")),
        *_points(thresholds.all_classes),
    ]
    rows = [Row(of_all)]
    for number, (row, points) in enumerate(
        zip(metrics.per_class, thresholds.per_class, strict=True)
    ):
        cells = [
            text_cell(name_html(row.name), row.name),
            count_cell(row.boxes),
            *(number_cell(value) for value in (row.AP, row.AP50, row.AP75)),
            *_points(points),
        ]
        rows.append(Row(cells, (number,)))
    return joined(
        element(
            "p",
            "Beside each score threshold is the quality of the detections from that score on, on "
            "these images. The pictures, the confusion matrix and the counts of images below are "
            f"at the thresholds by F1; a class with fewer than {LEAST_BOXES} objects is cut at "
            "that of all classes.",
        ),
        table(
            _COLUMNS,
            rows,
            "Average precision and score thresholds of the classes",
            name="of-classes",
        ),
    )


def _points(thresholds: ClassThresholds) -> list[Html]:
    return [*_point(thresholds.by_f1, "f1"), *_point(thresholds.by_lrp, "lrp")]


def _point(point: OperatingPoint | None, measure: str) -> list[Html]:
    names = ("threshold", "precision", "recall", measure)
    return [number_cell(None if point is None else getattr(point, name)) for name in names]


def confusion_section(measured: Measured) -> Html:
    """The confusion matrix, limited to the most confused classes if there are many, and a list."""
    confusion = measured.errors.confusion
    chosen = _chosen(confusion)
    left_out = len(confusion.names) - len(chosen)
    note = f" {left_out} classes with fewer confusions are left out here." if left_out else ""
    return joined(
        element(
            "p",
            "Objects in rows, the classes that they are detected as in columns, at the score "
            "thresholds and an IoU of .5. The last column has missed objects, the last row "
            f"detections of background.{note}",
        ),
        _matrix(confusion, chosen),
        element("h3", "Most frequent confusions"),
        _list(confusion),
    )


def _chosen(confusion: ConfusionMatrix) -> list[int]:
    """Returns the classes that the matrix shows, in their order."""
    count = len(confusion.names)
    if count <= _WIDEST:
        return list(range(count))
    between = confusion.counts[:count, :count].copy()
    np.fill_diagonal(between, 0)
    involved = between.sum(axis=0) + between.sum(axis=1)
    order = np.lexsort((-confusion.counts[:count].sum(axis=1), -involved))
    return sorted(order[:_WIDEST].tolist())


def _matrix(confusion: ConfusionMatrix, chosen: list[int]) -> Html:
    places = [*chosen, len(confusion.names)]
    names = [*(name_html(confusion.names[number], 24) for number in chosen), "background"]
    ends = [*names[:-1], "(missed)"]
    head = element(
        "tr",
        element("td"),
        *(element("th", element("span", name), scope="col") for name in ends),
    )
    body = (
        element(
            "tr",
            element("th", name if place < len(confusion.names) else "(background)", scope="row"),
            *(_cell(confusion, place, column) for column in places),
            data_c=place if place < len(confusion.names) else None,
        )
        for name, place in zip(names, places, strict=True)
    )
    caption = "Confusion matrix: objects in rows, detections in columns"
    whole = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_="confusion",
    )
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(confusion: ConfusionMatrix, row: int, column: int) -> Html:
    count = int(confusion.counts[row, column])
    background = len(confusion.names)
    if row == column == background:
        return element("td")
    if not count:
        return element("td", "·", class_="none")
    share = count / max(int(confusion.counts[row].sum()), 1)
    kind = "right" if row == column else "wrong"
    return element("td", f"{count:,}", class_=kind, style=f"--v:{share:.2f}")


def _list(confusion: ConfusionMatrix) -> Html:
    background = len(confusion.names)
    between = [cell for cell in confusion.confusions() if background not in cell[:2]]
    if not between:
        return element("p", "No object is detected as another class instead of its own.")
    columns = [
        Column("object", is_text=True),
        Column("taken for", is_text=True),
        Column("times"),
        Column("of its objects", "the share of the class's objects"),
    ]
    rows = [
        Row(
            [
                text_cell(name_html(confusion.names[row]), confusion.names[row]),
                text_cell(name_html(confusion.names[column]), confusion.names[column]),
                count_cell(count),
                number_cell(count / max(int(confusion.counts[row].sum()), 1)),
            ],
            (row, column),
        )
        for row, column, count in between[:_LISTED]
    ]
    return table(columns, rows, "Confusions of classes")
