"""Means over chosen classes, in addition to those over all classes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.evaluation.dense_objects import base_of
from ioub_jax.printing import printable

_NAMED = 5  # number of classes that are named in a sentence


@dataclasses.dataclass(frozen=True)
class ChosenMeans:
    """Means over some of the classes.

    Attributes:
      classes: the names of the classes.
      numbers: `AP_chosen`, `AP50_chosen` and so on; None if none of the classes has an object.
    """

    classes: tuple[str, ...]
    numbers: Mapping[str, float | None]

    def to_json(self) -> dict[str, Any]:
        """The numbers and the classes, for the JSON of a metric."""
        return {**self.numbers, "average_classes": list(self.classes)}

    def sentence(self) -> str:
        """A sentence with the numbers and the classes over which they are means."""
        shown = ", ".join(map(printable, self.classes[:_NAMED]))
        if len(self.classes) > _NAMED:
            shown += f" and {len(self.classes) - _NAMED} more"
        told = ", ".join(
            f"{key} {'-' if value is None else f'{value:.3f}'}"
            for key, value in self.numbers.items()
        )
        chosen = (
            "1 chosen class" if len(self.classes) == 1 else f"{len(self.classes)} chosen classes"
        )
        return f"{told}: the mean over {chosen} ({shown})"


def chosen_means(
    of_classes: Sequence[tuple[str, Mapping[str, float | None]]], chosen: Sequence[str]
) -> ChosenMeans | None:
    """The means over chosen classes.

    Args:
      of_classes: the name and the numbers of each class of a ground truth. The numbers have the
        same names in all classes; they are None for classes without objects.
      chosen: the names of the chosen classes.

    Returns:
      the means over the chosen classes that have objects, under the names of the numbers followed
      by `_chosen`; None if no class is chosen.

    Raises:
      ValueError: a chosen name is not that of a class.
    """
    if not chosen:
        return None
    classes = tuple(dict.fromkeys(chosen))
    check_names(classes, [name for name, _ in of_classes])
    rows = [numbers for name, numbers in of_classes if name in classes]
    return ChosenMeans(
        classes, {_name_of(key): _mean([row[key] for row in rows]) for key in rows[0]}
    )


def check_names(chosen: Sequence[str], classes: Sequence[str]) -> None:
    """Checks that every chosen name is that of a class.

    Raises:
      ValueError: a chosen name is not that of a class.
    """
    for name in chosen:
        if name not in classes:
            raise ValueError(
                f"average_classes names {name!r}, which is not a class of the data; choose from "
                f"{', '.join(map(printable, classes))}"
            )


def _name_of(key: str) -> str:
    """The name of the mean of a number: `AP_chosen` for `AP`, `AP_chosen@300` for `AP@300`."""
    base = base_of(key)
    return f"{base}_chosen{key.removeprefix(base)}"


def _mean(values: Sequence[float | None]) -> float | None:
    existing = [value for value in values if value is not None]
    return float(np.mean(existing)) if existing else None
