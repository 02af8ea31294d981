"""Equations of the site as MathML, which browsers draw by themselves.

pymdownx.arithmatex marks the equations; this hook turns their LaTeX into MathML while the site is
built, so that a page needs neither a script nor a network to show them.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# Inline equations are in a span and \( \), those on their own lines in a div and \[ \].
_MARKED = re.compile(
    r'(?P<before>\(?)<(?P<element>span|div) class="arithmatex">'
    r"\\[(\[](?P<latex>.*?)\\[)\]]</(?P=element)>(?P<after>[).,;:]*)",
    flags=re.DOTALL,
)
_TAG = re.compile(r"\\tag\{([^}]*)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ELEMENT = re.compile(r"<[^>]*>")
_LONG = 30  # letters: a line on a phone has no room for more
_UPRIGHT = '<mi mathvariant="normal">'
_WORD = re.compile(rf"(?:{_UPRIGHT}[^<]*</mi>){{2,}}")


def mathml(latex: str, display: str) -> str:
    """A `math` element.

    Args:
        latex: The equation without its delimiters.
        display: "inline" or "block".

    Raises:
        ValueError: The converter does not know or cannot read the LaTeX.
    """
    try:
        made = convert(latex, display=display)
    except Exception as error:  # the converter has no class of errors of its own
        raise ValueError(f"The equation {latex!r} is not valid LaTeX: {error!r}") from error
    # The converter passes an unknown command on as text.
    unknown = _COMMAND.findall(_ELEMENT.sub("", made))
    if unknown:
        raise ValueError(f"The equation {latex!r} has the unknown command {unknown[0]}.")
    # A screen reader would spell the separate letters of \mathrm. A whole word is upright anyway.
    made = _WORD.sub(lambda word: f"<mi>{_ELEMENT.sub('', word[0])}</mi>", made)
    return made.replace("<math ", "<math data-search-exclude ", 1)


def to_mathml(content: str) -> str:
    r"""The HTML of a page with its equations as MathML, and `\tag{1}` as (1) beside them."""

    def drawn(found: re.Match[str]) -> str:
        latex = html.unescape(found["latex"]).strip()
        if found["element"] == "span":
            made = found["before"] + mathml(latex, "inline") + found["after"]
            return f'<span class="unbroken">{made}</span>'
        numbers = "".join(f'<span class="number">({tag})</span>' for tag in _TAG.findall(latex))
        made = mathml(_TAG.sub("", latex).strip(), "block")
        length = len(html.unescape(_ELEMENT.sub("", made)))
        kind = "equation long" if length > _LONG else "equation"
        return f'{found["before"]}<div class="{kind}">{made}{numbers}</div>{found["after"]}'

    return _MARKED.sub(drawn, content)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replaces the LaTeX of a page by MathML; invalid LaTeX ends the build."""
    try:
        return to_mathml(content)
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error
