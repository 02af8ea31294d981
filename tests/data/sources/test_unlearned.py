"""Why a class or a training set has nothing to learn, and flags that a shell takes as they are."""

import ast
import json
import subprocess

import ml_collections
import pytest

from ioub_jax.configs import defaults
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.learned import ClassCount, Learned, Tally
from ioub_jax.data.sources.unlearned import (
    check_classes,
    classes_flag,
    empty_classes,
    nothing_learned,
)


@pytest.fixture
def data():
    data = defaults.get_config().data
    data.source = "voc"
    return data


def of_class(name, boxes=0, usable=0, crowds=0, difficult=0, beyond=0, left_out=0):
    return ClassCount(name, 1, boxes, usable, crowds, difficult, beyond, left_out, boxes)


def learned(classes=(), listed=0, left_out=()):
    boxes = Tally(listed, listed - sum(dict(left_out).values()), dict(left_out), {})
    return Learned(boxes, Tally(1, 1, {}, {}), tuple(classes), 9, "trained on")


GOOD = of_class("bolt", 5, 5)


@pytest.mark.parametrize(
    ("empty", "reason"),
    [
        (of_class("nut"), "nut: no boxes"),
        (of_class("nut", 6, crowds=6), "nut: all 6 boxes are crowds"),
        (of_class("nut", 1, difficult=1), "nut: its only box is difficult"),
        (of_class("nut", 0, left_out=1_200), "nut: all 1,200 boxes are left out"),
        (
            of_class("nut", 6, crowds=1, difficult=2, beyond=3, left_out=4),
            "nut: of 10 boxes 1 crowds, 2 difficult, 3 beyond config.data.max_boxes, 4 left out",
        ),
    ],
)
def test_a_class_without_a_usable_box_is_refused(data, empty, reason):
    with pytest.raises(DataError) as caught:
        check_classes(learned([GOOD, empty]), data)
    sentence = str(caught.value)
    assert sentence.startswith(
        f"1 of 2 classes of the training data has no box to learn ({reason}). "
    )
    assert "eave it out: --config.data.voc.classes=bolt; or" in sentence
    assert sentence.endswith("nothing: --config.data.allow_empty_classes=True.")
    assert ("--config.matcher.crowd=keep" in sentence) == (empty.crowds > 0)
    assert ("--config.data.max_boxes=9" in sentence) == (empty.beyond_max_boxes > 0)
    assert "iscrowd" not in sentence  # which is in no XML
    data.allow_empty_classes = True
    check_classes(learned([GOOD, empty]), data)


def test_a_run_of_an_earlier_version_has_no_such_key(data):
    old = {key: value for key, value in data.to_dict().items() if key != "allow_empty_classes"}
    with pytest.raises(DataError):
        check_classes(learned([GOOD, of_class("nut")]), ml_collections.ConfigDict(old))


def test_data_whose_classes_cannot_be_chosen_gets_no_such_advice(data):
    data.source = "cityscapes"
    sentence = empty_classes([GOOD, of_class("nut")], 9, data, "train")
    assert "Train with an output that learns nothing: --config" in sentence
    assert ".classes=" not in sentence


def test_many_classes_are_not_all_named(data):
    classes = [of_class(f"c{number}") for number in range(300)]
    sentence = empty_classes([GOOD, *classes], 9, data, "train")
    assert "c19: no boxes; and 280 more)" in sentence and len(sentence) < 700


def test_the_name_of_a_project_is_told_as_that(data, tmp_path):
    """Roboflow's category 0 is the supercategory of the others."""
    categories = [
        {"id": 0, "name": "parts", "supercategory": "none"},
        {"id": 1, "name": "bolt", "supercategory": "parts"},
        {"id": 2, "name": "nut", "supercategory": "parts"},
    ]
    data.source = "coco"
    data.coco.update({"root": str(tmp_path), "train_annotations": "a.json"})
    classes = [of_class("parts"), GOOD, of_class("nut")]
    assert "(parts: no boxes; nut: no boxes)" in empty_classes(classes, 9, data, "train")
    (tmp_path / "a.json").write_text(json.dumps({"categories": categories}))
    assert (
        "(parts: the supercategory of the others, as Roboflow writes it, without boxes; nut: no "
        "boxes)"
    ) in empty_classes(classes, 9, data, "train")


@pytest.mark.parametrize(
    ("source", "left_out", "told"),
    [
        (
            "coco",
            {"crowd": 12},
            "all 12 boxes are crowds (iscrowd 1), which training ignores and evaluation does not "
            "count. Set iscrowd to 0 in the file where it is a mask's, since CVAT writes 1 for "
            "masks; or train on crowds: --config.matcher.crowd=keep.",
        ),
        (
            "cityscapes",
            {"crowd": 12},
            "all 12 boxes are crowds, which training ignores and evaluation does not count. Train "
            "on crowds: --config.matcher.crowd=keep.",
        ),
        (
            "voc",
            {"difficult": 1, "no_area": 10, "other_classes": 1},
            "1 of 12 boxes is difficult, 1 of 12 boxes is of other classes, 10 of 12 boxes are "
            "left out. Train on difficult objects: --config.matcher.difficult=keep; or choose "
            "classes in config.data.voc.classes; or mend what ioub check_data names.",
        ),
    ],
)
def test_nothing_to_learn_is_explained(data, source, left_out, told):
    data.source = source
    sentence = nothing_learned(learned(listed=12, left_out=left_out), data)
    assert sentence == f"no image of the training split has an object to learn from: {told}"


def test_no_boxes_at_all(data):
    assert "its annotations list no box" in nothing_learned(learned(), data)


def test_flags_can_be_pasted():
    names = [
        "bolt",
        "it's",
        'a "b"',
        "$HOME",
        "`ls`",
        "back\\slash",
        "café",
        "a,b",
        "1",
        "écrou_2",
        "!",
    ]
    flags = [classes_flag("coco", names), classes_flag("coco", names[-1:])]
    shell = ["bash", "-c", f"printf '%s\\n' {' '.join(flags)}"]
    first, second = subprocess.run(shell, capture_output=True, text=True).stdout.splitlines()
    prefix = "--config.data.coco.classes="
    assert ast.literal_eval(first.removeprefix(prefix)) == tuple(names)
    assert second == f"{prefix}('!',)"
    # As experiments.overrides takes them, but for what it takes for no name.
    assert classes_flag("voc", ["bolt", "hex-nut"]) == "--config.data.voc.classes=bolt,hex-nut"
    assert classes_flag("voc", ["None"]) == "--config.data.voc.classes=\"('None',)\""
