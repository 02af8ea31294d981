import cv2
import numpy as np
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.video_files import CODECS, VideoFile, VideoWriter


def frame(number):
    """Left half red, the right half of a gray that tells the number."""
    pixels = np.full((48, 64, 3), 20 * number, np.uint8)
    pixels[:, :32] = (200, 0, 0)
    return pixels


@pytest.mark.parametrize("suffix", CODECS)
def test_frames_come_back_in_their_order_and_colors(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    writer = VideoWriter(path, (48, 64), 12.5)
    for number in range(5):
        writer.write(frame(number))
    assert not path.exists(), "it is not whole yet"
    writer.close()
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    video = VideoFile(path)
    assert (video.frames_per_second, video.count) == (12.5, 5)
    frames = list(video.frames())
    video.close()
    assert len(frames) == 5
    for number, found in enumerate(frames):
        assert found.shape == (48, 64, 3)
        np.testing.assert_allclose(found[24, 16], (200, 0, 0), atol=25)
        np.testing.assert_allclose(found[24, 50], 20 * number, atol=8)


def test_what_is_no_video_is_told(tmp_path, capfd):
    with pytest.raises(DataError, match=r"absent\.mp4 does not exist; leave it out"):
        VideoFile(tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    words = r"text\.mp4: OpenCV .* cannot read it as a video: .* `ffmpeg -i text\.mp4 -c:v mpeg4"
    with pytest.raises(DataError, match=words):
        VideoFile(tmp_path / "text.mp4")
    capfd.readouterr()  # what ffmpeg tells


def test_a_codec_that_is_missing_is_told(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(CODECS, ".mp4", "zzzz")
    with pytest.raises(DataError, match="cannot write it with the codec zzzz: this build lacks it"):
        VideoWriter(tmp_path / "clip.mp4", (48, 64), 25.0)
    capfd.readouterr()


def test_frames_have_one_size_and_an_unfinished_video_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "clip.avi", (48, 64), 25.0)
    writer.write(frame(0))
    with pytest.raises(
        ValueError, match=r"A frame is of \(24, 64\) pixels, the video of \(48, 64\)"
    ):
        writer.write(frame(0)[:24])
    writer.close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_tell_its_speed_has_a_usual_one(tmp_path, monkeypatch):
    writer = VideoWriter(tmp_path / "clip.avi", (48, 64), 25.0)
    writer.write(frame(0))
    writer.close()
    opened = cv2.VideoCapture

    class Silent:
        def __init__(self, name):
            self._capture = opened(name)

        def get(self, _):
            return 0.0

        def __getattr__(self, name):
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Silent)
    video = VideoFile(tmp_path / "clip.avi")
    assert (video.frames_per_second, video.count) == (25.0, None)
    assert len(list(video.frames())) == 1
    video.close()
