"""What mkdocs does with equations: MathML, which browsers draw by themselves.

pymdownx.arithmatex marks what is an equation; here LaTeX becomes MathML while the site is built,
so that a page needs neither a script nor a network to show one.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# Inline ones are in a span and \( \), those on lines of their own in a div and \[ \].
_MARKED = re.compile(
    r'(?P<before>\(?)<(?P<element>span|div) class="arithmatex">'
    r"\\[(\[](?P<latex>.*?)\\[)\]]</(?P=element)>(?P<after>[).,;:]*)",
    flags=re.DOTALL,
)
_TAG = re.compile(r"\\tag\{([^}]*)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ELEMENT = re.compile(r"<[^>]*>")
_LONG = 30  # letters, of which a telephone has no more in a line
_UPRIGHT = '<mi mathvariant="normal">'
_WORD = re.compile(rf"(?:{_UPRIGHT}[^<]*</mi>){{2,}}")


def mathml(latex: str, display: str) -> str:
    """A `math` element.

    Args:
        latex: The equation without what encloses it.
        display: "inline" or "block".

    Raises:
        ValueError: LaTeX that the converter does not know or cannot read.
    """
    try:
        made = convert(latex, display=display)
    except Exception as error:  # it has no class of its own, and IndexError for some
        raise ValueError(f"The equation {latex!r} is no LaTeX: {error!r}") from error
    # A command that it does not know goes through as text.
    unknown = _COMMAND.findall(_ELEMENT.sub("", made))
    if unknown:
        raise ValueError(f"The equation {latex!r} has the unknown command {unknown[0]}.")
    # The letters of \mathrm one by one are no word to a screen reader. A word is upright anyway.
    made = _WORD.sub(lambda word: f"<mi>{_ELEMENT.sub('', word[0])}</mi>", made)
    return made.replace("<math ", "<math data-search-exclude ", 1)


def to_mathml(content: str) -> str:
    r"""The HTML of a page with its equations as MathML, and `\tag{1}` as (1) beside one."""

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
    """Puts MathML where a page has LaTeX; what cannot be read ends the build."""
    try:
        return to_mathml(content)
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error
