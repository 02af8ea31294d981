"""Section of a report that compares two runs side by side."""

from collections.abc import Sequence

import numpy as np

from ioub_jax.report.galleries import Gallery, Picture, whole_image
from ioub_jax.report.html_elements import (
    Html,
    counted,
    decimals,
    element,
    file_html,
    interval_html,
    joined,
    name_html,
    signed,
)
from ioub_jax.report.html_tables import (
    Column,
    Row,
    count_cell,
    number_cell,
    signed_cell,
    table,
    text_cell,
)
from ioub_jax.report.overview_section import ERRORS_TOLD
from ioub_jax.report.run_pairs import MOVED, Difference, RunPair

_LISTED = 1000


def pair_section(pair: RunPair) -> Html:
    """Numbers, classes, errors and images of both runs."""
    return joined(
        element(
            "p",
            "Differences are ",
            element("b", name_html(pair.first.name)),
            " less ",
            element("b", name_html(pair.second.name)),
            ", of the same images. Brackets contain 95% of the differences on resampled images, "
            "the same for both: if they include 0, other images could have reversed the sign. They "
            "say nothing about other training runs.",
        ),
        element("ul", *(element("li", told) for told in _sentences(pair)), class_="sentences"),
        _summary(pair),
        element("h3", "Classes that changed"),
        _classes(pair),
        element("h3", "Cost of errors"),
        _errors(pair),
        element("h3", "Images that changed"),
        _images(pair),
    )


def moved_galleries(pair: RunPair, count: int) -> list[Gallery]:
    """The images that changed most, each with both runs' detections.

    Args:
      pair: both runs.
      count: the maximum number of images in a gallery.
    """
    told = "The same image with the detections of both runs, one beside the other."
    return [
        Gallery(name, title, told, tuple(_both(pair, moved[:count])))
        for name, title, moved in (
            ("moved-better", f"Better in {pair.first.name}", pair.better),
            ("moved-worse", f"Worse in {pair.first.name}", pair.worse),
        )
    ]


def _both(pair: RunPair, images: np.ndarray) -> list[Picture]:
    pictures = []
    for image in images.tolist():
        for run, measured in enumerate((pair.first, pair.second)):
            picture = whole_image(measured, run, image)
            caption = joined(element("b", name_html(measured.name)), picture.caption)
            pictures.append(Picture(run, image, caption, picture.classes))
    return pictures


def _sentences(pair: RunPair) -> list[Html]:
    ap, images = pair.summary["AP"], len(pair.moved)
    better, worse = len(pair.better), len(pair.worse)
    sentences = [
        joined(
            f"{better:,} of {counted(images, 'image')} cost at least {MOVED:g} less, {worse:,} at "
            f"least as much more, {images - better - worse:,} stay the same."
        )
    ]
    if ap.difference is not None:
        sure = "The interval excludes 0." if ap.resolved else "0 is within the interval."
        told = joined(f"AP moves by {signed(ap.difference)} ", _interval(ap), ". ")
        sentences.insert(0, joined(told, sure if ap.interval else ""))
    return sentences


def _interval(difference: Difference) -> Html:
    return interval_html(difference.interval, with_sign=True)


def _columns(first: str, pair: RunPair) -> list[Column]:
    return [
        Column(first, is_text=True),
        Column("this run", pair.first.name),
        Column("the other", pair.second.name),
        Column("difference"),
        Column("interval", "95% over the images", is_text=True),
    ]


def _cells(difference: Difference) -> list[Html]:
    interval = _interval(difference)
    low = "" if difference.interval is None else f"{difference.interval[0]:.9g}"
    return [
        number_cell(difference.first),
        number_cell(difference.second),
        signed_cell(difference.difference),
        text_cell(element("b", interval) if difference.resolved else interval, low),
    ]


def _summary(pair: RunPair) -> Html:
    rows = [Row([text_cell(key), *_cells(row)], ()) for key, row in pair.summary.items()]
    cost = [text_cell("cost of an image"), *_cells(pair.cost)]
    cost[3] = element(
        "td", signed(pair.cost.difference), class_="n", data_v=f"{pair.cost.difference}"
    )
    return table(_columns("number", pair), [*rows, Row(cost, ())], "Numbers of both runs")


def _classes(pair: RunPair) -> Html:
    columns = [*_columns("class", pair), Column("AP50: difference"), Column("objects")]
    classes = pair.first.metrics.per_class
    moved = [abs(row.difference or 0.0) for row in pair.AP]
    rows = [
        Row(
            [
                text_cell(name_html(classes[number].name), classes[number].name),
                *_cells(pair.AP[number]),
                signed_cell(pair.AP50[number].difference),
                count_cell(classes[number].boxes),
            ],
            (number,),
        )
        for number in sorted(range(len(classes)), key=lambda number: -moved[number])
    ]
    return table(columns, rows, "AP of the classes in both runs, the largest changes first")


def _errors(pair: RunPair) -> Html:
    columns = [*_columns("error", pair)[:4], Column("is", is_text=True)]
    rows = []
    for key, told in ERRORS_TOLD.items():
        row = pair.errors[key]
        moved = signed(row.difference)
        number = f"{row.difference:.9g}" if row.difference is not None else ""
        cells = [
            text_cell(key),
            number_cell(row.first),
            number_cell(row.second),
            # A larger number of errors is not better, so the cell is not colored.
            element("td", moved, class_="n", data_v=number),
            text_cell(told),
        ]
        rows.append(Row(cells, ()))
    return table(columns, rows, "Gain in AP50 from correcting each kind of error, in both runs")


def _images(pair: RunPair) -> Html:
    moved = np.concatenate([pair.better, pair.worse])
    order = moved[np.argsort(-np.abs(pair.moved[moved]), kind="stable")]
    columns = [
        Column("image", is_text=True),
        Column("this cost", "cost of the image in this run"),
        Column("other cost", "in the other run"),
        Column("difference", "below 0 this run is better"),
        Column("true"),
        Column("false"),
        Column("missed"),
    ]
    left_out = len(order) - _LISTED
    told = f" {left_out:,} that changed less are left out." if left_out > 0 else ""
    rows = [_image_row(pair, image) for image in order[:_LISTED].tolist()]
    return joined(
        element("p", f"Counts are of this run, then of the other.{told}"),
        table(columns, rows, "Images that changed, the largest changes first"),
    )


def _image_row(pair: RunPair, image: int) -> Row:
    first, second = pair.first.image_errors, pair.second.image_errors
    name, moved = pair.first.images[image].name, float(pair.moved[image])
    cells = [
        text_cell(file_html(name), name),
        number_cell(float(first.cost[image]), 2),
        number_cell(float(second.cost[image]), 2),
        element(
            "td",
            signed(moved, 2),
            class_=f"n {'better' if moved < 0 else 'worse'}",
            data_v=f"{moved:.9g}",
        ),
        *(
            element("td", f"{one[image]} · {other[image]}", class_="n", data_v=int(one[image]))
            for one, other in _counts(pair)
        ),
    ]
    classes = {*pair.first.classes_of_images[image], *pair.second.classes_of_images[image]}
    return Row(cells, sorted(classes))


def _counts(pair: RunPair) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    first, second = pair.first.image_errors, pair.second.image_errors
    return [
        (first.true, second.true),
        (first.false, second.false),
        (first.missed, second.missed),
    ]


def told_of_pair(pair: RunPair) -> str:
    """A line that summarizes the comparison."""
    ap = pair.summary["AP"]
    return (
        f"{pair.first.name}: AP {decimals(ap.first)}; {pair.second.name}: AP {decimals(ap.second)}"
    )
