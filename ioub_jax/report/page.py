"""The page: one HTML file that contains its style, its script and its images."""

import dataclasses
import importlib.resources
from collections.abc import Iterator, Sequence

from ioub_jax.printing import printable
from ioub_jax.report.class_section import class_section, confusion_section
from ioub_jax.report.curve_section import curve_section
from ioub_jax.report.embedded_images import MOST_BYTES, embed
from ioub_jax.report.error_section import error_section
from ioub_jax.report.galleries import PICTURES, Gallery, galleries_of, pictured
from ioub_jax.report.html_elements import Html, element, joined, name_html
from ioub_jax.report.image_readers import ImageReader
from ioub_jax.report.measurement import Measured
from ioub_jax.report.object_section import object_section, score_section
from ioub_jax.report.overview_section import overview, told_of
from ioub_jax.report.pair_section import moved_galleries, pair_section
from ioub_jax.report.picture_section import (
    gallery_html,
    image_table,
    picture_notes,
    pictures_intro,
    stock,
    viewer,
)
from ioub_jax.report.run_pairs import RunPair


@dataclasses.dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
      text: the HTML file.
      pictures: the number of its pictures.
      problems: a sentence for every image that could not be read.
    """

    text: str
    pictures: int
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Section:
    """A section of the page: `name` is its id, `title` its heading, `body` its content."""

    name: str
    title: str
    body: Html


def make_page(
    measured: Measured,
    reader: ImageReader | None = None,
    pair: RunPair | None = None,
    *,
    pictures: int = PICTURES,
    most_bytes: int = MOST_BYTES,
) -> Page:
    """Writes a report.

    Args:
      measured: the measurements to report.
      reader: the reader of the images; None if there are none.
      pair: the comparison with another run; its first run is `measured`.
      pictures: the maximum number of pictures in a gallery; that of the worst images has twice as
        many.
      most_bytes: the limit for all images in the page together.
    """
    runs = [measured] if pair is None else [pair.first, pair.second]
    galleries = galleries_of(measured, pictures)
    moved = [] if pair is None else moved_galleries(pair, pictures)
    shown = pictured([*moved, *galleries])
    embedded = embed(shown, measured, reader, most_bytes)
    images = iter([embedded.images[number] for number in embedded.of_pictures])
    drawn = [
        gallery_html(gallery, [next(images) for _ in gallery.pictures], runs)
        for gallery in (*moved, *galleries)
    ]
    notes = picture_notes(embedded, has_images=reader is not None)
    sections = list(_sections(measured, pair, galleries, drawn, len(moved), notes))
    text = _document(measured, pair, sections, stock(embedded, shown, runs))
    return Page(text, len(shown), embedded.problems)


def _sections(
    measured: Measured,
    pair: RunPair | None,
    galleries: Sequence[Gallery],
    drawn: Sequence[Html],
    moved: int,
    notes: Html,
) -> Iterator[_Section]:
    yield _Section("overview", "In short", overview(measured))
    if pair is not None:
        yield _Section("against", "Side by side", joined(pair_section(pair), *drawn[:moved]))
    yield _Section("errors", "Errors", error_section(measured))
    yield _Section("classes", "Classes", class_section(measured))
    yield _Section("confusion", "Confusion", confusion_section(measured))
    yield _Section("scores", "Scores", curve_section(measured))
    yield _Section("objects", "Objects", object_section(measured))
    yield _Section("localization", "Score and IoU", score_section(measured))
    yield _Section("pictures", "Pictures", joined(pictures_intro(), notes, *drawn[moved:]))
    worst = [picture.image for picture in galleries[0].pictures]
    yield _Section("images", "Images", image_table(measured, worst))


def _document(
    measured: Measured, pair: RunPair | None, sections: Sequence[_Section], pixels: Html
) -> str:
    title = f"{measured.name} against {pair.second.name}" if pair else measured.name
    heading: list[object] = [name_html(measured.name, 80)]
    if pair is not None:
        heading += [" against ", name_html(pair.second.name, 80)]
    # The page fetches nothing, whatever a name contains.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{printable(title)[:200]}: detection report"),
        element("style", _file("report.css")),
    )
    body = element(
        "body",
        element("a", "To the report", href="#overview", class_="skip"),
        pixels,
        element("header", element("h1", *heading), element("p", told_of(measured)), class_="top"),
        _bar(measured, sections),
        element("main", *map(_section_html, sections)),
        viewer(),
        element("script", _file("report.js")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _bar(measured: Measured, sections: Sequence[_Section]) -> Html:
    """Returns the bar at the top: links to sections, choice of classes, light or dark."""
    links = (element("a", section.title, href=f"#{section.name}") for section in sections)
    names = (
        element("option", value=printable(name), data_c=number)
        for number, name in enumerate(measured.class_names)
    )
    return element(
        "nav",
        element("div", *links, class_="links"),
        element(
            "label",
            "Class ",
            element(
                "input",
                type="search",
                id="class-filter",
                list="class-names",
                placeholder="all",
                autocomplete="off",
                spellcheck="false",
                aria_describedby="class-shown",
            ),
        ),
        element("datalist", *names, id="class-names"),
        element("span", id="class-shown", role="status"),
        element("button", "Dark", type="button", id="theme", aria_pressed="false"),
        aria_label="Parts of the report",
    )


def _section_html(section: _Section) -> Html:
    heading = element("h2", section.title)
    return element("section", heading, section.body, id=section.name, class_="part")


def _file(name: str) -> Html:
    """Returns the contents of a file of this package, to embed in the page."""
    text = importlib.resources.files("ioub_jax.report").joinpath(name).read_text(encoding="utf-8")
    return Html(text)
