import json
import types

import pytest

from ioub_jax.training import class_list
from ioub_jax.training.configuration import ConfigError


def source(*categories):
    """All of a data set that a class list looks at."""
    return types.SimpleNamespace(
        category_ids=tuple(id_ for id_, _ in categories),
        classes=tuple(name for _, name in categories),
    )


ANIMALS = ((17, "cat"), (18, "dög"), (25, "giraffe"))

# What differs from ANIMALS, and how a sentence says so.
OTHERS = [
    (
        ((17, "cat"), (18, "giraffe"), (25, "dög")),
        "Label 1 is 'dög' (category id 18) in A and 'giraffe' (category id 18) in B",
    ),
    (
        ((1, "cat"), (2, "dög"), (3, "giraffe")),
        "Label 0 is 'cat' (category id 17) in A and 'cat' (category id 1) in B",
    ),
    (
        ((18, "dög"), (17, "cat"), (25, "giraffe")),
        "Label 0 is 'cat' (category id 17) in A and 'dög' (category id 18) in B",
    ),
    (
        ((17, "cat"), (18, "dög")),
        "Label 2 is 'giraffe' (category id 25) in A and nothing in B",
    ),
    (
        (*ANIMALS, (90, "toothbrush")),
        "Label 3 is nothing in A and 'toothbrush' (category id 90) in B",
    ),
]


@pytest.mark.parametrize(("other", "sentence"), OTHERS)
def test_the_first_difference_is_named(other, sentence):
    with pytest.raises(ConfigError) as error:
        class_list.check_same(source(*ANIMALS), source(*other), "A", "B")
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_the_same_classes_pass():
    class_list.check_same(source(*ANIMALS), source(*ANIMALS), "A", "B")


def test_a_run_keeps_its_classes(tmp_path):
    class_list.check(tmp_path, source(*ANIMALS))  # a run of an earlier version has recorded none
    class_list.claim(tmp_path, source(*ANIMALS))
    path = tmp_path / "classes.json"
    assert list(tmp_path.iterdir()) == [path]
    written = path.read_text(encoding="utf-8")
    assert json.loads(written) == {
        "categories": [{"id": id_, "name": name} for id_, name in ANIMALS]
    }
    class_list.claim(tmp_path, source(*ANIMALS))
    class_list.check(tmp_path, source(*ANIMALS))
    for other, _ in OTHERS:
        for refuse in (class_list.claim, class_list.check):
            with pytest.raises(ConfigError, match=f"in the run in {tmp_path} and .* in the data"):
                refuse(tmp_path, source(*other))
    assert path.read_text(encoding="utf-8") == written
