"""Values in bins, and means of what may be nothing: what several diagnostics compute with."""

from collections.abc import Sequence

import numpy as np


def bin_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin `[n]` of every value; a bin holds its lower edge, the last one its upper edge too.

    The values are compared with the edges themselves: .6 * 10 is below 6 in floats for some .6.

    Args:
      values: `[n]`.
      edges: `[bins + 1]`, ascending.

    Returns:
      0 to bins - 1, and -1 below the first edge.
    """
    return np.minimum(np.searchsorted(edges, values, side="right"), len(edges) - 1) - 1


def mean(values: np.ndarray) -> float | None:
    """The mean of an array; None of nothing."""
    return float(values.mean()) if values.size else None


def mean_of_existing(values: Sequence[float | None]) -> float | None:
    """The mean of the numbers that exist; None without any."""
    return mean(np.array([value for value in values if value is not None], np.float64))
