"""Checks of the contents and the metadata of a wheel and an sdist."""

import email
import email.message
import pathlib
import re
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable

#: Size limits; a larger archive would contain data, results or an environment.
_MOST_MIB = {"wheel": 2.0, "sdist": 8.0}
#: Other files in a clone, which must not be distributed.
_FOREIGN = re.compile(
    r"^(runs|site|shared|dist|build)/|(^|/)(\.venv[^/]*|\.git|\.[a-z]+_cache|__pycache__|\.hypothesis)/"
    r"|\.(pyc|h5)$"
)
_IN_SDIST = (
    "LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile",
    "pyproject.toml", "constraints.txt", "ioub_jax/__init__.py", "configs/shapes_retinanet.py",
    "tests/conftest.py", "notebooks/losses.ipynb",
)  # fmt: skip


def faults_of_wheel(path: pathlib.Path, root: pathlib.Path) -> list[str]:
    """A sentence for each fault of a wheel.

    Args:
      path: the wheel.
      root: the clone that it was built from.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(metadata))
    information = metadata.partition("/")[0]
    needed = [
        *(file.relative_to(root).as_posix() for file in (root / "ioub_jax").rglob("*.py")),
        *(f"ioub_jax/configs/recipes/{file.name}" for file in (root / "configs").glob("*.py")),
        "ioub_jax/py.typed",
        f"{information}/licenses/LICENSE",
        f"{information}/entry_points.txt",
    ]
    strange = {name.partition("/")[0] for name in names} - {"ioub_jax", information}
    return [
        *_faults_of_archive("wheel", path, names, needed),
        *(f"the wheel has {name}, which is not the package" for name in sorted(strange)),
        *_faults_of_metadata(said, root),
    ]


def faults_of_sdist(path: pathlib.Path) -> list[str]:
    """A sentence for each fault of an sdist."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    names = [member.name.partition("/")[2] for member in members if member.isfile()]
    links = [member.name for member in members if member.islnk() or member.issym()]
    return [
        *_faults_of_archive("sdist", path, names, _IN_SDIST),
        *(f"the sdist has a link, {name}" for name in links),
    ]


def _faults_of_archive(
    kind: str, path: pathlib.Path, names: Iterable[str], needed: Iterable[str]
) -> list[str]:
    mib = path.stat().st_size / 2**20
    return [
        *(f"the {kind} lacks {name}" for name in sorted(set(needed) - set(names))),
        *(f"the {kind} has {name}" for name in names if _FOREIGN.search(name)),
        *([f"the {kind} has {mib:.1f} MiB"] if mib > _MOST_MIB[kind] else []),
    ]


def _faults_of_metadata(said: email.message.Message, root: pathlib.Path) -> list[str]:
    """Describes what differs between the metadata and pyproject.toml, and what is missing."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    expected = {
        "Name": project["name"],
        "Version": version_of(root),
        "Summary": project["description"],
        "Requires-Python": project["requires-python"],
        "License-Expression": project["license"],
        "Description-Content-Type": "text/markdown",
    }
    faults = [
        f"the metadata has {key} {said[key]!r} and not {value!r}"
        for key, value in expected.items()
        if said[key] != value
    ]
    extras = set(project["optional-dependencies"]) ^ set(said.get_all("Provides-Extra", []))
    readme = (root / "README.md").read_text(encoding="utf-8")
    described = said.get_payload(decode=True)
    if not isinstance(described, bytes) or described.decode().strip() != readme.strip():
        faults.append("the description is not README.md")
    return faults + [f"the extra {extra} is in one of both alone" for extra in sorted(extras)]


def version_of(root: pathlib.Path) -> str:
    """The version, read from the only place that defines it."""
    text = (root / "ioub_jax" / "__init__.py").read_text(encoding="utf-8")
    (found,) = re.findall(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    return str(found)


def faults_of_texts(root: pathlib.Path) -> list[str]:
    """A sentence for each file that names another version than the package has."""
    version = version_of(root)
    texts = {"CITATION.cff": f"version: {version}", "CHANGELOG.md": f"## {version}"}
    return [
        f"{name} has no line {line!r}"
        for name, line in texts.items()
        if line not in (root / name).read_text(encoding="utf-8").splitlines()
    ]
