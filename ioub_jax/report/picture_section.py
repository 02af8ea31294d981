"""Section of a report with pictures, each of which can be enlarged, and a table of the images."""

from collections.abc import Iterable, Sequence

from ioub_jax.report import box_overlays
from ioub_jax.report.embedded_images import Box, Embedded, EmbeddedImage, focus_of, within
from ioub_jax.report.galleries import Gallery, Picture, worst_first
from ioub_jax.report.html_elements import Html, counted, element, file_html, joined
from ioub_jax.report.html_tables import Column, Row, count_cell, number_cell, table, text_cell
from ioub_jax.report.measurement import Measured

_LISTED = 1000
_PROBLEMS = 5


def stock(embedded: Embedded, pictures: Sequence[Picture], runs: Sequence[Measured]) -> Html:
    """All images and the boxes over them, each stored once for all pictures."""
    images = map(_image, embedded.images)
    wanted = dict.fromkeys((picture.run, picture.image) for picture in pictures)
    drawers = [box_overlays.Overlays(run, len(wanted)) for run in runs]
    overlays = (drawers[run].overlay(_overlay_name(run, image), image) for run, image in wanted)
    return element(
        "svg", element("defs", *images, *overlays), class_="stock", width=0, height=0,
        aria_hidden="true",
    )  # fmt: skip


def _image(image: EmbeddedImage) -> Html:
    x, y, width, height = image.region
    place = {"x": x, "y": y, "width": width, "height": height, "id": image.name}
    if image.address is None:
        return element("rect", **place, class_="blank")
    return element("image", **place, preserveAspectRatio="none", href=image.address)


def _overlay_name(run: int, image: int) -> str:
    return f"o{run}-{image}"


def gallery_html(
    gallery: Gallery, images: Sequence[EmbeddedImage], runs: Sequence[Measured]
) -> Html:
    """A gallery.

    Args:
      gallery: the gallery.
      images: the image of each of its pictures.
      runs: the runs whose detections they show.
    """
    figures = (
        _figure(picture, image, runs[picture.run], f"{gallery.name}-{number}")
        for number, (picture, image) in enumerate(zip(gallery.pictures, images, strict=True))
    )
    shown = element("ul", *figures, class_="pictures")
    return element(
        "section",
        element("h3", gallery.title),
        element("p", gallery.text),
        shown if gallery.pictures else element("p", "None.", class_="none"),
        class_="gallery",
        id=gallery.name,
    )


def _figure(picture: Picture, image: EmbeddedImage, run: Measured, name: str) -> Html:
    focus = focus_of(run, picture)
    names = [f"d{picture.detection}"] if picture.detection is not None else []
    names += [f"g{picture.box}"] if picture.box is not None else []
    uses = [element("use", href=f"#{image.name}")]
    uses.append(element("use", href=f"#{_overlay_name(picture.run, picture.image)}"))
    thumb = element(
        "svg", *uses, viewBox=_view(_thumb_view(focus, image.region)), aria_hidden="true"
    )
    button = element(
        "button",
        thumb,
        type="button",
        class_="thumb",
        aria_label=f"Enlarge {run.images[picture.image].name}",
        data_image=image.name,
        data_overlay=_overlay_name(picture.run, picture.image),
        data_region=_view(image.region),
        data_focus=" ".join(names) or None,
    )
    return element(
        "li",
        element("figure", button, element("figcaption", picture.caption)),
        id=name,
        data_c=" ".join(map(str, picture.classes)) or None,
    )


def _thumb_view(focus: Box | None, region: Box) -> Box:
    """Returns the part of a region in a small picture: all of it, or the surroundings of a box."""
    if focus is None:
        return region
    x, y, width, height = region
    moved = (focus[0] - x, focus[1] - y, focus[2], focus[3])
    left, top, across, down = within(moved, (width, height), 2.5, min(width, height) / 4)
    return left + x, top + y, across, down


def _view(box: Box) -> str:
    return " ".join(f"{value:.1f}".removesuffix(".0") for value in box)


def pictures_intro() -> Html:
    """Introduction to the pictures."""
    return joined(
        element(
            "p",
            "Detections from the score threshold of their class on, and the objects. Click a "
            "picture or press Enter to enlarge it; the arrow keys move on, Esc goes back.",
        ),
        box_overlays.legend(with_switches=False),
    )


def picture_notes(embedded: Embedded, *, has_images: bool) -> Html:
    """Notes on images that are not shown."""
    if not has_images:
        return element(
            "p",
            "The images were not given, so boxes are drawn on blank sheets: --images=FOLDER shows "
            "them.",
            class_="note",
        )
    if not embedded.problems:
        return Html("")
    listed = [element("li", problem) for problem in embedded.problems[:_PROBLEMS]]
    more = len(embedded.problems) - len(listed)
    if more:
        listed.append(element("li", f"and {more:,} more"))
    told = f"{counted(len(embedded.problems), 'image')} could not be shown:"
    return joined(element("p", told, class_="note"), element("ul", *listed, class_="note"))


def viewer() -> Html:
    """The dialog with an enlarged picture."""
    return element(
        "dialog",
        element(
            "header",
            element("p", id="viewer-title", aria_live="polite"),
            element("button", "\u2039", type="button", data_step=-1, aria_label="Previous picture"),
            element("button", "\u203a", type="button", data_step=1, aria_label="Next picture"),
            element("button", "\u00d7", type="button", data_close=True, aria_label="Close"),
        ),
        element(
            "div",
            element("svg", class_="enlarged", role="img", aria_labelledby="viewer-title"),
            element(
                "div",
                box_overlays.legend(with_switches=True),
                element(
                    "label",
                    element("input", type="checkbox", id="show-names", checked=True),
                    "names",
                ),
                element("ol", id="viewer-boxes"),
                class_="beside",
            ),
            class_="stage",
        ),
        id="viewer",
        aria_labelledby="viewer-title",
    )


def image_table(measured: Measured, shown: Iterable[int]) -> Html:
    """Table of right and wrong detections in each image, the worst first.

    Args:
      measured: the measurements to show.
      shown: the numbers of the images in the gallery of the worst images, in its order.
    """
    errors = measured.image_errors
    places = {image: f"#worst-{number}" for number, image in enumerate(shown)}
    order = worst_first(measured)
    columns = [
        Column("image", is_text=True),
        Column("objects"),
        Column("true", "true detections"),
        Column("false", "false detections"),
        Column("missed", "objects that are not found"),
        Column("cost", "1 a false detection and a missed object, (1 - IoU) / .5 a true detection"),
        Column("error", "the LRP error: cost by detections and missed objects"),
    ]
    rows = []
    for image in order[:_LISTED].tolist():
        name = measured.images[image].name
        shown_name = file_html(name)
        if image in places:
            shown_name = element("a", shown_name, href=places[image])
        numbers = (errors.boxes, errors.true, errors.false, errors.missed)
        cells = [
            text_cell(shown_name, name),
            *(count_cell(int(values[image])) for values in numbers),
            number_cell(float(errors.cost[image]), 2),
            number_cell(float(errors.error[image])),
        ]
        rows.append(Row(cells, measured.classes_of_images[image]))
    right = len(errors.cost) - len(order)
    left_out = []
    if right:
        left_out.append(f"{counted(right, 'image')} without any error")
    if len(order) > _LISTED:
        left_out.append(f"{len(order) - _LISTED:,} with fewer errors")
    told = f" Left out: {' and '.join(left_out)}." if left_out else ""
    return joined(
        element("p", f"At the score thresholds and IoU .5.{told}"),
        table(columns, rows, "Images, the worst first"),
    )
