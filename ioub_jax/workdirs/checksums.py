"""Checksums of a state's arrays, which show whether a checkpoint is unchanged."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def checksums_of(tree: Any) -> dict[str, str]:
    """The CRC-32 of every leaf's bytes, over the whole array.

    Args:
      tree: arrays that each process holds completely: on one host, or replicated over many.

    Returns:
      The path of each leaf, with slashes as in `params/backbone/stem_conv/kernel`, and its
      checksum as eight hex digits. A state and the nested dicts that it is restored as have the
      same paths.
    """
    return dict(zip(names_of(tree), map(_checksum, jax.tree.leaves(tree)), strict=True))


def names_of(tree: Any) -> list[str]:
    """The path of each leaf with slashes, in the order of the leaves.

    Args:
      tree: arrays, or their placeholders.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _checksum(leaf: Any) -> str:
    if isinstance(leaf, jax.Array) and leaf.is_fully_replicated:
        # A separate array: a buffer that numpy borrows from `leaf` could not be donated to a step.
        leaf = leaf.addressable_data(0)
    return f"{zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data):08x}"


def difference(saved: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Describes the arrays that differ from what was saved; None if there are none.

    Args:
      saved: the checksums of the arrays that were saved.
      found: the checksums of the arrays that were read.
    """
    names = [name for name in sorted({*saved, *found}) if saved.get(name) != found.get(name)]
    if not names:
        return None
    more = f" and {len(names) - 1} more arrays have" if len(names) > 1 else " has"
    return f"{names[0]}{more} other bytes than were saved"
