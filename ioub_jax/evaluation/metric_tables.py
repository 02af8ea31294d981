"""Tables of metrics for a terminal."""

from collections.abc import Iterator, Mapping, Sequence


def decimals(value: float | None) -> str:
    """A number in [0, 1] with three decimals; `-` for one that does not exist."""
    return "-" if value is None else f"{value:.3f}"


def table_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """A line of cells, each aligned to the right within its width."""
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def widths_of(keys: Sequence[str]) -> list[int]:
    """The widths of columns with these headings."""
    return [max(8, len(key) + 2) for key in keys]


def blocks_of(rows: Sequence[Sequence[str]], numbers: Mapping[str, float | None]) -> Iterator[str]:
    """Yields for each row of keys an empty line, the keys, and the numbers under them."""
    for keys in rows:
        widths = widths_of(keys)
        yield ""
        yield table_line(keys, widths)
        yield table_line([decimals(numbers[key]) for key in keys], widths)
