"""Tables that `report.js` sorts and filters."""

import dataclasses
from collections.abc import Iterable, Sequence

from ioub_jax.report.html_elements import MINUS, Html, decimals, element, joined, signed


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      title: what stands above it.
      hint: what that means, where it takes more words.
      is_text: whether it has text, and not numbers.
    """

    title: str
    hint: str | None = None
    is_text: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
      cells: from `number_cell` and its like.
      classes: numbers of the classes that it tells of, by which it is filtered; one of none always
        stays. None for a row that is not sorted either, and is the first.
    """

    cells: Sequence[Html]
    classes: Iterable[int] | None = None


def number_cell(value: float | None, digits: int = 3) -> Html:
    """A number, which is sorted by all of its digits."""
    return _cell(value, decimals(value, digits))


def count_cell(value: int) -> Html:
    """A whole number."""
    return _cell(value, f"{value:,}")


def signed_cell(value: float | None, digits: int = 3) -> Html:
    """A difference, shown as better above 0 and as worse below."""
    shown = signed(value, digits)
    kind = {"+": "n better", MINUS: "n worse"}.get(shown[0], "n")
    return _cell(value, shown, kind)


def _cell(value: float | None, shown: str, kind: str = "n") -> Html:
    exists = value is not None and value == value
    return element("td", shown, class_=kind, data_v=f"{value:.9g}" if exists else "")


def text_cell(content: object, key: str | None = None) -> Html:
    """Text; `key` is what it is sorted by, if that differs from the text."""
    return element("td", content, class_="t", data_v=key)


def table(
    columns: Sequence[Column], rows: Sequence[Row], caption: str, *, name: str | None = None
) -> Html:
    """A table.

    Args:
      columns: of which the first heads the rows.
      rows: of as many cells.
      caption: what the table is, for those who do not see where it stands.
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
