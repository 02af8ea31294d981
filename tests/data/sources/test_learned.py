"""The numbers of what is learned add up and are those of the batches, whatever the data set."""

import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ioub_jax.configs import defaults
from ioub_jax.data.batching import keep_largest
from ioub_jax.data.checks import CHANGES, KINDS, DataError, Problem
from ioub_jax.data.sources import FileSource, ShapesSource
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import Census, create_example
from ioub_jax.data.sources.learned import Rules, count_learned
from ioub_jax.from_config.data_parts import create_source, open_source, rules_of

SKIP_BOX = "a.json: is wrong; mend it, or set config.data.on_error='skip' to leave the box out."
SKIP_IMAGE = SKIP_BOX.replace("the box", "the image")
TREATMENTS = st.sampled_from(["ignore", "drop", "keep"])


def numbers(line):
    """Listed, learned and the counts of what is not, as the line says them."""
    left_out = re.search(r"; left out: ([^;]+)", line)
    counts = [int(n) for n in re.findall(r"(?:^|, )(\d+) ", left_out[1])] if left_out else []
    if found := re.search(r": all (\d+) ", line):
        return int(found[1]), int(found[1]), counts
    learned, listed = re.search(r": (\d+) of (\d+) ", line).groups()
    return int(listed), int(learned), counts


def assert_lines_add_up(learned):
    for line in learned.lines():
        listed, used, left_out = numbers(line)
        assert used + sum(left_out) == listed and 0 not in left_out, line


def source_of(examples, census=None, problems=(), classes=("a", "b")):
    sizes = np.full((len(examples), 2), 100)
    paths = [f"{number}.jpg" for number in range(len(examples))]
    ids = range(len(classes))
    return FileSource(
        collect_annotations(examples, sizes), paths, classes, ids, list(problems), census
    )


def test_the_lines_by_hand():
    box = [0, 0, 9, 9]
    examples = [
        # The largest two of four are kept: one of them is difficult, so that one is learned.
        create_example(
            [box, [0, 0, 30, 30], [0, 0, 20, 20], box], [0, 1, 0, 0], 1, difficult=[0, 1, 0, 0]
        ),
        create_example([box, box], [1, 1], 2, crowd=[1, 1]),
        create_example([box, box], [0, -1], 3, ignored=[1, 1]),
        create_example([], [], 4),
    ]
    problems = [
        Problem("no_area", SKIP_BOX),
        Problem("unknown_image", SKIP_BOX, 3),
        Problem("missing_image", SKIP_IMAGE),
        Problem("duplicate_image", SKIP_BOX.replace("leave the box out", "read it once")),
    ]
    # Six boxes are there; with four of problems, five of other classes, seven listed twice, the one
    # region without a problem and two of the image that is missing: 6 + 4 + 5 + 7 + 1 + 2 = 25.
    changes = {"repeated": 7, "clipped": 1_200, "exchanged": 1, "converted": 2, "renamed": 1}
    source = source_of(examples, Census(6, 25, 5, changes), problems)
    learned = count_learned(source, Rules("ignore", "drop", False, 2, "used for training"))
    assert learned.lines() == (
        "Boxes: 1 of 25 are used for training; left out: 2 crowds (config.matcher.crowd), 1 "
        "difficult (config.matcher.difficult), 2 beyond config.data.max_boxes, 5 of other classes, "
        "7 listed twice, 1 without area, 3 of images that are not listed, 1 region to ignore, 2 of "
        "images that are left out; changed: 1,200 clipped to their image, 1 put in order (swapped "
        "corners).",
        "Images: 1 of 6 are used for training; left out: 3 without a box to learn "
        "(config.data.keep_empty), 1 whose file is missing, 1 for other reasons; changed: 2 ids "
        "read as another type, 1 file name read as the only file that they can mean.",
    )
    of_a, of_b = learned.classes
    assert (of_a.boxes, of_a.usable, of_a.beyond_max_boxes, of_a.left_out) == (3, 1, 2, 1)
    assert (of_b.boxes, of_b.crowds, of_b.difficult, of_b.images) == (3, 2, 1, 2)


def test_evaluation_has_all_but_crowds():
    flags = np.eye(3, dtype=bool)
    boxes = np.tile([0, 0, 9, 9], (3, 1))
    example = create_example(
        boxes, [0, 1, -1], 1, crowd=flags[0], difficult=flags[1], ignored=flags[2]
    )
    learned = count_learned(source_of([example]), Rules())
    assert learned.lines() == (
        "Boxes: 1 of 3 are used for evaluation; left out: 1 crowd (config.matcher.crowd), 1 region "
        "to ignore.",
        "Images: all 1 are used for evaluation.",
    )


def test_what_is_drawn_is_not_counted():
    learned = count_learned(ShapesSource(20, (64, 64), 0, "train"), Rules(verb="used for training"))
    assert learned.lines() == (
        "Boxes: known only when their images are drawn; all are used for training.",
        "Images: all 20 are used for training.",
    )


