"""Sections of a report on similar objects, and on how scores follow localization."""

from collections.abc import Iterator

from ioub_jax.diagnostics.suppression import Suppression
from ioub_jax.report.html_elements import Html, decimals, element, joined
from ioub_jax.report.html_tables import Column, Row, count_cell, number_cell, table, text_cell
from ioub_jax.report.measurement import Measured
from ioub_jax.report.object_groups import Grouping
from ioub_jax.report.svg_axes import Axis, shares_axis
from ioub_jax.report.svg_charts import Line, bars_of, heat_map, legend, line_chart


def object_section(measured: Measured) -> Html:
    """AP by size, aspect, crowding and distance to the border."""
    return joined(
        element(
            "p",
            "AP of the objects of a group, with others neither found nor missed; whiskers are its "
            "interval over the images, followed by the number of objects. A false detection counts "
            "in the group of its own box.",
        ),
        element("div", *map(_card, measured.groupings), class_="cards two"),
        element("details", element("summary", "The numbers"), _table(measured)),
    )


def _card(grouping: Grouping) -> Html:
    if not grouping.groups:
        told = "not known: the ground truth does not have width and height of the images"
        if grouping.name != "border":
            told = "there are no objects"
        return element(
            "figure", element("figcaption", grouping.title), element("p", told), class_="card"
        )
    groups = grouping.groups
    shown = ", ".join(f"{group.name} {decimals(group.AP)}" for group in groups)
    return element(
        "figure",
        element("figcaption", f"By {grouping.title}"),
        bars_of(
            [group.name for group in groups],
            [group.AP for group in groups],
            [f"({group.boxes:,})" for group in groups],
            [group.interval for group in groups],
            f"AP by {grouping.title}: {shown}",
        ),
        class_="card",
    )


def _table(measured: Measured) -> Html:
    columns = [
        Column("by", is_text=True),
        Column("objects are", is_text=True),
        Column("objects"),
        Column("AP"),
        Column("AP50"),
        Column("found", "the share that is found at the score thresholds, at IoU .5"),
    ]
    rows = [
        Row(
            [
                text_cell(grouping.name),
                text_cell(group.name, f"{number}"),
                count_cell(group.boxes),
                number_cell(group.AP),
                number_cell(group.AP50),
                number_cell(group.found),
            ],
            (),
        )
        for grouping in measured.groupings
        for number, group in enumerate(grouping.groups)
    ]
    return table(columns, rows, "Average precision of similar objects")


def score_section(measured: Measured) -> Html:
    """Score against IoU, and the losses by NMS if they are known."""
    correlation = measured.correlation
    spearman = decimals(correlation.spearman, 2)
    map_of_scores = element(
        "figure",
        element("figcaption", "Scores of the detections at each IoU; the line is their mean"),
        heat_map(
            correlation.density,
            f"Scores by IoU; Spearman's rank correlation for an IoU of at least 0.5 is {spearman}",
        ),
        class_="card",
    )
    told = element(
        "p",
        "Average precision and NMS use only the order of scores: if scores follow localization, "
        "the box that fits best comes first. Spearman's rank correlation of score and IoU, of the "
        f"{correlation.located:,} detections with an IoU of at least .5, is ",
        element("b", spearman),
        f"; their mean IoU is {decimals(correlation.mean_iou, 2)}. IoU is that with the object of "
        "its class that a detection overlaps most.",
    )
    return joined(told, element("div", map_of_scores, _suppression(measured), class_="cards two"))


def _suppression(measured: Measured) -> Html:
    lost = measured.suppression
    if lost is None:
        told = (
            "The losses by NMS cannot be computed from detections alone, since they need the "
            "candidates before it. A report on a workdir with --detect shows them."
        )
        return element("p", told)
    return element(
        "figure",
        element("figcaption", "Objects with a box of their class that fits, before and after NMS"),
        _recalls(lost),
        legend(["before NMS", "after NMS"], as_lines=True),
        *_lost(lost),
        class_="card",
    )


def _recalls(lost: Suppression) -> Html:
    lines = [
        Line("before", list(zip(lost.thresholds, lost.candidate_recall, strict=True))),
        Line("after", list(zip(lost.thresholds, lost.kept_recall, strict=True))),
    ]
    across = Axis("IoU", 0.5, 1.0, [(k / 10, f"{k / 10:.1f}") for k in range(5, 11)])
    description = "The share of the objects with a box of at least each IoU, before and after NMS"
    return line_chart(lines, across, shares_axis("share of the objects"), description)


def _lost(lost: Suppression) -> Iterator[Html]:
    if lost.lost_iou is not None:
        yield element(
            "p",
            f"Of {lost.reached:,} objects that a candidate reaches with an IoU of .5 the best "
            f"candidate has a mean IoU of {decimals(lost.candidate_iou)}, the best one that is "
            f"kept a mean IoU of {decimals(lost.kept_iou)}: {decimals(lost.lost_iou)} is lost.",
        )
