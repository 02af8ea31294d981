"""The classes a run was trained with: a label keeps its meaning whatever data comes later.

A network's output number 3 is the third class of the data set it was trained on. Another data set,
or the same one with its categories listed otherwise, may give label 3 to another class, and nothing
but the names and ids would tell.
"""

import itertools
import pathlib
from collections.abc import Sequence

from ioub_jax import files
from ioub_jax.data.sources.example import Source
from ioub_jax.training import configuration
from ioub_jax.training.configuration import ConfigError


def check_same(first: Source, second: Source, first_name: str, second_name: str) -> None:
    """Refuses two data sets that differ in the name or id of a label.

    Args:
      first: a data set.
      second: another.
      first_name: what a sentence calls the first, such as 'the training data'.
      second_name: what it calls the second.

    Raises:
      ConfigError: names the first difference.
    """
    _check_same(categories_of(first), categories_of(second), first_name, second_name)


def claim(workdir: pathlib.Path, source: Source) -> None:
    """Writes `classes.json` into a run's folder, or checks that the classes there are the source's.

    The file holds `categories`, the `id` and `name` of each label from 0.

    Args:
      workdir: the run's folder; without the file in a new run, or one of an earlier version.
      source: the training data.

    Raises:
      ConfigError: names the first difference.
    """
    if (workdir / "classes.json").exists():
        check(workdir, source)
    else:
        categories = [{"id": id_, "name": name} for id_, name in categories_of(source)]
        files.write_json(workdir / "classes.json", {"categories": categories}, indent=2)


def check(workdir: pathlib.Path, source: Source) -> None:
    """Refuses a data set whose classes are not those of a run, where the run has recorded them.

    Args:
      workdir: the run's folder.
      source: data for its detector.

    Raises:
      ConfigError: names the first difference.
    """
    trained = read(workdir)
    if trained is not None:
        _check_same(trained, categories_of(source), f"the run in {workdir}", "the data set")


def read(workdir: pathlib.Path) -> list[tuple[int | str, str]] | None:
    """The id and name of each label of a run, None where it has not recorded them.

    Raises:
      ConfigError: the file is broken.
    """
    path = workdir / "classes.json"
    if not path.exists():
        return None
    recorded = configuration.read_json(path)
    try:
        return [(category["id"], category["name"]) for category in recorded["categories"]]
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not list `categories` with `id` and `name`; put back what "
            "experiments.train wrote."
        ) from error


def read_required(workdir: pathlib.Path) -> list[tuple[int | str, str]]:
    """As `read`, of a run that must have recorded them.

    Raises:
      ConfigError: it has not.
    """
    categories = read(workdir)
    if categories is None:
        raise ConfigError(
            f"{workdir} has no classes.json; go on with the run by experiments.train to have it "
            "written."
        )
    return categories


def categories_of(source: Source) -> list[tuple[int | str, str]]:
    """The id, as the data set has it, and name of each label of a data set."""
    return list(zip(source.category_ids, source.classes, strict=True))


def _check_same(
    first: Sequence[tuple[int | str, str]],
    second: Sequence[tuple[int | str, str]],
    first_name: str,
    second_name: str,
) -> None:
    for label, (one, other) in enumerate(itertools.zip_longest(first, second)):
        if one != other:
            raise ConfigError(
                f"Label {label} is {_describe(one)} in {first_name} and {_describe(other)} in "
                f"{second_name}, so detections would get wrong names; use data with the same "
                "classes, in the same order and with the same category ids."
            )


def _describe(category: tuple[int | str, str] | None) -> str:
    return "nothing" if category is None else f"{category[1]!r} (category id {category[0]})"
