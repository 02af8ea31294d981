"""Line breaks in code and in tables of the site: at good places, also on a narrow screen.

Browsers break a line after every hyphen, so that `--` may end a line; they break long names
anywhere, and intervals in a narrow column after each word. Columns that are aligned with spaces do
not survive a break: their letters become smaller instead. docs/stylesheets/site.css defines how the
classes behave.
"""

import html
import re
from collections.abc import Callable
from typing import Any

_BLOCK = re.compile(r"(<pre[^>]*>(?:(?!</pre>).)*?<code)(>)(.*?)(</code>)", flags=re.DOTALL)
_CODE = re.compile(r"(<code[^>]*>)(.*?)(</code>)", flags=re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
# A word of text, not of a tag, that begins with hyphens.
_FLAG = re.compile(r"(?<![^\s>\[|])(--?[A-Za-z]\w*)([^\s<|\]]*)(?![^<]*>)")
# A name may be broken after a dot, a slash, an underscore, a comma or an equals sign.
_JOINT = re.compile(r"(?:(?<=\w[._/,])(?=[A-Za-z]\w)|(?<=\w=)(?=[^\s<]))(?![^<]*>)")
# A line of code that begins with blanks, as pymdownx.highlight encloses it.
_LINE = re.compile(
    r'(<span id="[^"]*__span-\d+-\d+")>((?:<a [^>]*></a>)?(?:<span class="w">)?)( +)'
)
# A number with its deviation, and the two bounds of an interval.
_INTERVAL = re.compile(r"[+-]?[\d.]+ ± [\d.]+|\([+-]?[\d.]+ to [+-]?[\d.]+\)")
_GAP = re.compile(r"\S {3,}(?=\S)")
_WIDEST = 84  # letters in a line; more would be too small to read


def keep_flags_whole(content: str) -> str:
    """The HTML of a page with every flag in its code as an element of its own."""

    def element(flag: re.Match[str]) -> str:
        # A flag that is longer than a line breaks at a joint.
        return (
            f'<span class="flag"><span class="unbroken">{flag[1]}</span>'
            f"{_JOINT.sub('<wbr>', flag[2])}</span>"
        )

    def marked(found: re.Match[str]) -> str:
        before, code, after = found.groups()
        return before + _FLAG.sub(element, code) + after

    return _CODE.sub(marked, content)


def break_names_at_joints(content: str) -> str:
    """The HTML of a page in which code in tables may be broken after dots and the like."""

    def broken(found: re.Match[str]) -> str:
        return found[1] + _JOINT.sub("<wbr>", found[2]) + found[3]

    return _in_tables(content, lambda table: _CODE.sub(broken, table))


def keep_intervals_whole(content: str) -> str:
    """The HTML of a page in which intervals and deviations in tables are not broken."""

    def whole(table: str) -> str:
        return _INTERVAL.sub(lambda found: f'<span class="unbroken">{found[0]}</span>', table)

    return _in_tables(content, whole)


def _in_tables(content: str, change: Callable[[str], str]) -> str:
    # Only tables written in Markdown: that of a listing with numbered lines has a class.
    pieces = re.split(r"(<table>.*?</table>)", content, flags=re.DOTALL)
    pieces[1::2] = map(change, pieces[1::2])
    return "".join(pieces)


def tell_indentation(content: str) -> str:
    """The HTML of a page whose lines of code have their indentation as a CSS variable."""

    def told(line: re.Match[str]) -> str:
        return f'{line[1]} style="--indent: {len(line[3])}">{line[2]}{line[3]}'

    return _LINE.sub(told, content)


def columns(text: str) -> int:
    """The number of letters in the longest line of aligned columns; 0 if a text has none."""
    lines = [line.rstrip() for line in text.splitlines() if _GAP.search(line)]
    longest = max(map(len, lines), default=0)
    return longest if len(lines) > 2 and longest <= _WIDEST else 0


def fit_columns(content: str) -> str:
    """The HTML of a page whose blocks with aligned columns have their width as a CSS variable."""

    def fitted(found: re.Match[str]) -> str:
        number = columns(html.unescape(_TAG.sub("", found[3])))
        style = f' class="columns" style="--columns: {number}"' if number else ""
        return found[1] + style + found[2] + found[3] + found[4]

    return _BLOCK.sub(fitted, content)


def on_page_content(content: str, **_: Any) -> str:
    """Prepares the code and the tables of a page."""
    content = keep_intervals_whole(tell_indentation(fit_columns(content)))
    return break_names_at_joints(keep_flags_whole(content))
