"""First section of a report: its subject, and the most striking results."""

from collections.abc import Iterator

from ioub_jax.evaluation.coco_matching import COCO_DETECTIONS
from ioub_jax.evaluation.error_kinds import ERROR_OF_KIND
from ioub_jax.evaluation.thresholds import LEAST_BOXES
from ioub_jax.printing import printable
from ioub_jax.report.html_elements import (
    Html,
    counted,
    decimals,
    element,
    interval_html,
    joined,
    name_html,
)
from ioub_jax.report.measurement import Measured

_TILES = {
    "AP": "mean over IoU .50 to .95",
    "AP50": "at IoU .50",
    "AP75": "at IoU .75",
    "APs": "objects below 32² px",
    "APm": "32² to 96² px",
    "APl": "above 96² px",
    "AR100": "average recall",
}
#: The six kinds of errors, each with a short description.
ERRORS_TOLD = {
    "classification": "right place, wrong class",
    "localization": "right class, badly fitting box",
    "both": "wrong class and badly fitting box, but there is an object",
    "duplicate": "the object is already found by a better detection",
    "background": "there is no object",
    "missed": "the object is not found, and correcting no error above would find it",
}


def overview(measured: Measured) -> Html:
    """The headline numbers and the conclusions from them."""
    tiles = (
        element(
            "div",
            element("dt", key, title=told),
            element("dd", decimals(measured.metrics.summary[key])),
            element("dd", interval_html(measured.intervals.get(key)), class_="interval"),
            element("dd", told, class_="told"),
        )
        for key, told in _TILES.items()
    )
    return joined(
        element("dl", *tiles, class_="tiles"),
        element("ul", *(element("li", sentence) for sentence in _sentences(measured)),
                class_="sentences"),
    )  # fmt: skip


def told_of(measured: Measured) -> str:
    """A line that describes the measured data."""
    metrics = measured.metrics
    parts = [
        counted(metrics.images, "image"),
        counted(metrics.boxes, "object"),
        counted(len(metrics.per_class), "class", "classes"),
        counted(metrics.detections, "detection"),
    ]
    if metrics.counted != COCO_DETECTIONS:
        parts.append(f"of which the {metrics.counted:,} best of a class in an image count")
    return "; ".join([*filter(None, [printable(measured.origin)]), ", ".join(parts)])


def _sentences(measured: Measured) -> Iterator[Html]:
    if not measured.metrics.boxes:
        yield joined(
            "The ground truth has no object to find: there is no average precision, and every "
            "detection is false."
        )
        return
    if not measured.metrics.detections:
        yield joined("There are no detections: all objects are missed.")
        return
    yield from _gains(measured)
    yield from _cut(measured)
    yield from _confusion(measured)
    yield from _classes(measured)
    yield from _groups(measured)


def _gains(measured: Measured) -> Iterator[Html]:
    (first, gain), (second, of_second) = _largest(measured, "50")[:2]
    strict, of_strict = _largest(measured, "75")[0]
    if gain <= 0:
        return
    yield joined(
        "Most is lost by ",
        element("b", f"{first} errors" if first != "missed" else "missed objects"),
        f" ({ERRORS_TOLD[first]}): without them AP50 would be {decimals(gain)} higher. ",
        f"Next: {second}, {decimals(of_second)}. Of AP75 most is lost by {strict}, ",
        f"{decimals(of_strict)}.",
    )


def _largest(measured: Measured, iou: str) -> list[tuple[str, float]]:
    """Returns the six errors and the gain in AP without each, in descending order."""
    gains = measured.errors.errors[iou].all_classes.dAP
    known = [(key, gains[key] or 0.0) for key in (*ERROR_OF_KIND, "missed")]
    return sorted(known, key=lambda entry: -entry[1])


def _cut(measured: Measured) -> Iterator[Html]:
    point = measured.errors.thresholds.all_classes.by_f1
    if point is None:
        yield joined(
            "No detection is true at IoU .5, so no score threshold is better than another."
        )
        return
    yield joined(
        "The best single score threshold is ",
        element("b", decimals(point.threshold)),
        f" (by F1): {point.precision:.0%} of the detections are then true, and {point.recall:.0%} ",
        "of the objects found. The thresholds of the classes are ",
        element("a", "in their table", href="#classes"),
        ".",
    )


def _confusion(measured: Measured) -> Iterator[Html]:
    confusion = measured.errors.confusion
    background = len(confusion.names)
    between = [cell for cell in confusion.confusions() if background not in cell[:2]]
    if between:
        row, column, count = between[0]
        yield joined(
            "Most often confused: ",
            name_html(confusion.names[row]),
            " is taken for ",
            name_html(confusion.names[column]),
            f" {counted(count, 'time')}.",
        )


def _classes(measured: Measured) -> Iterator[Html]:
    """Yields a sentence on the worst classes, among those with enough objects."""
    rows = [row for row in measured.metrics.per_class if row.boxes >= LEAST_BOXES]
    rows = sorted(rows, key=lambda row: row.AP or 0.0)
    if len(rows) < 2:
        return
    parts: list[object] = [f"The worst of the classes with at least {LEAST_BOXES} objects: "]
    for number, row in enumerate(rows[: min(3, len(rows) - 1)]):
        parts += [", " if number else "", name_html(row.name), f" {decimals(row.AP)}"]
    parts += ["; the best: ", name_html(rows[-1].name), f" {decimals(rows[-1].AP)}."]
    yield joined(*parts)


def _groups(measured: Measured) -> Iterator[Html]:
    """Yields a sentence on the respects in which AP differs most, for groups of enough objects."""
    spreads = []
    for grouping in measured.groupings:
        groups = [group for group in grouping.groups if group.boxes >= LEAST_BOXES]
        groups = [group for group in groups if group.AP is not None]
        if len(groups) >= 2:
            low = min(groups, key=lambda group: group.AP or 0.0)
            high = max(groups, key=lambda group: group.AP or 0.0)
            spreads.append(((high.AP or 0.0) - (low.AP or 0.0), grouping, low, high))
    if spreads:
        _, grouping, low, high = max(spreads, key=lambda spread: spread[0])
        name, _, told = grouping.title.partition(": ")
        yield joined(
            f"Objects differ most by {name}{f' ({told})' if told else ''}: AP is "
            f"{decimals(low.AP)} for {low.name} ({counted(low.boxes, 'object')}) and "
            f"{decimals(high.AP)} for {high.name} ({counted(high.boxes, 'object')})."
        )
