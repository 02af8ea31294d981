"""Progress bar for loops that take more than a moment."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yields the items, with a progress bar on stderr if stderr is a terminal."""
    yield from tqdm.tqdm(items, desc=description, total=total, unit="image", disable=None)
