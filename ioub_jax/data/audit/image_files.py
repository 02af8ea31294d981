"""Checks of the image files themselves: their size, their EXIF orientation, their decoding."""

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Iterator
from concurrent import futures
from typing import Any

from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.audit.progress import progress
from ioub_jax.data.bands import wrong_count
from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.image_headers import (
    UPRIGHT,
    bands_of,
    open_with_pillow,
    orientation_of,
    read_header,
    read_orientation,
    upright_size,
)
from ioub_jax.data.images import Reading, bit_depth_of, explain_size, value_span
from ioub_jax.data.sources import FileSource, Source
from ioub_jax.data.sources.file_source import AnnotatedImages

_SKIP = "or set config.data.on_error='skip' to train without it."

_IGNORED = (
    "The orientation is ignored, as COCO's own tools do: the boxes must refer to the pixels as "
    "they are stored. Draw these images with their boxes; if the boxes are beside the objects, set "
    "config.data.exif='apply'."
)
_APPLIED = (
    "The images are turned by their EXIF orientation (config.data.exif='apply'), so the boxes must "
    "refer to the upright images. Draw these images with their boxes; if the boxes are beside the "
    "objects, set it to 'ignore'."
)
# Images are nearly black if their largest value is below this share of the possible values.
_DARK = 0.1


@dataclasses.dataclass(frozen=True)
class _Stored:
    """Properties of an image file from its first bytes."""

    size: tuple[int, int]
    orientation: int


@dataclasses.dataclass(frozen=True)
class _Values:
    """Values from decoding an image.

    Attributes:
      problem: the reason why training could not read the image; None if it could.
      low: the smallest value; that of a 16-bit image does not depend on the bit depth.
      high: the largest value, in the same scale; -1 if it is unknown.
      deep: whether the image has more than 8 bits per channel.
    """

    problem: Problem | None = None
    low: int = 0
    high: int = -1
    deep: bool = False


def check_headers(source: Source) -> tuple[list[Problem], list[Finding]]:
    """Compares the header of every image file with the annotations, without decoding.

    Args:
      source: the data set; nothing is checked if its images are not files.

    Returns:
      a problem for every file that is not an image or whose size differs from its annotation, and a
      finding about the images with an EXIF orientation, if there are any.
    """
    if not isinstance(source, FileSource):
        return [], []
    problems: list[Problem] = []
    turned = []
    exif = source.reading.exif
    paths = [source.describe(index) for index in range(len(source))]
    sizes = [(int(height), int(width)) for height, width in source.sizes]
    read = functools.partial(_read_header, channels=source.channels)
    headers = _in_threads(read, paths, "Reading headers")
    for path, size, header in zip(paths, sizes, headers, strict=True):
        if isinstance(header, Problem):
            problems.append(header)
            continue
        if header.orientation != UPRIGHT:
            turned.append(f"{path}: EXIF orientation {header.orientation}.")
        seen = upright_size(header.size, header.orientation) if exif == "apply" else header.size
        if seen != size:
            told = explain_size(header.size, size, header.orientation, exif)
            problems.append(Problem("image_size", f"{path}: {told}."))
    if not turned:
        return problems, []
    kind, advice = "exif_orientation", _IGNORED
    if exif == "apply":
        kind, advice = "exif_applied", _APPLIED
    return problems, [Finding(kind, False, len(turned), advice, tuple(turned))]


def decode_all(source: Source) -> tuple[list[Problem], list[Finding]]:
    """Decodes every image.

    Args:
      source: the data set.

    Returns:
      a problem for every image that training could not read, and findings about the values: the
      range of 16-bit images, and whether all images are nearly black.
    """

    def decode(index: int) -> _Values:
        try:
            image = source[index].image
        except DataError as error:
            # The values of an image that exceeds the bit depth are of particular interest.
            found = _deep_values(source, index) if error.kind == "bit_depth" else _Values()
            return dataclasses.replace(found, problem=Problem(error.kind, str(error)))
        assert image is not None
        found = _deep_values(source, index)
        return found if found.deep else _Values(None, int(image.min()), int(image.max()))

    found = list(_in_threads(decode, range(len(source)), "Decoding images"))
    problems = [values.problem for values in found if values.problem is not None]
    return problems, _describe_values(source, [values for values in found if values.high >= 0])


def _deep_values(source: Source, index: int) -> _Values:
    """The range of values of a 16-bit image; no values for other images."""
    if not isinstance(source, AnnotatedImages):
        return _Values()
    with source.open_image(index) as file:
        if not read_header(file).deep:
            return _Values()
        file.seek(0)
        return _Values(
            None, *value_span(file.read(), source.describe(index), source.channels), deep=True
        )


def _describe_values(source: Source, values: list[_Values]) -> list[Finding]:
    findings = []
    deep = [one for one in values if one.deep]
    bit_depth = source.reading.bit_depth if isinstance(source, AnnotatedImages) else 8
    if deep:
        low, high = min(one.low for one in deep), max(one.high for one in deep)
        fits = bit_depth_of(high)
        advice = (
            f"Their values span {low:,} to {high:,}, which {fits} bits can hold; they are read as "
            f"{bit_depth} bits. If unset, the depth is measured on the training images; to fix it, "
            f"set --config.data.bit_depth={fits}."
        )
        findings.append(Finding("deep_image", False, len(deep), advice))
    for bits, chosen in ((bit_depth, deep), (8, [one for one in values if not one.deep])):
        high = max((one.high for one in chosen), default=0)
        if chosen and high < _DARK * 2**bits:
            way_out = "rescale the images"
            if bits > 8 and bit_depth_of(high) < bits:
                way_out = f"set config.data.bit_depth={bit_depth_of(high)}, or {way_out}"
            advice = (
                f"The largest value of these images is {high:,}, below a tenth of the "
                f"{2**bits - 1:,} that {bits} bits have; {way_out}."
            )
            findings.append(Finding("nearly_black", False, len(chosen), advice))
    return findings


def _in_threads(function: Any, items: Any, description: str) -> Iterator[Any]:
    """Applies `function` to every item in threads, and yields the results in order.

    Threads help because reading and decoding release the interpreter's lock.
    """
    with (
        futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads,
        warnings.catch_warnings(),
    ):
        # PIL warns about large images and odd metadata, neither of which prevents training.
        warnings.simplefilter("ignore")
        yield from progress(threads.map(function, items), description, len(items))


def _read_header(path: str, channels: int) -> _Stored | Problem:
    try:
        with open(path, "rb") as file:
            header = read_header(file, channels)
            file.seek(0)
            if header.refusal:
                return Problem("unreadable_image", f"{path}: {header.refusal}, {_SKIP}")
            if Reading(channels=channels).is_of_bands:
                bands = bands_of(file)
                file.seek(0)
                if bands not in (0, channels):
                    error = wrong_count(path, bands, channels, _SKIP)
                    return Problem(error.kind, str(error))
                if header.size is not None:  # Pillow opens only TIFFs whose bands it knows
                    return _Stored(header.size, read_orientation(file))
            image = open_with_pillow(file)
            return _Stored((image.height, image.width), orientation_of(image))
    except FileNotFoundError:
        return Problem("missing_image", f"{path}: is missing; restore the file.")
    # PIL passes on whatever its plugins raise: SyntaxError, ValueError, struct.error.
    except Exception as error:
        name = pathlib.Path(path).name
        why = str(error).replace(path, name).splitlines()[0] if str(error) else "no reason given"
        return Problem(
            "unreadable_image",
            f"{path}: its header cannot be read ({why}); replace the file, {_SKIP}",
        )
