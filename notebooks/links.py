"""Writes the public address of the repository into the notebooks: badges, and their wheel.

python -m notebooks.links

The address is `Repository` under [project.urls] in pyproject.toml, such as
https://github.com/OWNER/NAME, and is set nowhere else. Without it, there are no badges, and the
notebooks search for a wheel next to them. The wheel is a file of the release of this version, whose
tag is vVERSION.
"""

import re
import tomllib
import urllib.parse

import nbformat

import ioub_jax
from ioub_jax import files
from notebooks import execute

_BADGE = re.compile(r"^\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)\n\n")
_WHEEL = re.compile(r'^WHEEL = "[^"]*"$', re.MULTILINE)
_COLAB = "https://colab.research.google.com"


def repository() -> str:
    """The address of the repository without a slash at its end; empty before it is public."""
    path = execute.FOLDER.parent / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", "")).removesuffix("/")


def badge(name: str, address: str) -> str:
    """The badge that opens a notebook on Colab, as Markdown.

    Raises:
      ValueError: the address is not on GitHub, and Colab opens only notebooks on GitHub.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.netloc != "github.com" or not re.fullmatch(r"/[\w.-]+/[\w.-]+", parts.path):
        raise ValueError(f"{address} is not https://github.com/OWNER/NAME, which Colab opens.")
    place = f"{_COLAB}/github{parts.path}/blob/main/notebooks/{name}.ipynb"
    return f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({place})"


def wheel(address: str) -> str:
    """The address of the wheel of this version's release."""
    version = ioub_jax.__version__
    return f"{address}/releases/download/v{version}/ioub_jax-{version}-py3-none-any.whl"


def linked(notebook: nbformat.NotebookNode, name: str, address: str) -> nbformat.NotebookNode:
    """A copy with the badge and the wheel of a repository, or of none.

    Args:
      notebook: a notebook with or without badge and wheel.
      name: its name.
      address: the result of `repository`.
    """
    copy = nbformat.from_dict(notebook)
    title = copy.cells[0]
    title.source = _BADGE.sub("", title.source)
    if address:
        title.source = f"{badge(name, address)}\n\n{title.source}"
    first = next(cell for cell in copy.cells if cell.cell_type == "code")
    first.source = _WHEEL.sub(f'WHEEL = "{wheel(address) if address else ""}"', first.source)
    return copy


def main() -> None:
    """Writes all notebooks."""
    address = repository()
    for name in execute.NAMES:
        text = nbformat.writes(linked(execute.read(name), name, address))
        files.write_text(execute.FOLDER / f"{name}.ipynb", text + "\n")
    print(f"The notebooks name {address or 'no repository: set Repository in pyproject.toml'}.")


if __name__ == "__main__":
    main()
