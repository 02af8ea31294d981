"""Binning of values for several diagnostics."""

import numpy as np


def bin_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin `[n]` of every value; a bin has its lower edge, the last one its upper edge too.

    The values are compared with the edges themselves: .6 * 10 is below 6 in floats for some .6.

    Args:
      values: `[n]`.
      edges: `[bins + 1]`, ascending.

    Returns:
      0 to bins - 1, and -1 below the first edge.
    """
    return np.minimum(np.searchsorted(edges, values, side="right"), len(edges) - 1) - 1
