"""Fingerprint of a data set, independent of where its files lie."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable

import numpy as np

from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.file_source import AnnotatedImages, annotations_of


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Counts and digests of a data set.

    Attributes:
      images: number of images.
      boxes: number of boxes, including crowds and regions to ignore; None if they are not kept in
        memory (drawn images).
      names: digest of the file names without their folders, in the order of the images.
      sizes: digest of the images' heights and widths.
      objects: digest of every image's boxes, labels and flags.
    """

    images: int
    boxes: int | None
    names: str
    sizes: str
    objects: str

    def differences(self, before: "Fingerprint") -> list[str]:
        """Differences between this data set and an earlier state of it, in words."""
        found = []
        if self.images != before.images:
            found.append(f"{self.images:,} images (before: {before.images:,})")
        if self.boxes != before.boxes:
            found.append(f"{self.boxes or 0:,} boxes (before: {before.boxes or 0:,})")
        if self.images == before.images:
            for key, words in (
                ("names", "other file names or another order"),
                ("sizes", "other image sizes"),
            ):
                if getattr(self, key) != getattr(before, key):
                    found.append(words)
        if not found and self.objects != before.objects:
            found.append("other boxes or classes")
        return found


def fingerprint_of(source: Source) -> Fingerprint:
    """The fingerprint of a data set, in a fraction of a second for COCO's 118,000 images."""
    names = "\n".join(os.path.basename(source.describe(index)) for index in range(len(source)))
    arrays: list[np.ndarray] = []
    boxes = None
    if isinstance(source, AnnotatedImages):
        annotations = annotations_of(source)
        boxes = len(annotations.boxes)
        arrays = [
            annotations.counts.astype("<i8", copy=False),
            annotations.boxes.astype("<f4", copy=False),
            annotations.labels.astype("<i4", copy=False),
            annotations.crowd,
            annotations.difficult,
            annotations.ignored,
        ]
    return Fingerprint(
        images=len(source),
        boxes=boxes,
        names=_digest([names.encode(errors="surrogateescape")]),
        sizes=_digest([np.asarray(source.sizes).astype("<i8").tobytes()]),
        objects=_digest(np.ascontiguousarray(array) for array in arrays),
    )


def _digest(parts: Iterable[bytes | np.ndarray]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
