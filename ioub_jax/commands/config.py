"""Lists every key of a configuration: its default, its allowed values, its meaning.

ioub config loss.classification

The arguments are keys or parts of keys; without any, all keys and the recipes are listed. With
`--config=coco_folder_retinanet:lite0` the values of that configuration are printed, and those that
are not the default are marked with a star.
"""

import ast
import difflib
import itertools
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ioub_jax.commands import command_line

_CONFIG = command_line.define_config(required=False)

if __name__ == "__main__":
    command_line.parse_flags()

import ml_collections

from ioub_jax import configs
from ioub_jax.configs import keys
from ioub_jax.errors import ConfigError

_ABOUT = (
    "All keys with their defaults; commands take --config.KEY=VALUE for any of them. `ioub config "
    "loss` prints the keys of a part."
)


def main(*asked: str) -> None:
    """Prints the requested keys."""
    print("\n".join(_lines(asked)))


def dry_run(*asked: str) -> Sequence[str]:
    """A line with the number of lines that would be printed."""
    return [f"Printed: {len(_lines(asked))} lines about the keys of a configuration."]


def _lines(asked: Sequence[str]) -> list[str]:
    if _CONFIG.value is not None:
        return list(_lines_of_values(_CONFIG.value, asked))
    lines = list(_lines_of_table(asked))
    return lines if asked else [*_wrapped(_ABOUT), "", *lines, *_lines_of_recipes()]


# ------------------------------------------------------------------ table of keys


def _lines_of_table(asked: Sequence[str]) -> Iterator[str]:
    """Yields lines on every key: its default, its allowed values and its meaning."""
    rows: dict[str, list[keys.Key]] = {}  # two rows for a key with another meaning in an SSD
    for key in keys.KEYS:
        rows.setdefault(key.name, []).append(key)
    for section, names in _sections(_chosen(list(rows), asked)):
        yield from _title(section)
        for name in names:
            for key in rows[name]:
                yield from _wrapped(_with_default(key), "  ", "      ")
                yield from _wrapped(f"It must be {key.must_be}.", "      ")
                yield from _wrapped(key.meaning, "      ")
        yield ""


def _with_default(key: keys.Key) -> str:
    """A key with its usual default, and the families with another default or without the key."""
    of_families = {family: key.default_of(family) for family in keys.FAMILIES}
    having = {name: value for name, value in of_families.items() if value is not keys.NO_KEY}
    first = next(iter(having.values()))
    others = [f"{name}: {value!r}" for name, value in having.items() if value != first]
    alike = [name for name, value in having.items() if value == first]
    lacking = [name for name in of_families if name not in having]
    if len(lacking) > len(having):
        others = [", ".join(alike) + " alone" if not others else ", ".join(alike), *others]
    elif lacking:
        others.append(f"not in {', '.join(lacking)}")
    return f"{key.name} = {first!r}" + (f" ({'; '.join(others)})" if others else "")


def _lines_of_recipes() -> Iterator[str]:
    """Yields the command that prints a recipe's values, and each recipe with a description."""
    yield "Recipes, whose values `ioub config --config=NAME` prints:"
    yield ""
    for name in configs.recipes():
        program = ast.parse(configs.recipe_path(name).read_text(encoding="utf-8"))
        yield f"  {name}"
        yield from _wrapped((ast.get_docstring(program) or "").partition("\n\n")[0], "      ")


# ------------------------------------------------------------------ values of a configuration


def _lines_of_values(config: ml_collections.ConfigDict, asked: Sequence[str]) -> Iterator[str]:
    """Yields lines on every key of a configuration: its value, and a star if not the default."""
    family = config.get("model", {}).get("name")
    known = keys.of_family(family if family in keys.FAMILIES else keys.FAMILIES[0])
    values = dict(_leaves(config))
    names = [*(name for name in known if name in values), *(values.keys() - known.keys())]
    yield from _wrapped("A star marks a value that is not the default, which follows it.")
    yield ""
    for section, of_section in _sections(_chosen(names, asked)):
        yield from _title(section)
        for name in of_section:
            told, star = f"{name} = {values[name]!r}", "  "
            if name not in known:
                told += " (a key of its own, not in the table)"
            elif values[name] != known[name].default_of(family):
                told += f" (default: {known[name].default_of(family)!r})"
                star = "* "
            yield from _wrapped(told, star, "      ")
        yield ""


def _leaves(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the keys of a configuration with their dots, and their values."""
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


# ------------------------------------------------------------------ choice and format of keys


def _chosen(names: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The requested names and the names below requested sections; all names without a request.

    Raises:
      ConfigError: there is no key or section of a requested name.
    """
    chosen = set() if asked else set(names)
    for part in (words.removeprefix("config.").rstrip(".") for words in asked):
        found = {name for name in names if name == part or name.startswith(f"{part}.")}
        if not found:
            raise ConfigError(f"No such key in the configuration: {part}.{_advice(part, names)}")
        chosen |= found
    return [name for name in names if name in chosen]


def _advice(part: str, names: Sequence[str]) -> str:
    """A sentence that suggests keys which may be meant; '' if there are none."""
    last = part.rpartition(".")[2]
    meant = [name for name in names if last in name.split(".")]
    meant = meant or difflib.get_close_matches(part, names, n=1)
    return f" Did you mean {' or '.join(meant[:3])}?" if meant else ""


def _sections(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each section with its names, in the table's order; unknown sections come last."""
    order = list(keys.SECTIONS)

    def section_of(name: str) -> str:
        part, dot, _ = name.partition(".")
        return part if dot else ""

    def place(name: str) -> int:
        section = section_of(name)
        return order.index(section) if section in order else len(order)

    for section, of_section in itertools.groupby(sorted(names, key=place), section_of):
        yield section, list(of_section)


def _title(section: str) -> list[str]:
    title = keys.SECTIONS.get(section, "Of its own")
    return [f"{title}: {section}.*" if section else title, ""]


def _wrapped(text: str, first: str = "", others: str | None = None) -> list[str]:
    """Lines wrapped to the width of the terminal, or to 100 columns without one."""
    return textwrap.wrap(
        text,
        max(shutil.get_terminal_size((100, 24)).columns, 40),
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    command_line.run(main, dry_run, least_arguments=0)
