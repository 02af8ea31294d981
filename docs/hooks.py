"""Pages of the site for the files of the repository to which a page links.

A link to `../ioub_jax/errors.py` works in the repository, but mkdocs knows only files below docs/.
Therefore each such file becomes a page below source/, and the link leads to that page. The README
is the first page.
"""

import json
import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = pathlib.Path(__file__).resolve().parents[1]
_FIRST_PAGE, _FOLDER = "README.md", "source/"
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}


def _page_of(path: str) -> str:
    """Returns the page, below docs/, of a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == _FIRST_PAGE:
        return "index.md"
    return _FOLDER + (path if path.endswith(".md") else f"{path}.md")


def _file_of(page: str) -> str:
    """Returns the file in Markdown that a page shows: the inverse of `_page_of`."""
    if page == "index.md":
        return _FIRST_PAGE
    return page.removeprefix(_FOLDER) if page.startswith(_FOLDER) else f"docs/{page}"


def _target(page: str, link: str) -> str | None:
    """Returns the path of the file to which a page links; None if it is not in the repository."""
    if "://" in link or link.startswith("mailto:"):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(_file_of(page)), link))
    return path if not path.startswith("..") and (ROOT / path).is_file() else None


def _content(path: str) -> str:
    """Returns the page of a file: Markdown as it is, notebooks by cells, other files as code."""
    text, suffix = (ROOT / path).read_text(encoding="utf-8"), pathlib.Path(path).suffix
    if suffix == ".md":
        return text
    if suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        return "\n\n".join(
            source if kind == "markdown" else _code(source, "python") for kind, source in cells
        )
    return f"# {path}\n\n{_code(text, _LANGUAGES.get(suffix, 'text'))}"


def _code(text: str, language: str) -> str:
    # More backticks than any file has in a row.
    return f"``````{language}\n{text}\n``````\n"


def on_files(files: Files, config: Any) -> Files:
    """Adds the first page, and a page for every file outside docs/ that a page links to."""
    first = File.generated(config, _page_of(_FIRST_PAGE), content=_content(_FIRST_PAGE))
    files.append(first)
    waiting, added = list(files.documentation_pages()), {_FIRST_PAGE}
    while waiting:
        page = waiting.pop()
        for _, link, _ in _LINK.findall(page.content_string):
            path = _target(page.src_uri, link)
            if path is None or path.startswith("docs/") or path in added:
                continue
            added.add(path)
            generated = File.generated(config, _page_of(path), content=_content(path))
            generated.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(generated)
            if path.endswith(".md"):
                waiting.append(generated)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Replaces links to files by links to their pages."""
    here = page.file.src_uri

    def to_page(found: re.Match[str]) -> str:
        path = _target(here, found[2])
        if path is None:
            return found[0]
        link = posixpath.relpath(_page_of(path), posixpath.dirname(here) or ".")
        return found[1] + link + found[3]

    return _LINK.sub(to_page, markdown)
