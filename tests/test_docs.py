"""README, changelog and docs/: links lead somewhere, programs and commands name what exists."""

import ast
import functools
import importlib
import itertools
import pathlib
import re
import shlex
import sys

import pytest
from absl import flags
from ml_collections import config_flags

import ioub_jax.commands.overrides  # noqa: F401  (what flags take, None among it)

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERBS = ROOT / "ioub_jax" / "commands"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md"]
PAGES += sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
#: What the pages on adding something show is not in the package: tests/test_how_to.py has it.
ADDED = {"add-a-detector.md", "add-a-loss.md", "add-a-data-source.md", "add-a-metric.md"}

FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")


def name_of(page):
    return str(page.relative_to(ROOT))


@functools.cache
def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page, *languages):
    """The fenced blocks of a page in some languages, '' being none."""
    return [text for _, language, text in FENCE.findall(text_of(page)) if language in languages]


def prose(page):
    """A page without its blocks of code and `code`."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(page)))


@functools.cache
def anchors(page):
    """The anchors that GitHub gives the headings of a page, as does the site (mkdocs.yml)."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower().strip())
        slug = slug.replace(" ", "-")
        number = sum(
            re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found
        )
        found.add(f"{slug}-{number}" if number else slug)
    for name in re.findall(r"^::: (\S+)", text_of(page), flags=re.MULTILINE):
        found |= {name, *(f"{name}.{member}" for member in dir(importlib.import_module(name)))}
    return found


def broken_links(page):
    """Relative links of a page to files or anchors that are not there."""
    broken = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        # A folder has no page on the site; its README has.
        there = target.is_file() and ROOT in target.parents
        if not there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_broken(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# One `thing`, two\n## One\n## One\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#one-thing-two) [b](other.md#one-1) [c](#here) `[d](no.md)` [e](https://f.g)\n"
        "# Here\n```\n[f](nowhere.md)\n```\n"
        "[g](no.md) [h](other.md#two) [i](#there) ![j\n](no.png) [k](../other.md)",
        encoding="utf-8",
    )
    assert broken_links(page) == ["no.md", "other.md#two", "#there", "no.png", "../other.md"]


def test_the_site_lists_every_page():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert listed == pages | {"index.md"}  # the README


def begun_without_a_blank_line(text):
    """Lines of lists and tables that come right after a paragraph.

    Where the repository is read they end it; on the site they become part of it.
    """
    lines = FENCE.sub("", text).splitlines()
    begins = re.compile(r"(- |1\. |\|)")
    goes_on = re.compile(r"(- |\d+\. |\||  |#|$)")
    return [
        line
        for before, line in itertools.pairwise(lines)
        if begins.match(line) and not goes_on.match(before)
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lists_and_tables_begin_after_a_blank_line(page):
    assert begun_without_a_blank_line(text_of(page)) == []


def test_a_list_that_begins_too_early_is_found():
    text = "A\n- b\n\n- c\n  d\n- e\n\nF\n| g |\n|---|\n\n## H\n- i\n"
    assert begun_without_a_blank_line(text) == ["- b", "| g |"]


# ------------------------------------------------------------------ programs


def unknown_names(program):
    """What a program takes from this repository that is not there, as dotted names."""
    tree, imported, unknown = ast.parse(program), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in (
            "ioub_jax",
            "configs",
        ):
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            imported |= {a.name: a.name for a in node.names if a.name.startswith("ioub_jax")}
    used = {
        f"{imported[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in imported
    }
    for name in sorted(used | set(imported.values())):
        try:
            importlib.import_module(name)
        except ImportError:
            module, _, member = name.rpartition(".")
            if not module or not hasattr(importlib.import_module(module), member):
                unknown.append(name)
    return unknown


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ADDED], ids=name_of)
def test_programs_use_what_exists(page):
    for program in blocks(page, "python"):
        assert unknown_names(program) == []


def test_what_does_not_exist_is_found():
    program = "import ioub_jax\nfrom ioub_jax import losses\nlosses.focal(ioub_jax.load('a'))"
    assert unknown_names(program) == ["ioub_jax.losses.focal"]


