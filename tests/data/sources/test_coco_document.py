"""A file says the same read by pieces, where most entries are as they should be, and as a whole."""

import json
import logging
import os
import pathlib
import tempfile
import threading

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import coco_document, coco_rows, json_outline
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.coco_document import read_document
from tests import small_coco

NAN, HUGE = float("nan"), 10**30
IMAGES = ("a.jpg", "b.jpg", "sub/c.jpg")
ODD_IDS = [99, None, "1", 1.0, 2.0, 2.5, 5.0, "7", "a", "", True, [], {}, HUGE, ...]
# What is there instead of a plain value, or `...` for nothing: good, put right, left out.
ODD = {
    "image_id": ODD_IDS,
    "category_id": ODD_IDS,
    "id": ODD_IDS,
    "bbox": [
        [1, 2, 3],
        [1, 2, 0, 5],
        [9, 9, -3, -4],
        [-5, -5, 100, 100],
        [100, 100, 5, 5],
        [1, 2, 1e-30, 4],
        [NAN, 1, 2, 3],
        [1, 2, 1e15, 4],
        [1, 2, HUGE, 4],
        [1, 2, "3", 4],
        [True, 1, 2, 3],
        None,
        [],
        {"x": 1},
        ...,
    ],
    "area": [-1, None, "5", "", "x", 1e15, 1e16, True, [], NAN, ...],
    "iscrowd": [0, 1, 2, -1, True, None, "1", "x", 1.0, []],
    "difficult": [0, 1, True, 2, "true"],
    "ignored": [0, 1, False, "0"],
    "rotation": [0, 90, 45.0, "90", "x", None, True, [1]],
    "attributes": [{"rotation": 45}, {"occluded": False}, {}, [], None, 5],
    "segmentation": [[[1, 2, 3, 4]], {"counts": 'a"}],[{\\'}, []],
    "keypoints": [1, 2, 3],
}
PLAIN = st.fixed_dictionaries(
    {
        "id": st.integers(1, 40),
        "image_id": st.sampled_from([1, 2, 3]),
        "category_id": st.sampled_from([5, 7]),
        "bbox": st.tuples(*[st.sampled_from([1, 2.5, 4])] * 4).map(list),
        "area": st.sampled_from([5, 12.5]),
        "iscrowd": st.sampled_from([0, 0, 1]),
    }
)


def _without_gaps(entry):
    return {key: value for key, value in entry.items() if value is not ...}


@st.composite
def _annotations(draw):
    """Some annotations, of which few are odd, and some are there twice."""
    entries = draw(st.lists(PLAIN, max_size=12))
    for _ in range(draw(st.integers(0, 3)) if entries else 0):
        at = draw(st.integers(0, len(entries) - 1))
        key = draw(st.sampled_from([*ODD, "copy", "no object"]))
        if key == "copy":
            entries.append(entries[at])
        elif key == "no object":
            entries.append(draw(st.sampled_from([None, 5, [], "x", {}])))
        elif isinstance(entries[at], dict):
            entries[at] = _without_gaps(entries[at] | {key: draw(st.sampled_from(ODD[key]))})
    return entries


ODD_IMAGES = st.sampled_from(
    [
        {},
        {"file_name": "A.jpg"},
        {"file_name": "missing.jpg"},
        {"file_name": "./a.jpg"},
        {"file_name": "b.jpg"},
        {"file_name": "x\x01"},
        {"file_name": " "},
        {"height": 0},
        {"height": 30.0},
        {"height": -1},
        {"width": 2**31},
        {"width": True},
        {"id": "1"},
        {"id": "name"},
        {"id": 2},
        {"id": HUGE},
    ]
)
BREAKS = st.sampled_from(
    [
        lambda text: text,
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("},", "},,", 1),
        lambda text: text.replace('"area"', '"area": 7, "area"', 1),
        lambda text: text.replace('"bbox"', '"bbox": 5, "bbox"', 1),
        lambda text: text.replace('"annotations"', '"\\u0061nnotations"', 1),
        lambda text: text.replace('"annotations"', '"annotations": [1], "annotations"', 1),
        lambda text: text.replace("]", "],]", 1),
        lambda text: "\ufeff" + text,
        lambda text: text + "}",
    ]
)


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "images/sub").mkdir(parents=True)
        for image in IMAGES:
            PIL.Image.new("RGB", (40, 30)).save(root / "images" / image)
        yield root


class _Told(logging.Handler):
    """Collects what is logged."""

    def __init__(self):
        super().__init__()
        self.sentences = []

    def emit(self, record):
        self.sentences.append(record.getMessage())


def _said(folder, on_error):
    """All that opening the file says."""
    told = _Told()
    logger = logging.getLogger("ioub_jax")
    logger.addHandler(told)
    try:
        source = CocoSource(folder / "instances.json", folder / "images", on_error=on_error)
    except DataError as error:
        return error.kind, str(error)
    finally:
        logger.removeHandler(told)
    return [*small_coco.all_that_is_read(source), told.sentences]


