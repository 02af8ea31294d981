"""Detection in videos, and in folders whose images are the frames of a video."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tqdm

from ioub_jax.commands.prediction_files import PredictionFiles
from ioub_jax.data.checks import DataError
from ioub_jax.data.video_files import CODECS, VideoFile, VideoWriter
from ioub_jax.detections import Detections
from ioub_jax.inference import ImageLike, ObjectDetector


@dataclasses.dataclass(frozen=True)
class Footage:
    """A video file, or a folder whose images are the frames of a video.

    Attributes:
      path: the video file or the folder.
      files: the frames of a folder in their order; None for a video file.
      frames_per_second: frames per second of a folder; ignored for a video file, which has its own.
    """

    path: pathlib.Path
    files: tuple[pathlib.Path, ...] | None = None
    frames_per_second: float = 25.0

    @property
    def picture_suffix(self) -> str:
        """Suffix of the annotated video: that of the video itself if this format can be written."""
        suffix = self.path.suffix.lower()
        return suffix if self.files is None and suffix in CODECS else ".mp4"

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Iterable[ImageLike], int | None, float]]:
        """The frames, their number if it is known, and the frames per second.

        Raises:
          DataError: the video cannot be read.
        """
        if self.files is not None:
            yield self.files, len(self.files), self.frames_per_second
            return
        video = VideoFile(self.path)
        try:
            yield video.frames(), video.count, video.frames_per_second
        finally:
            video.close()

    def name_of(self, number: int) -> str:
        """Name of a frame: the path of its file, or of the video."""
        return str(self.path if self.files is None else self.files[number])


def detect(
    detector: ObjectDetector,
    footage: Footage,
    results: PredictionFiles,
    *,
    score: float | np.ndarray,
    draw: Callable[[Detections], np.ndarray] | None,
    target: pathlib.Path,
    **options: Any,
) -> list[str]:
    """Runs detection in every frame; writes the detections and draws them into a video.

    Args:
      detector: the detector.
      footage: the frames.
      results: the files to which detections are written.
      score: lowest score of detections that are written, for all classes or for each class.
      draw: makes the picture of a frame; None to write no video.
      target: the video that is written.
      **options: options of `ObjectDetector.stream`.

    Returns:
      sentences about frames that could not be read.

    Raises:
      DataError: the video cannot be read or written, or its frames differ in size.
    """
    problems = []
    with footage.opened() as (frames, count, rate), _Pictures(target, rate, draw) as pictures:
        bar = tqdm.tqdm(
            total=count, unit="frame", desc=footage.path.name, disable=None, dynamic_ncols=True
        )
        number = -1
        with bar:
            for number, found in in_order(detector.stream(frames, **options)):
                bar.update()
                if isinstance(found, DataError):
                    problems.append(str(found))
                    continue
                above = found.above(score)
                results.add_frame(
                    footage.name_of(number), footage.path, number, number / rate, above
                )
                pictures.add(above, footage.name_of(number))
    if count is not None and number + 1 < count and footage.files is None:
        problems.append(
            f"{footage.path}: of its {count:,} frames {number + 1:,} can be decoded; the others "
            "are damaged, or the count is wrong."
        )
    return problems


def in_order(stream: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yields the items of a stream in the order of their numbers.

    In the stream, images on different canvases may overtake each other.
    """
    waiting: dict[int, Any] = {}
    due = 0
    for number, found in stream:
        waiting[number] = found
        while due in waiting:
            yield due, waiting.pop(due)
            due += 1


class _Pictures:
    """The annotated video of some footage, created at its first frame."""

    def __init__(
        self,
        target: pathlib.Path,
        frames_per_second: float,
        draw: Callable[[Detections], np.ndarray] | None,
    ) -> None:
        self._target, self._rate, self._draw = target, frames_per_second, draw
        self._writer: VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> "_Pictures":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._writer is not None:
            self._writer.close(keep=kind is None)

    def add(self, found: Detections, name: str) -> None:
        """Draws a frame and appends it to the video."""
        if self._draw is None:
            return
        if self._writer is None:
            self._size = found.image_size
        elif found.image_size != self._size:
            sizes = [f"{height}x{width}" for height, width in (found.image_size, self._size)]
            raise DataError(
                f"{name}: the frame has {sizes[0]} pixels, those before it {sizes[1]}, and a video "
                "has one size; give its folder without --frames_per_second, or leave it out.",
                "image_size",
            )
        picture = self._draw(found)
        if self._writer is None:
            self._writer = VideoWriter(self._target, picture.shape[:2], self._rate)
        self._writer.write(picture)
