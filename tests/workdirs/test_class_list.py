import json
import types

import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import class_list


def source(*categories):
    """All of a data set that a class list looks at."""
    return types.SimpleNamespace(
        category_ids=tuple(id_ for id_, _ in categories),
        classes=tuple(name for _, name in categories),
    )


ANIMALS = ((17, "cat"), (18, "dög"), (25, "giraffe"))


def test_a_run_keeps_its_classes(tmp_path):
    assert class_list.read(tmp_path) is None  # a run of an earlier version has recorded none
    class_list.claim(tmp_path, source(*ANIMALS))
    path = tmp_path / "classes.json"
    assert list(tmp_path.iterdir()) == [path]
    written = path.read_text(encoding="utf-8")
    assert json.loads(written) == {
        "categories": [{"id": id_, "name": name} for id_, name in ANIMALS]
    }
    class_list.claim(tmp_path, source(*ANIMALS))
    # Other ids of the same names: data that was exported once more.
    class_list.claim(tmp_path, source((1, "cat"), (2, "dög"), (3, "giraffe")))
    assert class_list.read(tmp_path) == class_list.read_required(tmp_path) == list(ANIMALS)
    for other in (ANIMALS[::-1], ANIMALS[:2], (*ANIMALS, (90, "toothbrush"))):
        with pytest.raises(ConfigError, match=f"{tmp_path} has cat, dög, giraffe; give all"):
            class_list.claim(tmp_path, source(*other))
    assert path.read_text(encoding="utf-8") == written
