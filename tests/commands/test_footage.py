"""Videos through a detector that is none: frame numbers, the annotated video, what is broken."""

import json

import numpy as np
import pytest
from PIL import Image

from ioub_jax.commands import footage, label_files
from ioub_jax.commands.footage import Footage
from ioub_jax.commands.prediction_files import PredictionFiles
from ioub_jax.data.checks import DataError
from ioub_jax.data.given_images import GivenImage
from ioub_jax.data.video_files import VideoFile, VideoWriter
from ioub_jax.detections import Detections


class Detector:
    """Finds one box in every frame, of the score that its number says; gives pairs exchanged."""

    def stream(self, images, **options):
        assert options == {"threads": 1}
        found = [(number, self._found(number, image)) for number, image in enumerate(images)]
        for first in range(0, len(found), 2):
            yield from reversed(found[first : first + 2])

    def _found(self, number, image):
        given = GivenImage(image)
        try:
            size = given.pixels().shape[:2]
        except DataError as error:
            return error
        box, score = np.float32([[number, 2, number + 10, 20]]), np.float32([0.5 + number / 10])
        return Detections(box, score, np.int32([0]), ("nut",), size, (7,), given)


@pytest.fixture
def clip(tmp_path):
    """A video of five frames, a quarter of a second each."""
    path = tmp_path / "my.clip.avi"
    writer = VideoWriter(path, (48, 64), 4.0)
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.close()
    return path


@pytest.fixture
def frames(tmp_path):
    """A folder of three frames."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((48, 64, 3), 60 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def results_in(folder, names=()):
    return PredictionFiles(folder, names, (7,), ("nut",), {})


def drawn(found):
    return np.asarray(found.draw())


def detect(of, results, target, draw=drawn):
    return footage.detect(Detector(), of, results, score=0.65, draw=draw, target=target, threads=1)


def test_a_video_has_its_frames_numbers_and_a_picture_of_each(clip, tmp_path):
    out = tmp_path / "found"
    results = results_in(out, ["a.png"])
    assert detect(Footage(clip), results, out / "drawn.avi") == []
    label_files.write_records(out, results.names, results.records, (7,), ("nut",))
    assert results.finish() == 3  # from frame 2 on the score is above .65
    content = json.loads((out / "predictions.json").read_text())
    shared = {"file_name": str(clip), "video": str(clip), "width": 64, "height": 48}
    assert content["images"] == [
        {"id": 2 + number, "frame": number, "seconds": number / 4, **shared} for number in range(5)
    ]
    assert [(a["image_id"], a["bbox"][0], a["category_id"]) for a in content["annotations"]] == [
        (4, 2.0, 7), (5, 3.0, 7), (6, 4.0, 7)
    ]  # fmt: skip
    rows = {path.name: len(path.read_text()) > 0 for path in (out / "labels").iterdir()}
    assert rows == {f"my.clip_{number}.txt": number >= 2 for number in range(5)}
    video = VideoFile(out / "drawn.avi")
    pictures = list(video.frames())
    video.close()
    # 480 / 64 is 7.5: eight times the size, and frame 4 has a box where frame 0 has none.
    assert len(pictures) == 5 and pictures[0].shape == (8 * 48, 8 * 64, 3)
    np.testing.assert_allclose(pictures[4][-20, -20], 160, atol=8)
    assert np.ptp(pictures[0].astype(int)) < 40 < np.ptp(pictures[4].astype(int))
    assert video.frames_per_second == 4.0


def test_frames_in_a_folder_are_a_video_too(frames, tmp_path):
    out = tmp_path / "found"
    files = tuple(sorted(frames.iterdir()))
    results = results_in(out)
    assert detect(Footage(frames, files, 10.0), results, out / "frames.mp4") == []
    assert results.finish() == 1
    content = json.loads((out / "predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [str(file) for file in files]
    assert [image["seconds"] for image in content["images"]] == [0.0, 0.1, 0.2]
    video = VideoFile(out / "frames.mp4")
    assert len(list(video.frames())) == 3
    video.close()


def test_a_broken_frame_is_told_and_another_size_ends_the_video(frames, tmp_path):
    out = tmp_path / "found"
    (frames / "1.png").write_bytes(b"broken")
    files = tuple(sorted(frames.iterdir()))
    results = results_in(out)
    (problem,) = detect(Footage(frames, files), results, out / "frames.mp4")
    assert "1.png" in problem
    assert [record["image"]["frame"] for record in results.records.values()] == [0, 2]
    (out / "frames.mp4").unlink()
    Image.new("RGB", (20, 10)).save(frames / "2.png")
    with pytest.raises(DataError, match=r"2\.png: the frame has 10x20 pixels, those before it 48x"):
        detect(Footage(frames, files), results, out / "frames.mp4")
    assert not list(out.glob("*.mp4"))
    # Without pictures it is nobody's trouble.
    assert len(detect(Footage(frames, files), results, out / "frames.mp4", draw=None)) == 1
    results.close()
    assert not list(out.glob("*.mp4"))


def test_a_video_that_ends_before_its_time_is_told(clip, tmp_path, monkeypatch):
    frames = VideoFile.frames
    monkeypatch.setattr(
        VideoFile, "frames", lambda self: (f for f, _ in zip(frames(self), range(3), strict=False))
    )
    results = results_in(tmp_path / "found")
    (problem,) = detect(Footage(clip), results, tmp_path / "found" / "clip.mp4")
    results.close()
    assert problem.endswith("of its 5 frames 3 can be decoded; the others are damaged, or the "
                            "count is wrong.")  # fmt: skip


def test_frames_are_not_taken_over_by_the_next_command(clip, tmp_path):
    out = tmp_path / "found"
    results = results_in(out, ["a.png"])
    results.add(0, Detector()._found(0, np.zeros((9, 9, 3), np.uint8)))
    results.add_frame(str(clip), clip, 0, 0.0, Detector()._found(0, np.zeros((9, 9, 3), np.uint8)))
    results.add_frame(str(clip), clip, 1, 0.2, Detector()._found(1, np.zeros((9, 9, 3), np.uint8)))
    results.close()
    again = results_in(out, ["a.png"])
    again.close()
    assert list(again.records) == [0] and again.kept is None
