"""The classes of a run, by which a label keeps its meaning for any later data.

Output 3 of a network is the class with label 3 in the data set that it was trained on. Another data
set, or the same one with its categories in another order, may give label 3 to another class. So a
run records the list, and later data is opened with it: `class_order.with_classes` matches the
classes by name.
"""

import pathlib

from ioub_jax import files
from ioub_jax.data.sources.example import Source
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration


def claim(workdir: pathlib.Path, source: Source) -> None:
    """Writes `classes.json` into a run's folder, or checks that the classes there are the source's.

    The file holds `categories`, the `id` and `name` of each label from 0.

    Args:
      workdir: the run's folder. A new run, or one of an earlier version, does not have the file.
      source: the training data, opened with the labels in that file if it exists.

    Raises:
      ConfigError: another process of a new run has found other classes.
    """
    trained = read(workdir)
    if trained is None:
        categories = [{"id": id_, "name": name} for id_, name in categories_of(source)]
        files.write_json(workdir / "classes.json", {"categories": categories}, indent=2)
    elif [name for _, name in trained] != list(source.classes):
        raise ConfigError(
            f"The training data has the classes {', '.join(source.classes)}, but the run in "
            f"{workdir} has {', '.join(name for _, name in trained)}; give all processes the same "
            "data."
        )


def read(workdir: pathlib.Path) -> list[tuple[int | str, str]] | None:
    """The id and name of each label of a run; None if it has not recorded them.

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
            f"{path} does not list `categories` with `id` and `name`; restore the original file."
        ) from error


def read_required(workdir: pathlib.Path) -> list[tuple[int | str, str]]:
    """As `read`, for a run that must have recorded its classes.

    Raises:
      ConfigError: it has not.
    """
    categories = read(workdir)
    if categories is None:
        raise ConfigError(
            f"{workdir} has no classes.json; resume the run with ioub train, which writes it."
        )
    return categories


def categories_of(source: Source) -> list[tuple[int | str, str]]:
    """The id and name of each label of a data set, with the ids of the data set."""
    return list(zip(source.category_ids, source.classes, strict=True))
