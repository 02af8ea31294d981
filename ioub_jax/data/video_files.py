"""Reading and writing of video files with OpenCV and its built-in codecs."""

import os
import pathlib
from collections.abc import Iterator

import cv2
import numpy as np

from ioub_jax.data.checks import DataError

#: The suffixes of video files.
SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
#: The suffixes of files that can be written -> the code of the codec.
CODECS = {".avi": "MJPG", ".mp4": "mp4v"}
_FRAMES_PER_SECOND = 25.0  # for files that do not state it


class VideoFile:
    """A video file that is read frame by frame, turned upright according to its metadata.

    Args:
      path: the file.

    Attributes:
      path: the file.
      frames_per_second: the number stated by the file; 25 if it states none.
      count: the number of frames stated by the file; None if it states none.

    Raises:
      DataError: the file does not exist, is not a video, or has a codec that is not built in.
    """

    def __init__(self, path: pathlib.Path) -> None:
        if not os.path.isfile(path):
            raise DataError(f"{path} does not exist; leave it out.", "missing_image")
        self.path = path
        self._opened = cv2.VideoCapture(str(path))
        if not self._opened.isOpened():
            raise DataError(
                f"{path}: OpenCV {cv2.__version__} cannot read it as a video: it is damaged, not a "
                "video, or has a codec that is not built in; convert it, for example by `ffmpeg -i "
                f"{path.name} -c:v mpeg4 -q:v 2 converted.mp4`, or leave it out.",
                "unreadable_image",
            )
        rate = self._opened.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if 0 < rate < 1000 else _FRAMES_PER_SECOND
        count = int(self._opened.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame, uint8 `[H, W, 3]` RGB, up to the first one that cannot be decoded."""
        while True:
            there, frame = self._opened.read()
            if not there:
                return
            yield np.ascontiguousarray(frame[:, :, ::-1])

    def close(self) -> None:
        """Closes the file; may be called repeatedly."""
        self._opened.release()


class VideoWriter:
    """A video file that frames are written to, one after another.

    The file has a temporary name until it is closed, so that a file with the final name is always
    complete.

    Args:
      path: the file, whose suffix is one of `CODECS`; its folder must exist.
      size: height and width of the frames. OpenCV omits the last row or column if their number is
        odd.
      frames_per_second: the number of frames that are shown per second.

    Raises:
      DataError: this OpenCV lacks the codec, or the file cannot be written.
    """

    def __init__(self, path: pathlib.Path, size: tuple[int, int], frames_per_second: float) -> None:
        self._path, self._size = path, size
        self._partial = path.with_name(f".partial_{path.name}")
        code = CODECS[path.suffix]
        self._opened = cv2.VideoWriter(
            str(self._partial), cv2.VideoWriter.fourcc(*code), frames_per_second, size[::-1]
        )
        if not self._opened.isOpened():
            raise DataError(
                f"{path}: OpenCV {cv2.__version__} cannot write it with the codec {code}: this "
                "build lacks it, or the folder cannot be written; install opencv-python-headless, "
                "whose builds have it, or draw nothing (--nodraw).",
                "unreadable_image",
            )

    def write(self, frame: np.ndarray) -> None:
        """Writes a frame, uint8 `[H, W, 3]` RGB.

        Raises:
          ValueError: the frame has another size.
        """
        if frame.shape[:2] != self._size:
            raise ValueError(f"A frame is of {frame.shape[:2]} pixels, the video of {self._size}.")
        self._opened.write(np.ascontiguousarray(frame[:, :, ::-1]))

    def close(self, *, keep: bool = True) -> None:
        """Closes the file and gives it its final name, or removes it."""
        self._opened.release()
        if keep:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)