def _check_both_ways(folder, annotations, odd_image=None, break_=str, block=10**6, is_first=False):
    """Checks that what the file says does not depend on how it is read."""
    images = [
        {"id": number, "file_name": name, "height": 30, "width": 40}
        for number, name in enumerate(IMAGES, start=1)
    ]
    images[0] |= odd_image or {}
    content = {"images": images, "annotations": annotations}
    if is_first:
        content = dict(reversed(content.items()))
    content["categories"] = [{"id": 7, "name": "bee"}, {"id": 5, "name": "ant"}]
    (folder / "instances.json").write_text(break_(json.dumps(content)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_outline, "BLOCK", block)
        by_pieces = [_said(folder, on_error) for on_error in ("raise", "skip")]
        patch.setattr(coco_document, "_by_pieces", lambda file: None)
        whole = [_said(folder, on_error) for on_error in ("raise", "skip")]
    assert by_pieces == whole


ENTRY = {"id": 1, "image_id": 2, "category_id": 5, "bbox": [1, 2, 3, 4], "area": 5, "iscrowd": 0}
ODD_ENTRIES = [(key, value) for key, values in ODD.items() for value in values]


@pytest.mark.parametrize(
    ("key", "value"), ODD_ENTRIES, ids=[f"{key}={value!r:.30}" for key, value in ODD_ENTRIES]
)
def test_an_odd_value_is_taken_for_the_same(folder, key, value):
    odd = _without_gaps(ENTRY | {key: value})
    # Beside it one that is the same but for that, and one that is just the same.
    entries = [ENTRY, odd | ({} if key == "id" else {"id": 2}), odd | {"id": 3}]
    _check_both_ways(folder, entries)
    # In pieces of their own, one entry each.
    _check_both_ways(folder, entries, block=len(json.dumps(ENTRY)))


@settings(max_examples=80, deadline=None)
@given(_annotations(), st.sampled_from([80, 300, 10**6]), st.booleans())
def test_odd_annotations_are_taken_for_the_same(folder, annotations, block, is_first):
    _check_both_ways(folder, annotations, block=block, is_first=is_first)


@settings(max_examples=60, deadline=None)
@given(_annotations(), ODD_IMAGES, BREAKS, st.sampled_from([80, 300, 10**6]))
def test_odd_images_and_broken_files_are_taken_for_the_same(
    folder, annotations, odd_image, break_, block
):
    _check_both_ways(folder, annotations, odd_image, break_, block)


@pytest.mark.parametrize(
    ("here", "instead"),
    [
        ('}, {"id": 13', '},, {"id": 13'),
        ('}, {"id": 13', '},] {"id": 13'),
        ('}, {"id": 13', '} {"id": 13'),
        ('}], "categories"', '},], "categories"'),
        ('[{"id": 10', '[,{"id": 10'),
    ],
)
def test_a_comma_too_many_or_too_few_is_told_wherever_it_is(folder, here, instead):
    entries = [ENTRY | {"id": number} for number in range(10, 16)]

    def break_(text):
        assert here in text
        return text.replace(here, instead)

    _check_both_ways(folder, entries, break_=break_, block=80)
    place = (folder / "instances.json").read_text().index(instead)
    for end in range(1, len(instead)):  # a block ends before the comma, behind it, ...
        _check_both_ways(folder, entries, break_=break_, block=place + end)
    with pytest.raises(DataError, match="not JSON"):
        CocoSource(folder / "instances.json", folder / "images")


def _entries(path):
    return read_document(
        path,
        lambda: pytest.fail("is read as a whole"),
        lambda document: [
            (len(piece.entries()), piece.decode(coco_rows._PLAIN) is not None)
            for piece in document.pieces("annotations")
        ],
    )


def test_only_the_piece_of_an_odd_entry_is_read_with_care(tmp_path, monkeypatch):
    # 30 entries of 29 to 30 bytes: two pieces or more, in blocks of 512.
    monkeypatch.setattr(json_outline, "BLOCK", 512)
    entries = [{"bbox": [1, 2, 3, 4], "id": 10 + number} for number in range(30)]
    entries[0]["bbox"] = [1, 2, NAN, 4]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [1], "categories": [], "annotations": entries}))
    counts, are_plain = zip(*_entries(path), strict=True)
    assert sum(counts) == 30 and len(counts) > 1
    assert are_plain == (False,) + (True,) * (len(counts) - 1)


def test_strings_that_are_left_out_must_be_text_too(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(
        b'{"images": [{"id": 1, "file_name": "a.jpg", "height": 1, "width": 1}], "categories": '
        b'[{"id": 7, "name": "bee"}], "annotations": [{"bbox": [0, 0, 1, 1], "note": "\xff"}]}'
    )
    with pytest.raises(DataError, match=r"not JSON .*can't decode byte 0xff"):
        CocoSource(path, tmp_path)


def test_broken_json_is_told_before_a_wrong_entry_or_category(folder, monkeypatch):
    monkeypatch.setattr(json_outline, "BLOCK", 64)  # an entry each
    images = [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}]
    wrong = [ENTRY | {"image_id": 9}, ENTRY, ENTRY | {"note": "end"}]
    text = json.dumps({"images": images, "categories": [], "annotations": wrong})
    for text_now, words in (
        (
            text.replace("[]", '[{"id": 5, "name": "bee"}]'),
            "belongs to image 9, which is not listed",
        ),
        (text, "lists no categories"),
        (text.replace("[]", '[{"id": 5, "name": "b"}]').replace('"end"', "'end'"), "or not JSON"),
        (text.replace('"end"', "'end'"), "is empty, truncated or not JSON"),
    ):
        (folder / "instances.json").write_text(text_now)
        with pytest.raises(DataError, match=words):
            CocoSource(folder / "instances.json", folder / "images")


def test_a_pipe_is_read_once(folder, tmp_path):
    """Its writer would be ended by a reader that goes away."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 7, "name": "bee"}],
    }
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(json.dumps(content),))
    writer.start()
    assert len(CocoSource(tmp_path / "pipe", folder / "images")) == 1
    writer.join()
