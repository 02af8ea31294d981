"""Why a class or a training set has nothing to learn, and flags that a shell takes as they are."""

import ast
import json
import pathlib
import subprocess

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.learned import ClassCount, Learned, Tally
from ioub_jax.data.sources.unlearned import (
    Origin,
    check_any,
    check_classes,
    classes_flag,
    empty_classes,
    nothing_learned,
)

VOC = Origin("config.data.voc", classes_key="config.data.voc.classes")
CITYSCAPES = Origin("config.data.cityscapes")


def of_class(name, boxes=0, usable=0, crowds=0, difficult=0, beyond=0, left_out=0):
    return ClassCount(name, 1, boxes, usable, crowds, difficult, beyond, left_out, boxes)


def learned(classes=(), listed=0, left_out=()):
    boxes = Tally(listed, listed - sum(dict(left_out).values()), dict(left_out), {})
    return Learned(boxes, Tally(1, 1, {}, {}), tuple(classes), 9, "used for training")


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
def test_a_class_without_a_usable_box_is_refused(empty, reason):
    with pytest.raises(DataError) as caught:
        check_classes(learned([GOOD, empty]), VOC)
    sentence = str(caught.value)
    assert sentence.startswith(
        f"1 of 2 classes of the training data has no box to learn ({reason}). "
    )
    assert "eave it out: --config.data.voc.classes=bolt; or" in sentence
    assert sentence.endswith("nothing: --config.data.allow_empty_classes=True.")
    assert ("--config.matcher.crowd=keep" in sentence) == (empty.crowds > 0)
    assert ("--config.data.max_boxes=9" in sentence) == (empty.beyond_max_boxes > 0)
    assert "iscrowd" not in sentence  # which is in no XML
    check_classes(learned([GOOD]), VOC)


def test_where_empty_classes_are_allowed_that_is_no_advice():
    sentence = empty_classes([GOOD, of_class("nut")], 9, VOC, are_allowed=True)
    assert sentence.endswith("(nut: no boxes). Leave it out: --config.data.voc.classes=bolt.")


def test_data_whose_classes_cannot_be_chosen_gets_no_such_advice():
    sentence = empty_classes([GOOD, of_class("nut")], 9, CITYSCAPES)
    assert "Train with an output that learns nothing: --config" in sentence
    assert ".classes=" not in sentence


def test_many_classes_are_not_all_named():
    classes = [of_class(f"c{number}") for number in range(300)]
    sentence = empty_classes([GOOD, *classes], 9, VOC)
    assert "c19: no boxes; and 280 more)" in sentence and len(sentence) < 700


def test_the_name_of_a_project_is_told_as_that(tmp_path):
    """Roboflow's category 0 is the supercategory of the others."""
    categories = [
        {"id": 0, "name": "parts", "supercategory": "none"},
        {"id": 1, "name": "bolt", "supercategory": "parts"},
        {"id": 2, "name": "nut", "supercategory": "parts"},
    ]
    origin = Origin("config.data.coco", (tmp_path / "a.json",))
    classes = [of_class("parts"), GOOD, of_class("nut")]
    assert "(parts: no boxes; nut: no boxes)" in empty_classes(classes, 9, origin)
    (tmp_path / "a.json").write_text(json.dumps({"categories": categories}))
    assert (
        "(parts: the supercategory of the others, as Roboflow writes it, without boxes; nut: no "
        "boxes)"
    ) in empty_classes(classes, 9, origin)


@pytest.mark.parametrize(
    ("origin", "left_out", "told"),
    [
        (
            Origin("config.data.coco", (pathlib.Path("a.json"),), "config.data.coco.classes"),
            {"crowd": 12},
            "all 12 boxes are crowds (iscrowd 1), which training ignores and evaluation does not "
            "count. Set iscrowd to 0 in the file where it is a mask's, since CVAT writes 1 for "
            "masks; or train on crowds: --config.matcher.crowd=keep.",
        ),
        (
            CITYSCAPES,
            {"crowd": 12},
            "all 12 boxes are crowds, which training ignores and evaluation does not count. Train "
            "on crowds: --config.matcher.crowd=keep.",
        ),
        (
            VOC,
            {"difficult": 1, "no_area": 10, "other_classes": 1},
            "1 of 12 boxes is difficult, 1 of 12 boxes is of other classes, 10 of 12 boxes are "
            "left out. Train on difficult objects: --config.matcher.difficult=keep; or choose "
            "classes in config.data.voc.classes; or fix the problems that ioub check_data lists.",
        ),
    ],
)
def test_nothing_to_learn_is_explained(origin, left_out, told):
    sentence = nothing_learned(learned(listed=12, left_out=left_out), origin)
    assert sentence == f"no image of the training split has an object to learn from: {told}"


def test_no_boxes_at_all():
    assert "its annotations list no box" in nothing_learned(learned(), VOC)
    with pytest.raises(DataError, match=r"^config\.data\.voc: no image of the training split"):
        check_any(learned(), VOC)
    check_any(learned(listed=1), VOC)


def test_classes_that_cannot_be_chosen_leave_no_way_out():
    sentence = nothing_learned(learned(listed=2, left_out={"other_classes": 2}), CITYSCAPES)
    assert sentence.endswith("from: all 2 boxes are of other classes.")


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
    flags = [classes_flag("config.data.coco.classes", some) for some in (names, names[-1:])]
    shell = ["bash", "-c", f"printf '%s\\n' {' '.join(flags)}"]
    first, second = subprocess.run(shell, capture_output=True, text=True).stdout.splitlines()
    prefix = "--config.data.coco.classes="
    assert ast.literal_eval(first.removeprefix(prefix)) == tuple(names)
    assert second == f"{prefix}('!',)"
    # As experiments.overrides takes them, but for what it takes for no name.
    assert classes_flag("classes", ["bolt", "hex-nut"]) == "--classes=bolt,hex-nut"
    assert classes_flag("classes", ["None"]) == "--classes=\"('None',)\""
