"""What the image files themselves say: their size, their EXIF orientation, whether they decode."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import PIL.Image

from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.audit.progress import progress
from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.sources import FileSource, Source

_ORIENTATION = 0x0112  # the tag of EXIF
_UPRIGHT = 1
_SIDEWAYS = (5, 6, 7, 8)  # the orientations that exchange width and height
_EXIF_ADVICE = (
    "The orientation is ignored, as COCO's own tools do: the boxes must refer to the pixels as "
    "they are stored. Draw these images with their boxes; where those are beside the objects, "
    "rotate the pixels and remove the tag."
)


@dataclasses.dataclass(frozen=True)
class _Header:
    """What the first bytes of an image file say."""

    size: tuple[int, int]
    orientation: int


def check_headers(source: Source) -> tuple[list[Problem], list[Finding]]:
    """Compares the header of every image file with the annotations, without decoding.

    Args:
        source: The data set; one that is not made of files has no headers to check.

    Returns:
        A problem for every file that is no image or has another size than its annotation, and a
        finding about the images with an EXIF orientation, if there are any.
    """
    if not isinstance(source, FileSource):
        return [], []
    problems: list[Problem] = []
    turned = []
    paths = [source.describe(index) for index in range(len(source))]
    sizes = [(int(height), int(width)) for height, width in source.sizes]
    headers = _in_threads(_read_header, paths, "Reading headers")
    for path, size, header in zip(paths, sizes, headers, strict=True):
        if isinstance(header, Problem):
            problems.append(header)
            continue
        if header.orientation != _UPRIGHT:
            turned.append(f"{path}: EXIF orientation {header.orientation}.")
        if header.size != size:
            problems.append(Problem("image_size", _size_sentence(path, header, size)))
    if not turned:
        return problems, []
    return problems, [Finding("exif_orientation", False, len(turned), _EXIF_ADVICE, tuple(turned))]


def decode_all(source: Source) -> list[Problem]:
    """Decodes every image.

    Args:
        source: The data set.

    Returns:
        A problem for every image that training could not read.
    """

    def decode(index: int) -> Problem | None:
        try:
            source[index]
        except DataError as error:
            return Problem(error.kind, str(error))
        return None

    found = _in_threads(decode, range(len(source)), "Decoding images")
    return [problem for problem in found if problem is not None]


def _in_threads(function: Any, items: Any, description: str) -> Iterator[Any]:
    """`function` of every item, in order; reading and decoding release the interpreter's lock."""
    with (
        futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads,
        warnings.catch_warnings(),
    ):
        # PIL warns of large images and of odd metadata; neither hinders training.
        warnings.simplefilter("ignore")
        yield from progress(threads.map(function, items), description, len(items))


def _read_header(path: str) -> _Header | Problem:
    try:
        with PIL.Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except FileNotFoundError:
        return Problem("missing_image", f"{path}: is missing; restore the file.")
    # PIL raises whatever its plugins do: SyntaxError, ValueError, struct.error, its own bomb error.
    except Exception as error:
        name = pathlib.Path(path).name
        why = str(error).replace(path, name).splitlines()[0] if str(error) else "no reason given"
        return Problem(
            "unreadable_image",
            f"{path}: its header cannot be read ({why}); replace the file, "
            "or set config.data.on_error='skip' to train without it.",
        )
    return _Header((height, width), orientation if orientation in range(2, 9) else _UPRIGHT)


def _size_sentence(path: str, header: _Header, size: tuple[int, int]) -> str:
    start = (
        f"{path}: is {header.size[1]}x{header.size[0]} pixels but its annotation says "
        f"{size[1]}x{size[0]}"
    )
    if header.orientation in _SIDEWAYS and header.size == size[::-1]:
        return (
            f"{start}: it was annotated as turned by its EXIF orientation {header.orientation}, "
            "which is ignored here; rotate the pixels and remove the tag."
        )
    if header.size == size[::-1]:
        return f"{start}: width and height are exchanged in the annotation; correct it."
    return (
        f"{start}; if the image was resized after it had been annotated, scale its boxes too, "
        "else correct the annotation."
    )
