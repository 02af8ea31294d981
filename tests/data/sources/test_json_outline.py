"""A file is cut between the entries of its lists, whatever its strings and its blocks end in."""

import hashlib
import io
import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ioub_jax.data.sources.json_outline import outline

NAMES = ("images", "annotations")
# What could be taken for structure, and ends of blocks within an escape.
TEXTS = st.text(st.sampled_from('"\\[]{}, |:aé漢'), max_size=6)
VALUES = st.recursive(
    TEXTS | st.integers(-9, 99) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "info": VALUES,
        "images": st.lists(VALUES, max_size=6),
        'x"annotations': st.lists(VALUES, max_size=3),
        "licenses": st.lists(VALUES, max_size=3),
        "annotations": st.lists(VALUES, max_size=9),
        "categories": VALUES,
    },
)
SPACES = st.sampled_from([(None, (",", ":")), (None, (" , ", " : ")), (1, (",", ": "))])


def _taken_apart(text, found):
    """The entries of each list, and what is left of the file."""
    entries, rest, end = {}, [], 0
    for name, places in sorted(found.pieces.items(), key=lambda item: item[1]):
        pieces = [text[begin:stop] for begin, stop in places]
        commas = [text[stop:begin] for (_, stop), (begin, _) in itertools.pairwise(places)]
        assert commas == [b","] * (len(places) - 1)
        entries[name] = [entry for piece in pieces for entry in json.loads(b"[%b]" % piece)]
        assert len(pieces) == 1 or all(json.loads(b"[%b]" % piece) for piece in pieces)
        rest.append(text[end : places[0][0]])
        end = places[-1][1]
    return entries, json.loads(b"".join([*rest, text[end:]]))


@settings(max_examples=100, deadline=None)
@given(CONTENTS, SPACES, st.integers(1, 40), st.booleans())
# The block of 16 bytes ends between the backslash and the quote that it escapes.
@example({"images": ['abc"', [1]]}, (None, (",", ":")), 16, True)
def test_the_pieces_and_the_rest_are_the_file(content, spaces, block, is_ascii):
    indent, separators = spaces
    text = json.dumps(content, indent=indent, separators=separators, ensure_ascii=is_ascii).encode()
    found = outline(io.BytesIO(text), NAMES, block)
    assert found.size == len(text) and found.digest == hashlib.sha256(text).hexdigest()
    lists = {name: content[name] for name in NAMES if name in content}
    entries, rest = _taken_apart(text, found)
    assert entries == lists
    assert rest == content | {name: [] for name in lists}


def test_a_long_list_is_cut_into_pieces_of_about_a_block():
    text = json.dumps({"annotations": [{"id": number} for number in range(500)]}).encode()
    places = outline(io.BytesIO(text), NAMES, 256).pieces["annotations"]
    # 500 entries of 10 to 11 bytes and a comma with its space, in blocks of 256.
    assert 20 <= len(places) <= 30
    assert max(stop - begin for begin, stop in places) <= 2 * 256


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "7",
        '{"images": [1}',
        '{"images": [1]',
        '{"images": [1]}}',
        '{"images": [1]} {"images": [1]}',
        '{"images": [1], "images": [2]}',
        '{"images": [1], "info": "abc}',
        '{"images": [}',
        "}{",
        "\ufeff[]",
    ],
)
@pytest.mark.parametrize("block", [3, 100])
def test_what_is_no_object_with_fitting_brackets_has_no_outline(text, block):
    assert outline(io.BytesIO(text.encode()), NAMES, block) is None


def test_a_byte_order_mark_is_left_in_the_rest():
    text = '\ufeff {"images": [1]}'.encode()
    assert outline(io.BytesIO(text), NAMES, 100).pieces == {"images": [(16, 17)]}


def test_lists_that_nobody_asks_for_are_left_in_the_rest():
    text = rb'{"other": [1, 2], "x\"images": [3], "deep": {"images": [4]}, "\u0069mages": [5]}'
    assert outline(io.BytesIO(text), NAMES, 9).pieces == {}