@st.composite
def sources(draw):
    """Images with boxes of any flags, problems of any kind, a census that may know of more."""
    flag = st.booleans()
    examples = []
    for image_id in range(draw(st.integers(0, 4))):
        rows = draw(
            st.lists(st.tuples(st.integers(1, 9), st.integers(0, 1), flag, flag, flag), max_size=5)
        )
        sides, labels, crowd, difficult, ignored = zip(*rows, strict=True) if rows else [()] * 5
        boxes = [[0, 0, side, side] for side in sides]
        flags = {"crowd": crowd, "difficult": difficult, "ignored": ignored}
        examples.append(create_example(boxes, labels, image_id, **flags))
    sentence = st.sampled_from([SKIP_BOX, SKIP_IMAGE, "a.json: is wrong."])
    problem = st.builds(Problem, st.sampled_from(list(KINDS)), sentence, st.integers(1, 5))
    problems = draw(st.lists(problem, max_size=5))
    more = st.integers(0, 20)
    boxes = sum(int((~example.ignored).sum()) for example in examples)
    changes = draw(st.dictionaries(st.sampled_from(list(CHANGES)), more))
    census = Census(len(examples) + draw(more), boxes + draw(more), draw(more), changes)
    return source_of(examples, census, problems)


@settings(max_examples=100, deadline=None)
@given(sources(), TREATMENTS, TREATMENTS, st.booleans(), st.none() | st.integers(1, 4))
def test_the_numbers_always_add_up(source, crowd, difficult, keep_empty, max_boxes):
    learned = count_learned(source, Rules(crowd, difficult, keep_empty, max_boxes))
    assert_lines_add_up(learned)
    for entry in learned.classes:
        lost = entry.crowds + entry.difficult + entry.beyond_max_boxes
        assert entry.usable + lost == entry.boxes
    assert sum(entry.usable for entry in learned.classes) == learned.boxes.learned


CROWD_BEFORE_OBJECT = {
    "images": [{"id": n, "file_name": f"{n}.jpg", "height": 100, "width": 100} for n in (1, 2)],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 90, 90]},
        {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 9, 9]},
        {"id": 3, "image_id": 2, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 9, 9]},
    ],
    "categories": [{"id": 1, "name": "c1"}, {"id": 2, "name": "c2"}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where 1.jpg to 3.jpg are: their sizes are annotated, so that none is read."""
    folder = tmp_path_factory.mktemp("coco")
    for number in (1, 2, 3):
        (folder / f"{number}.jpg").touch()
    return folder


@st.composite
def contents(draw):
    """Instances of images 1 to 3 and of 4, whose file is missing; much of it is wrong."""
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 100, "width": 100} for n in (1, 2, 3, 4)]
    boxes = [[10, 10, 20, 20], [5, 5, 50, 50], [70, 70, 50, 50], [30, 30, -9, -9], [9, 9, 0, 5]]
    boxes += [[500, 9, 5, 5], None]
    kinds = st.tuples(
        st.sampled_from([1, 1, 2, 2, 3, 4, 77]),  # image
        st.sampled_from([1, 1, 1, 2, 3, 77]),  # category
        st.sampled_from([0, 0, 1]),  # crowd
        st.sampled_from(boxes),
        st.integers(0, 9),  # what is added to the position makes ids repeat
    )
    annotations = [
        {"id": n + more, "image_id": image, "category_id": category, "iscrowd": crowd, "bbox": box}
        for n, (image, category, crowd, box, more) in enumerate(draw(st.lists(kinds, max_size=12)))
    ]
    categories = [{"id": n, "name": f"c{n}"} for n in (1, 2, 3)]
    return {"images": images, "annotations": annotations, "categories": categories}


@settings(max_examples=150, deadline=None)
@given(contents(), TREATMENTS, st.booleans(), st.integers(1, 4), st.booleans())
@example(CROWD_BEFORE_OBJECT, "ignore", False, 1, False)  # whose one slot the crowd takes
def test_the_numbers_are_those_of_the_training(folder, content, crowd, keep_empty, slots, part):
    (folder / "train.json").write_text(json.dumps(content))
    config = defaults.get_config()
    config.matcher.crowd = crowd
    config.data.update({"source": "coco", "on_error": "skip"})
    config.data.update({"keep_empty": keep_empty, "max_boxes": slots})
    config.data.coco.update({"root": str(folder), "train_images": "."})
    config.data.coco.train_annotations = "train.json"
    config.data.coco.classes = ("c1", "c2") if part else None
    opened = open_source(config.data, "train")
    learned = count_learned(opened, rules_of(config.data, config.matcher, "train"))
    assert_lines_add_up(learned)
    assert learned.boxes.listed == len(content["annotations"])
    assert learned.images.listed == len(content["images"])
    # Every reason is known: the file has no regions of its own.
    assert "region" not in learned.boxes.left_out and "other" not in learned.images.left_out
    of_missing = sum(entry["image_id"] == 4 for entry in content["annotations"])
    assert learned.boxes.left_out.get("image", 0) <= of_missing
    try:
        source = create_source(config.data, "train", config.matcher)
    except DataError as error:
        assert error.kind == "nothing_learned" and learned.boxes.learned == 0
        return
    assert learned.images.learned == len(source)
    examples = [keep_largest(source.annotations(i), slots) for i in range(len(source))]
    trained_on = [e.labels[~e.ignored & ~(e.crowd & (crowd != "keep"))] for e in examples]
    assert learned.boxes.learned == sum(map(len, trained_on)) > 0
    of_classes = np.bincount(np.concatenate(trained_on), minlength=len(source.classes))
    assert [entry.usable for entry in learned.classes] == of_classes.tolist()
