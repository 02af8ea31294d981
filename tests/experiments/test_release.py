"""Wheel and sdist of this clone, the files that name the version, and what people are asked for."""

import io
import re
import tarfile
import tomllib
import zipfile

import pytest
import yaml

import ioub_jax
from experiments.release import archives, contents
from ioub_jax.errors import ConfigError
from tests import tiny


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    return archives.build(tiny.ROOT, tmp_path_factory.mktemp("dist"))


def test_what_is_built_from_this_clone_is_in_order(built):
    sdist, wheel = built
    assert contents.faults_of_sdist(sdist) == []
    assert contents.faults_of_wheel(wheel, tiny.ROOT) == []
    assert wheel.name == f"ioub_jax-{ioub_jax.__version__}-py3-none-any.whl"


def test_what_lacks_and_what_should_not_be_there_is_told(built, tmp_path):
    _, wheel = built
    other = tmp_path / wheel.name
    with (
        zipfile.ZipFile(wheel) as before,
        zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for name in before.namelist():
            text = before.read(name)
            if name.endswith("METADATA"):
                text = text.replace(b"\nVersion: ", b"\nVersion: 9").replace(b"tfds\n", b"tfsd\n")
            if name != "ioub_jax/boxes.py":
                after.writestr(name, text)
        after.writestr("tests/test_boxes.py", "")
    faults = contents.faults_of_wheel(other, tiny.ROOT)
    assert faults[:2] == [
        "the wheel lacks ioub_jax/boxes.py",
        "the wheel has tests, which is not the package",
    ]
    version = ioub_jax.__version__
    assert f"the metadata has Version '9{version}' and not '{version}'" in faults
    assert "the extra tfsd is in one of both alone" in faults
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in ("a-1/runs/mine/train.jsonl", "a-1/LICENSE"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    faults = contents.faults_of_sdist(tmp_path / "a.tar.gz")
    assert "the sdist lacks README.md" in faults and "the sdist lacks LICENSE" not in faults
    assert "the sdist has runs/mine/train.jsonl" in faults


def test_an_archive_of_another_version_stops_the_build(tmp_path):
    (tmp_path / "ioub_jax-0.0.1.tar.gz").touch()
    with pytest.raises(ConfigError, match=r"0\.0\.1\.tar\.gz is of another version; empty"):
        archives.build(tiny.ROOT, tmp_path)


def test_the_version_is_in_one_place():
    assert contents.version_of(tiny.ROOT) == ioub_jax.__version__
    assert contents.faults_of_texts(tiny.ROOT) == []
    project = tomllib.loads((tiny.ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and project["dynamic"] == ["version"]


def test_the_citation_is_complete():
    citation = yaml.safe_load((tiny.ROOT / "CITATION.cff").read_text())
    needed = {"cff-version", "message", "title", "authors", "version", "license", "type"}
    assert needed <= citation.keys() and citation["version"] == ioub_jax.__version__
    (paper,) = citation["references"]
    assert paper["url"].endswith("1908.05641") and len(paper["authors"]) == 4


def test_the_changelog_has_an_unreleased_part_first():
    headings = re.findall(r"^## (.*)$", (tiny.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" and ioub_jax.__version__ in headings[1]


def test_the_issue_template_asks_for_what_check_data_writes():
    folder = tiny.ROOT / ".github" / "ISSUE_TEMPLATE"
    form = yaml.safe_load((folder / "problem.yml").read_text())
    assert {"name", "description", "body"} <= form.keys()
    asked = {part["id"]: part for part in form["body"]}
    assert len(asked) == len(form["body"])
    data = asked["check"]["attributes"]
    assert data["label"].startswith("check.json")
    assert "python -m experiments.check_data" in data["description"]
    optional = {name for name, part in asked.items() if not part["validations"]["required"]}
    assert optional == {"check"}  # many problems concern no data


def test_contributing_is_of_one_page():
    assert len((tiny.ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 70
