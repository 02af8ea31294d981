"""Files that are the same: under two names, or with the same bytes."""

import numpy as np
import pytest

from ioub_jax.data.sources import same_images
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.data.sources.same_images import find_same, find_shared
from ioub_jax.data.sources.shapes import ShapesSource


def source_of(paths):
    """A data set of files without objects."""
    nothing = np.zeros(0)
    examples = [create_example(nothing, nothing, number) for number in range(len(paths))]
    annotations = collect_annotations(examples, np.ones((len(paths), 2)))
    return FileSource(annotations, [str(path) for path in paths], ["thing"], [1], [])


@pytest.fixture
def folder(tmp_path):
    """Two folders of files of 5,000 bytes that share names, and in part contents."""
    content = np.random.default_rng(0).bytes(5000)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    # Pieces of 1,024 at 0, 2,500 and 3,976 are looked at; byte 2,000 is in none of them.
    other = content[:2000] + bytes([content[2000] ^ 1]) + content[2001:]
    for name, written in {
        "train/1.png": content,
        "val/1.png": content[::-1],
        "train/2.png": b"short",
        "val/2.png": content,
        "train/3.png": other,
        "val/3.png": b"other",
        "val/4.png": content,
    }.items():
        (tmp_path / name).write_bytes(written)
    return tmp_path


def test_bytes_count_and_names_do_not(folder):
    trained, validated = ([folder / s / f"{n}.png" for n in (1, 2, 3)] for s in ("train", "val"))
    shared = find_shared(source_of(trained), source_of(validated))
    assert shared == [(str(folder / "val/2.png"), str(folder / "train/1.png"))]
    assert find_shared(source_of(trained), source_of(validated), by_content=False) == []


def test_a_path_is_the_same_however_it_is_written(folder):
    trained = source_of([folder / "train/1.png", folder / "train/2.png"])
    (folder / "link.png").symlink_to(folder / "train/2.png")
    validated = source_of([f"{folder}/val/../train/1.png", folder / "link.png"])
    assert find_shared(trained, validated) == [
        (f"{folder}/val/../train/1.png", str(folder / "train/1.png")),
        (str(folder / "link.png"), str(folder / "train/2.png")),
    ]


def test_several_of_one_content_and_what_is_not_there(folder):
    paths = [str(folder / name) for name in ("val/4.png", "gone.png", "train/1.png", "val/2.png")]
    assert find_same([*paths, str(folder / "train/3.png"), str(folder / "gone too.png")]) == [
        [0, 2, 3]
    ]
    # Nothing is looked for among the files of one side.
    assert find_same(paths, [0, 1, 0, 0]) == []
    assert find_same([]) == []


def test_only_what_may_be_the_same_is_read(folder, monkeypatch):
    looked_into = {"_pieces": [], "_content": []}
    for name, paths in looked_into.items():
        look = getattr(same_images, name)

        def counted(path, look=look, paths=paths):
            paths.append(path[len(str(folder)) + 1 :])
            return look(path)

        monkeypatch.setattr(same_images, name, counted)
    trained, validated = ([folder / s / f"{n}.png" for n in (1, 2, 3)] for s in ("train", "val"))
    find_shared(source_of(trained), source_of(validated))
    # Of one size: the three of 5,000 bytes and the reversed one, the two of five bytes.
    assert sorted(looked_into["_pieces"]) == [
        f"{s}/{n}.png" for s in ("train", "val") for n in (1, 2, 3)
    ]
    assert sorted(looked_into["_content"]) == ["train/1.png", "train/3.png", "val/2.png"]


def test_images_that_are_no_files_are_not_compared():
    drawn = ShapesSource(num_images=3, image_size=(32, 32))
    assert find_shared(drawn, drawn) == []
