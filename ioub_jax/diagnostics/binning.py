"""Binning of values for several diagnostics."""

import numpy as np


def bin_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin `[n]` of every value; bins include the lower edge, and the last one the upper edge.

    The values are compared with the edges, since a multiplication may round: .6 * 10 can be below 6
    in floating point.

    Args:
      values: `[n]`, the values.
      edges: `[bins + 1]`, ascending.

    Returns:
      0 to bins - 1, or -1 for a value below the first edge.
    """
    return np.minimum(np.searchsorted(edges, values, side="right"), len(edges) - 1) - 1
