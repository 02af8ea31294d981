"""Images in both the training and the validation data of a configuration."""

import os
from collections.abc import Sequence

import ml_collections

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import (
    Source,
)
from ioub_jax.data.sources.same_images import find_shared
from ioub_jax.data.sources.tiles import whole_of


def check_shared_images(
    config: ml_collections.ConfigDict, source: Source, validation: Source
) -> None:
    """Refuses validation images that are also training images, unless that is allowed.

    Args:
      config: the whole configuration.
      source: the training data.
      validation: the validation data.

    Raises:
      DataError: some files are the same, or have the same bytes.
    """
    if _allows_same_images(config.data):
        return
    source, validation = whole_of(source), whole_of(validation)
    shared = find_shared(source, validation)
    if shared:
        raise DataError(
            f"{_told_of_shared(shared, validation)}; validate on images of their own, such as a "
            "share of the training images by --config.data.split.val=0.1, or set "
            "--config.data.allow_same_images=True.",
            "duplicate_image",
        )


def shared_image_warnings(
    config: ml_collections.ConfigDict, source: Source, validation: Source
) -> list[str]:
    """A sentence on validation images that are also training images, if that is allowed."""
    if not _allows_same_images(config.data):
        return []
    source, validation = whole_of(source), whole_of(validation)
    shared = find_shared(source, validation, by_content=False)
    return [f"{_told_of_shared(shared, validation)}."] if shared else []


def _told_of_shared(shared: Sequence[tuple[str, str]], validation: Source) -> str:
    name, trained_on = shared[0]
    first = name
    if os.path.normpath(name) != trained_on:
        first = f"{name}, which has the bytes of {trained_on}"
    are = "is" if len(shared) == 1 else "are"
    return (
        f"{len(shared):,} of the {len(validation):,} validation images {are} also used for "
        f"training (the first: {first}), so that their AP says little about other images, and the "
        "best checkpoint is chosen by it"
    )


def _allows_same_images(data: ml_collections.ConfigDict) -> bool:
    return bool(data.get("allow_same_images", False))
