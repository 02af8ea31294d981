"""Data sets, each a random-access sequence of `Example`."""

import dataclasses
from collections.abc import Sequence

from ioub_jax.data.sources.cityscapes import CityscapesSource
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.example import Example, Source
from ioub_jax.data.sources.file_source import AnnotatedImages, FileSource, annotations_of
from ioub_jax.data.sources.learned import Learned, Rules
from ioub_jax.data.sources.shapes import ShapesSource
from ioub_jax.data.sources.tfds import TfdsSource
from ioub_jax.data.sources.voc import VocSource
from ioub_jax.data.sources.yolo import YoloSource

__all__ = [
    "CityscapesSource",
    "CocoSource",
    "Example",
    "FileSource",
    "Learned",
    "Rules",
    "ShapesSource",
    "Source",
    "TfdsSource",
    "VocSource",
    "YoloSource",
    "annotations_of",
    "bit_depth_of",
    "voc_pixels_of",
    "with_bit_depth",
]

#: The id and name of each label of a detector.
Categories = Sequence[tuple[int | str, str]]


def bit_depth_of(source: Source) -> int | None:
    """Bit depth at which a data set's 16-bit images are read; None if it has no image files."""
    return source.reading.bit_depth if isinstance(source, AnnotatedImages) else None


def voc_pixels_of(source: Source) -> str | None:
    """Pixel convention of a data set's VOC XMLs; None if it has none."""
    return source.pixels if isinstance(source, VocSource) else None


def with_bit_depth(source: Source, bit_depth: int | None) -> Source:
    """The data set with its 16-bit images read at a bit depth; None leaves it unchanged."""
    if bit_depth is None or not isinstance(source, AnnotatedImages):
        return source
    return source.read_with(dataclasses.replace(source.reading, bit_depth=bit_depth))