# ------------------------------------------------------------------ commands


def commands(page):
    """The lines of a page's blocks of shell, continued lines joined, comments left out."""
    for block in blocks(page, "", "sh", "shell", "bash"):
        # The one word in capitals that stands for a number.
        for line in block.replace("\\\n", " ").replace("SEED", "0").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield [word for word in words if word != "&"]


def source_of(command):
    """The file or folder of a command, None where there is no such command."""
    places = (VERBS / f"{command}.py", ROOT / "experiments" / command)
    return next((place for place in places if place.exists()), None)


@functools.cache
def flags_of(command):
    """The names of a command's own flags, from its source."""
    path = source_of(command)
    sources = [path] if path.is_file() else [*path.glob("*.py")]
    text = "".join(p.read_text(encoding="utf-8") for p in (*sources, VERBS / "command_line.py"))
    for shared in ("data_flags", "view_flags"):
        if f"{shared}.define()" in text:
            text += (VERBS / f"{shared}.py").read_text(encoding="utf-8")
    return set(re.findall(r"(?:DEFINE_\w+|score_flags\.define)\(\s*\"(\w+)\"", text))


def problem_of(words):
    """What is wrong with a command of this repository, None where nothing is."""
    command = next((w for w in words if w.startswith("experiments.")), None)
    if words[0] == "ioub" and len(words) > 1:
        command = f"experiments.{words[1]}"
    if words[0] == "make":
        rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        return next((w for w in words[1:] if "=" not in w and w not in rules), None)
    if command is not None:
        name = command.removeprefix("experiments.")
        if source_of(name) is None:
            return command
        for word in words:
            flag = re.match(r"--(\w+)", word)
            if flag and flag[1] == "flagfile" and (ROOT / word.partition("=")[2]).is_file():
                continue
            if flag and flag[1] not in flags_of(name) | {"config", "help"}:
                known = flag[1].removeprefix("no") in flags_of(name)
                if not known:
                    return word
    return problem_of_configuration([w for w in words if w.startswith("--config")])


def problem_of_configuration(words):
    """What is wrong with `--config=FILE:WORDS` and `--config.KEY=VALUE`."""
    overrides = [word for word in words if word.startswith("--config.")]
    if not words or words[0] in ("--config=FILE", "--config.KEY=VALUE"):
        return None
    # Lines with keys alone are of any configuration that has them.
    ssd = "--config.model.name=ssd" in overrides
    given = words[0] if words[0].startswith("--config=") else ("coco_ssd" if ssd else "defaults")
    file, _, argument = given.removeprefix("--config=").partition(":")
    file = "coco_folder_retinanet" if file == "mine.py" else file  # as check_data writes it
    values = flags.FlagValues()
    try:
        package = "ioub_jax.configs" if file == "defaults" else "configs"
        config = importlib.import_module(f"{package}.{pathlib.Path(file).stem}").get_config
        config_flags.DEFINE_config_dict(
            "config",
            config(argument) if argument else config(),
            flag_values=values,
            sys_argv=["program", *overrides],
            lock_config=True,
        )
        values(["program", *overrides])
    except (ImportError, ValueError, AttributeError, KeyError, TypeError, flags.Error) as error:
        return f"{words}: {error}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_flags_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    problems = [problem for words in commands(page) if (problem := problem_of(words))]
    if page.name in ADDED:
        problems = [p for p in problems if "data.table" not in p and "shapes_points" not in p]
    assert problems == []


@pytest.mark.parametrize(
    "line",
    [
        "make dinner",
        "python -m experiments.trane --workdir=a",
        "python -m experiments.train --workdirs=a",
        "ioub trane --workdir=a",
        "ioub train --workdirs=a",
        "ioub train --config=coco_folder_retinanet:lite1 --workdir=a",
        "python -m experiments.train --config=configs/coco_retinanet.py:r51",
        "python -m experiments.train --config=configs/coco_retinanet.py --config.batchsize=8",
        "--config.batch_size=many",
    ],
)
def test_a_wrong_command_is_found(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert problem_of(shlex.split(line)) is not None
