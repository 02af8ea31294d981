import pathlib

import pytest

from ioub_jax.commands import image_arguments
from ioub_jax.data.checks import DataError


@pytest.fixture
def images(tmp_path):
    """Two folders with files that are called as images, a video and a text."""
    folder = tmp_path / "images"
    for name in ("a.png", "b.jpg", "inner/a.png", "inner/c.JPG", "clip.MP4", "notes.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_files_folders_and_globs_are_found_once(images):
    found = image_arguments.find_images([str(images), str(images / "*.png"), str(images / "b.jpg")])
    assert [str(path.relative_to(images)) for path in found] == [
        "a.png", "b.jpg", "inner/a.png", "inner/c.JPG"
    ]  # fmt: skip
    assert len(image_arguments.find_images([str(images / "**" / "*.png")])) == 2


@pytest.mark.parametrize("argument", ["*.gif", "empty"])
def test_an_argument_that_names_nothing_is_refused(tmp_path, argument):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there is no image \(\.avif"):
        image_arguments.find_images([str(tmp_path / argument)])


def test_videos_are_files_and_folders_that_hold_frames(images, tmp_path):
    arguments = [str(images / "clip.MP4"), str(images / "a.png")]
    paths, videos = image_arguments.existing(arguments)
    assert paths == [images / "a.png"]
    assert [(video.path, video.files) for video in videos] == [(images / "clip.MP4", None)]
    # In folders nothing but images is looked for.
    paths, videos = image_arguments.existing([str(images)])
    assert len(paths) == 4 and videos == []
    paths, videos = image_arguments.existing([str(images / "inner"), *arguments], 12.5)
    assert paths == [images / "a.png"] and [video.path.name for video in videos] == [
        "clip.MP4", "inner"
    ]  # fmt: skip
    assert videos[1].frames_per_second == 12.5 and len(videos[1].files) == 2
    assert videos[1].name_of(1) == str(images / "inner" / "c.JPG")
    assert [video.picture_suffix for video in videos] == [".mp4", ".mp4"]
    assert image_arguments.Footage(pathlib.Path("x.AVI")).picture_suffix == ".avi"
    with pytest.raises(DataError, match=r"y\.mp4 does not exist; give files, folders or globs"):
        image_arguments.existing([str(tmp_path / "y.mp4")])


def test_what_data_sets_read_is_found_and_hidden_files_are_not(tmp_path):
    names = ("a.jfif", "b.PPM", "c.gif", "._a.jpg", ".cache/d.png", "__MACOSX/e.png", "f/g.avif")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = image_arguments.find_images([str(tmp_path)])
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "a.jfif", "b.PPM", "c.gif", "f/g.avif"
    ]  # fmt: skip


def test_results_within_the_images_are_no_images(images):
    (images / "found").mkdir()
    (images / "found" / "a.png").write_bytes(b"")
    assert len(image_arguments.find_images([str(images)])) == 5
    assert len(image_arguments.find_images([str(images)], images / "found")) == 4
    # A folder above the images has none of the results of this command.
    assert len(image_arguments.find_images([str(images / "inner")], images)) == 2
