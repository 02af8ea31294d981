"""Ids in COCO's JSON, handled thousands at once: their meanings, and the entries they belong to."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_values import id_of

#: Results of a lookup that are not the position of an image or a label: an id that is not listed,
#: and one that is listed but not used.
UNKNOWN, LEFT_OUT = -1, -2

# The types that an id may have, numbered; a value of another type is not an id.
_KINDS: dict[type, int] = {int: 0, float: 1, str: 2}
_NO_KIND = 3
# A lookup table of all numbers from the lowest to the highest id has at most this many places per
# id.
_SPARSE = 16


class Ids:
    """The ids of n entries, as written.

    Args:
      written: the ids: numbers, strings, or anything else. If all are known to be 64-bit integers,
        they are kept as an array, which is looked up hundreds of times faster.
      is_typed: whether all ids are known to be integers, floats, strings or None.
    """

    def __init__(self, written: list[Any], is_typed: bool = False) -> None:
        self._values: list[Any] = []
        self._numbers: np.ndarray | None = None
        if is_typed and type(written[0]) is int:
            numbers = np.array(written)
            self._numbers = numbers if numbers.dtype == np.int64 else None
        if self._numbers is None:
            self._values = written

    @property
    def numbers(self) -> np.ndarray | None:
        """The ids as int64 `[n]` if all are 64-bit integers, else None."""
        return self._numbers

    def select(self, chosen: np.ndarray | slice) -> "Ids":
        """The ids at some positions."""
        ids = copy.copy(self)
        if self._numbers is not None:
            ids._numbers = self._numbers[chosen]
        elif isinstance(chosen, np.ndarray):
            ids._values = [self._values[index] for index in chosen]
        return ids

    def kinds(self) -> np.ndarray:
        """The type of each id, int8 `[n]`."""
        if self._numbers is not None:
            return np.zeros(len(self._numbers), np.int8)
        return kinds_of(self._values)

    def meanings(self) -> Sequence[int | str | None]:
        """Meaning of each id (`coco_values.id_of`)."""
        if self._numbers is not None:
            meanings: list[int] = self._numbers.tolist()
            return meanings
        return [value if type(value) is int else id_of(value) for value in self._values]


def kinds_of(written: Sequence[object]) -> np.ndarray:
    """The type of each id, int8 `[n]`."""
    kinds = (_KINDS.get(type(value), _NO_KIND) for value in written)
    return np.fromiter(kinds, np.int8, len(written))


class Places:
    """Places of ids in a list of entries.

    Args:
      places: the place of each id, by the meaning of the id (`coco_values.id_of`).
    """

    def __init__(self, places: Mapping[int | str, int]) -> None:
        self._places: Mapping[int | str, int] = places
        numbers = [key for key in places if isinstance(key, int)]
        self._sorted = np.array(sorted(numbers), np.int64)
        self._at = np.array([places[number] for number in self._sorted.tolist()], np.int64)
        self._set_table()

    @classmethod
    def of_numbers(cls, numbers: np.ndarray) -> "Places":
        """The places of ids in a list of them, int64 `[n]`, all different."""
        places = object.__new__(cls)
        places._places = {}
        places._at = np.argsort(numbers, kind="stable")
        places._sorted = numbers[places._at]
        places._set_table()
        return places

    def _set_table(self) -> None:
        """Makes a lookup table from the lowest number to the highest if there are few gaps."""
        self._table: np.ndarray | None = None
        if len(self._sorted):
            # Python's integers are used since a difference of 64-bit integers may need more bits.
            span = int(self._sorted[-1]) - int(self._sorted[0]) + 1
            if span <= _SPARSE * len(self._sorted):
                self._table = np.full(span, UNKNOWN, np.int64)
                self._table[self._sorted - self._sorted[0]] = self._at

    def find(self, ids: Ids) -> np.ndarray:
        """The place of each id, int64 `[n]`; `UNKNOWN` for an id that is not in the list."""
        if ids.numbers is None:
            return np.fromiter(map(self._find_one, ids.meanings()), np.int64)
        if not len(self._sorted):
            return np.full(len(ids.numbers), UNKNOWN, np.int64)
        first, last = self._sorted[0], self._sorted[-1]
        known = (ids.numbers >= first) & (ids.numbers <= last)
        numbers = np.where(known, ids.numbers, first)
        if self._table is not None:
            return np.where(known, self._table[numbers - first], UNKNOWN)
        nearest = np.searchsorted(self._sorted, numbers)
        known &= self._sorted[nearest] == numbers
        return np.where(known, self._at[nearest], UNKNOWN)

    def _find_one(self, meaning: int | str | None) -> int:
        if isinstance(meaning, int) and len(self._sorted):
            if not self._sorted[0] <= meaning <= self._sorted[-1]:
                return UNKNOWN
            at = int(np.searchsorted(self._sorted, meaning))
            return int(self._at[at]) if self._sorted[at] == meaning else UNKNOWN
        return UNKNOWN if meaning is None else self._places.get(meaning, UNKNOWN)
