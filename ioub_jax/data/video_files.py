"""Video files by OpenCV and its built-in codecs: reading of frames, and writing."""

import pathlib
from collections.abc import Iterator

import cv2
import numpy as np

from ioub_jax.data.checks import DataError

#: How the names of video files end.
SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
#: How the names of files that are written end -> the code of the codec.
CODECS = {".avi": "MJPG", ".mp4": "mp4v"}
_FRAMES_PER_SECOND = 25.0  # where a file does not tell


class VideoFile:
    """A video file that is read frame by frame, upright as its metadata say.

    Args:
      path: the file.

    Attributes:
      path: the file.
      frames_per_second: as the file tells.
      count: how many frames it is said to have; None where it does not tell.

    Raises:
      DataError: it is not there, no video, or of a codec that is not built in.
    """

    def __init__(self, path: pathlib.Path) -> None:
        if not path.is_file():
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
        """Closes the file; harmless when repeated."""
        self._opened.release()


class VideoWriter:
    """A video file that frames are written to, one after another.

    It is under another name until it is closed, so that a file under its own is whole.

    Args:
      path: the file, which ends with one of `CODECS`; its folder must exist.
      size: height and width of the frames. OpenCV leaves the last row or column of an odd one out.
      frames_per_second: how fast they are shown.

    Raises:
      DataError: the codec is missing in this OpenCV, or the file cannot be written.
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
        """Writes a frame, uint8 `[H, W, 3]` RGB of the size.

        Raises:
          ValueError: it is of another size.
        """
        if frame.shape[:2] != self._size:
            raise ValueError(f"A frame is of {frame.shape[:2]} pixels, the video of {self._size}.")
        self._opened.write(np.ascontiguousarray(frame[:, :, ::-1]))

    def close(self, *, keep: bool = True) -> None:
        """Ends the file and gives it its name, or removes it."""
        self._opened.release()
        if keep:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)
