"""Tables that `report.js` sorts and filters."""

import dataclasses
from collections.abc import Iterable, Sequence

from ioub_jax.report.html_elements import MINUS, Html, decimals, element, joined, signed


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      title: the heading of the column.
      hint: an explanation of the heading, if it needs one.
      is_text: whether the column has text instead of numbers.
    """

    title: str
    hint: str | None = None
    is_text: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
      cells: its cells, from `number_cell` and similar functions.
      classes: the numbers of its classes, by which rows are filtered; a row without classes is
        always shown. None for a row that is always the first one and not sorted, either.
    """

    cells: Sequence[Html]
    classes: Iterable[int] | None = None


def number_cell(value: float | None, digits: int = 3) -> Html:
    """A number, which is sorted by its exact value."""
    return _cell(value, decimals(value, digits))


def count_cell(value: int) -> Html:
    """A whole number."""
    return _cell(value, f"{value:,}")


def signed_cell(value: float | None, digits: int = 3) -> Html:
    """A difference, marked as better if it is above 0 and as worse if below."""
    shown = signed(value, digits)
    kind = {"+": "n better", MINUS: "n worse"}.get(shown[0], "n")
    return _cell(value, shown, kind)


def _cell(value: float | None, shown: str, kind: str = "n") -> Html:
    exists = value is not None and value == value
    return element("td", shown, class_=kind, data_v=f"{value:.9g}" if exists else "")


def text_cell(content: object, key: str | None = None) -> Html:
    """Text; it is sorted by `key` if that is given."""
    return element("td", content, class_="t", data_v=key)


def table(
    columns: Sequence[Column], rows: Sequence[Row], caption: str, *, name: str | None = None
) -> Html:
    """A table.

    Args:
      columns: the columns, the first of which has the headings of the rows.
      rows: the rows, with as many cells as there are columns.
      caption: a description of the table for screen readers.
      name: its id.
    """
    head = element("tr", *map(_heading, columns))
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", head),
            element("tbody", *map(_row, rows)),
            class_="sortable",
            id=name,
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _heading(column: Column) -> Html:
    button = element("button", column.title, type="button", title=column.hint)
    kind = "t" if column.is_text else "n"
    return element("th", button, scope="col", aria_sort="none", class_=kind)


def _row(row: Row) -> Html:
    cells = joined(*row.cells)
    if row.classes is None:
        return element("tr", cells, class_="all")
    return element("tr", cells, data_c=" ".join(map(str, row.classes)) or None)
