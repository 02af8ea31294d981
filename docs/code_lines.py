"""What mkdocs does with code, so that its lines break at good places on a narrow screen.

Browsers break a line after every hyphen, and `--` at the end of a line reads as something else; a
long name they break anywhere. Columns that were aligned with spaces do not survive a break: there
letters become smaller instead. docs/stylesheets/site.css says how the classes behave.
"""

import html
import re
from typing import Any

_BLOCK = re.compile(r"(<pre[^>]*>(?:(?!</pre>).)*?<code)(>)(.*?)(</code>)", flags=re.DOTALL)
_CODE = re.compile(r"(<code[^>]*>)(.*?)(</code>)", flags=re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
# A word of text, not of a tag, that begins with hyphens.
_FLAG = re.compile(r"(?<![^\s>\[|])(--?[A-Za-z]\w*)([^\s<|\]]*)(?![^<]*>)")
# Where a name may be broken: after a dot, a slash, an underscore, a comma or a sign of equality.
_JOINT = re.compile(r"(?:(?<=\w[._/,])(?=[A-Za-z]\w)|(?<=\w=)(?=[^\s<]))(?![^<]*>)")
# A line of code, as pymdownx.highlight encloses it, that begins with blanks.
_LINE = re.compile(
    r'(<span id="[^"]*__span-\d+-\d+")>((?:<a [^>]*></a>)?(?:<span class="w">)?)( +)'
)
_GAP = re.compile(r"\S {3,}(?=\S)")
_WIDEST = 84  # letters in a line; more would be too small to read


def keep_flags_whole(content: str) -> str:
    """The HTML of a page with every flag in its code as an element of its own."""

    def element(flag: re.Match[str]) -> str:
        # What is longer than a line breaks at a joint.
        return (
            f'<span class="flag"><span class="unbroken">{flag[1]}</span>'
            f"{_JOINT.sub('<wbr>', flag[2])}</span>"
        )

    def marked(found: re.Match[str]) -> str:
        before, code, after = found.groups()
        return before + _FLAG.sub(element, code) + after

    return _CODE.sub(marked, content)


def break_names_at_joints(content: str) -> str:
    """The HTML of a page where code in tables may be broken after dots and the like."""

    def broken(found: re.Match[str]) -> str:
        return found[1] + _JOINT.sub("<wbr>", found[2]) + found[3]

    # Tables of Markdown alone: that of a listing with numbered lines has a class.
    pieces = re.split(r"(<table>.*?</table>)", content, flags=re.DOTALL)
    pieces[1::2] = [_CODE.sub(broken, table) for table in pieces[1::2]]
    return "".join(pieces)


def tell_indentation(content: str) -> str:
    """The HTML of a page whose lines of code say by how much they are set in."""

    def told(line: re.Match[str]) -> str:
        return f'{line[1]} style="--indent: {len(line[3])}">{line[2]}{line[3]}'

    return _LINE.sub(told, content)


def columns(text: str) -> int:
    """The letters in the longest line of a text's aligned columns; 0 where there are none."""
    lines = [line.rstrip() for line in text.splitlines() if _GAP.search(line)]
    longest = max(map(len, lines), default=0)
    return longest if len(lines) > 2 and longest <= _WIDEST else 0


def fit_columns(content: str) -> str:
    """The HTML of a page whose blocks with aligned columns say how many letters those take."""

    def fitted(found: re.Match[str]) -> str:
        number = columns(html.unescape(_TAG.sub("", found[3])))
        style = f' class="columns" style="--columns: {number}"' if number else ""
        return found[1] + style + found[2] + found[3] + found[4]

    return _BLOCK.sub(fitted, content)


def on_page_content(content: str, **_: Any) -> str:
    """Prepares the code of a page."""
    content = tell_indentation(fit_columns(content))
    return break_names_at_joints(keep_flags_whole(content))
