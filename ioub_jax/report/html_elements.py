"""HTML in which users' text remains text: everything except `Html` is escaped."""

import html

from ioub_jax.printing import printable

#: The most letters of a name that are shown; a longer one appears in full as a tooltip.
SHOWN_LETTERS = 40

#: The text in place of a number that does not exist.
ABSENT = "\u2013"
#: The sign of numbers below 0, as wide as the plus.
MINUS = "\u2212"

_WITHOUT_END = {"br", "col", "input", "link", "meta"}


class Html(str):
    """Text that is already HTML."""


def as_html(content: object) -> Html:
    """Content as HTML: `Html` unchanged, anything else as text with escaped control characters."""
    if isinstance(content, Html):
        return content
    return Html(html.escape(printable(str(content))))


def joined(*parts: object) -> Html:
    """Several contents, one after another."""
    return Html("".join(map(as_html, parts)))


def element(tag: str, *content: object, **attributes: object) -> Html:
    """An element of HTML or SVG.

    Args:
      tag: the name of the element.
      *content: its contents, as `as_html` takes them.
      **attributes: name -> value; `class_` is class and `data_v` is data-v. An attribute that is
        None or False is left out, and one that is True has no value.
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.removesuffix("_").replace("_", "-")
        parts.append(name if value is True else f'{name}="{as_html(value)}"')
    start = f"<{' '.join(parts)}>"
    return Html(start if tag in _WITHOUT_END else f"{start}{joined(*content)}</{tag}>")


def name_html(name: str, letters: int = SHOWN_LETTERS) -> Html:
    """A name from a user's data, shortened if it is long."""
    name = printable(name)
    if name.strip() == "":
        return element("span", "(no name)" if not name else f"({len(name)} spaces)", class_="name")
    if len(name) <= letters:
        return element("span", name, class_="name")
    return element("span", f"{name[: letters - 1]}…", class_="name", title=name)


def file_html(name: str) -> Html:
    """The name of a file; only the end of a long one is shown."""
    name = printable(name)
    if len(name) <= SHOWN_LETTERS:
        return name_html(name)
    return element("span", f"…{name[1 - SHOWN_LETTERS :]}", class_="name", title=name)


def decimals(value: float | None, digits: int = 3) -> str:
    """A number as text; a dash if it does not exist."""
    return ABSENT if value is None or value != value else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference as text, with its sign."""
    if value is None or value != value:
        return ABSENT
    rounded = f"{abs(value):.{digits}f}"
    if float(rounded) == 0:
        return f"±{rounded}"
    return f"{'+' if value > 0 else MINUS}{rounded}"


def interval_html(interval: tuple[float, float] | None, *, with_sign: bool = False) -> Html:
    """An interval in brackets, or nothing."""
    if interval is None:
        return Html("")
    low, high = ((signed if with_sign else decimals)(bound) for bound in interval)
    return element("span", f"[{low}, {high}]", class_="interval")


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number of things in words: 1 image, 5,000 images."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
