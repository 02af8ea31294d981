import os

import pytest

from ioub_jax.data.sources.file_names import Listing, find_other_suffixes, resolve


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for name in (
        "a.png",
        "part 1.png",
        "line 1/b.png",
        "line 2/b.png",
        "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n.PNG",
        "100%.png",
        "what?.png",
        "what",
        "twice.png",
        "TWICE.png",
        "images/c.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("name", "meant"),
    {
        "a.png": "a.png",
        "./a.png": "./a.png",
        ".\\a.png": "a.png",
        "line 1\\b.png": "line 1/b.png",
        "line%201/b.png": "line 1/b.png",
        "line%201%5Cb.png": "line 1/b.png",
        "part%201.png": "part 1.png",
        "part%201.png?raw=true": "part 1.png",
        "100%.png": "100%.png",
        "what?.png": "what?.png",
        "images/a.png": "a.png",
        "data/images/line 2/b.png": "line 2/b.png",
        "images\\part%201.png": "part 1.png",
        "images/c.png": "images/c.png",
        "/home/somebody/photos/a.png": "a.png",
        "C:\\photos\\line 1\\b.png": "line 1/b.png",
        "https://example.org/x/part%201.png?X-Key=a%2Fb": "part 1.png",
        "s3://bucket/line 2/b.png": "line 2/b.png",
        "/data/local-files/?d=photos/part%201.png": "part 1.png",
        "A.PNG": "a.png",
        "Line 1/B.png": "line 1/b.png",
        "gru\N{COMBINING DIAERESIS}n.png": "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n.PNG",
        "twice.png": "twice.png",
        "Twice.png": None,  # two files fit
        "a.jpg": None,
        "photos/a.png": None,  # a folder that is not there is part of a name
        "line 3/b.png": None,
        "b.png": None,
        "line 1": None,  # a folder
        "": None,
        "?": None,
        "..": None,
        "%00.png": None,
        "a.png\0": None,
    }.items(),
)
def test_a_name_means_the_one_file_that_fits(images, name, meant):
    expected = None if meant is None else os.path.join(images, meant)
    assert resolve(name, Listing(images)) == expected


def test_a_name_may_begin_with_a_folder_that_is_given_as_a_point(images, monkeypatch):
    monkeypatch.chdir(images)
    assert resolve("images\\a.png", Listing(".")) == "./a.png"


def test_two_names_in_one_query_are_not_guessed(images):
    assert resolve("?d=a.png&e=part 1.png", Listing(images)) is None


def test_a_folder_that_is_not_there_has_no_files(tmp_path):
    assert resolve("a.png", Listing(tmp_path / "nowhere")) is None


def test_each_folder_is_listed_once(images, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    listing = Listing(images)
    for name in ("A.png", "line%201/b.png", "Line 2/b.png", "line 2/b.png", "nothing.png") * 3:
        resolve(name, listing)
    assert len(listed) == len(set(listed))


def test_files_of_another_suffix_are_told(images):
    listing = Listing(images)
    assert find_other_suffixes("a.jpg", listing) == [str(images / "a.png")]
    assert find_other_suffixes("line 1/b.bmp", listing) == [str(images / "line 1/b.png")]
    assert find_other_suffixes("what?.jpg", listing) == [str(images / "what?.png")]
    assert find_other_suffixes("nothing.jpg", listing) == []
