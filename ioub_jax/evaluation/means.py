"""Means of numbers that may not exist."""

from collections.abc import Sequence

import numpy as np


def mean(values: np.ndarray) -> float | None:
    """The mean of an array; None for an empty one."""
    return float(values.mean()) if values.size else None


def mean_of_counted(values: np.ndarray) -> float | None:
    """The mean of an evaluator's numbers, where -1 stands for none; None without any number."""
    return mean(values[values > -1])


def mean_of_existing(values: Sequence[float | None]) -> float | None:
    """The mean of the numbers that exist; None without any number."""
    return mean(np.array([value for value in values if value is not None], np.float64))
