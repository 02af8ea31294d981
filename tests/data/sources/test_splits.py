"""Shares of a data set: which images are held out, and what stays as it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import splits
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.data.sources.learned import Rules, count_learned
from ioub_jax.data.sources.splits import Shares, split


def source_of(classes_of_images, names=None, folder="/data"):
    """A data set of files that are not there, of as many classes as the labels need."""
    examples = [
        create_example(np.tile([0.0, 0.0, 5.0, 5.0], (len(labels), 1)), np.array(labels), number)
        for number, labels in enumerate(classes_of_images, start=1)
    ]
    count = max((label for labels in classes_of_images for label in labels), default=0) + 1
    names = names or [f"{number}.jpg" for number in range(1, len(examples) + 1)]
    return FileSource(
        collect_annotations(examples, np.full((len(examples), 2), 10)),
        [f"{folder}/{name}" for name in names],
        [f"class {label}" for label in range(count)],
        range(count),
        [],
    )


def held(source, shares, part="val"):
    """The base names of a part, and all names of its files."""
    chosen = split(source, shares).part(part)
    return {chosen.describe(index).rsplit("/", 1)[1] for index in range(len(chosen))}


#: 60 images of class 0, 30 of class 1, 10 of both and of class 2.
OF_THREE = [(0,)] * 60 + [(1,)] * 30 + [(0, 1, 2, 2)] * 10


def test_every_class_has_its_share_and_so_have_the_images():
    parts = split(source_of(OF_THREE), Shares({"val": 0.2, "test": 0.1}))
    sizes = {name: len(chosen) for name, chosen in parts.positions.items()}
    assert sizes == {"train": 70, "val": 20, "test": 10}
    counts = {name: splits._images_of_classes(parts.part(name)).tolist() for name in sizes}
    # 70, 40 and 10 images have the classes: a fifth and a tenth of each.
    assert counts == {"train": [49, 28, 7], "val": [14, 8, 2], "test": [7, 4, 1]}
    assert str(parts) == (
        "Split: 70 train, 20 val, 10 test (data.split.val=0.2, data.split.test=0.1, seed 0); every "
        "class is in each of them."
    )
    together = np.sort(np.concatenate(list(parts.positions.values())))
    assert together.tolist() == list(range(100))


def test_half_an_image_is_one_and_less_is_told():
    parts = split(source_of([(0,)] * 95 + [(1,)] * 5 + [(2,)] * 4), Shares({"val": 0.1}))
    # .5 images of class 1 are one; .4 of class 2 are none; 10.4 of all are 10.
    assert splits._images_of_classes(parts.part("val")).tolist() == [9, 1, 0]
    assert str(parts) == (
        "Split: 94 train, 10 val (data.split.val=0.1, seed 0); 1 class is not in val, which has "
        "too few images: class 2 (4)."
    )


def test_neither_order_nor_place_of_the_files_matter():
    source, shares = source_of(OF_THREE), Shares({"val": 0.2}, seed=3)
    expected = held(source, shares)
    assert len(expected) == 20
    order = np.random.default_rng(0).permutation(100)
    assert held(source.select(order), shares) == expected
    elsewhere = source_of(OF_THREE, folder="/mnt/other/place")
    assert held(elsewhere, shares) == expected
    # Other labels of the same classes.
    swapped = source.with_labels(np.array([2, 0, 1]), ["class 1", "class 2", "class 0"], [1, 2, 0])
    assert held(swapped, shares) == expected
    assert held(source, Shares({"val": 0.2}, seed=4)) != expected


def test_a_decomposed_name_is_the_same_name():
    # As macOS and Linux write the same umlaut.
    names = [f"{letter}{n}.jpg" for n in range(10) for letter in ("\u00e4", "b")]
    other = [name.replace("\u00e4", "a\u0308") for name in names]
    of_one = held(source_of([(0,)] * 20, names), Shares({"val": 0.3}))
    of_other = held(source_of([(0,)] * 20, other), Shares({"val": 0.3}))
    assert {name.replace("a\u0308", "\u00e4") for name in of_other} == of_one


def test_an_image_more_moves_few_others():
    shares = Shares({"val": 0.2})
    before = held(source_of(OF_THREE), shares)
    names = [f"{number}.jpg" for number in range(1, 101)]
    moved = []
    for labels in ((0,), (1,), (0, 1), ()):
        for name in ("new.jpg", "another.jpg", "a third.jpg"):
            after = held(source_of([*OF_THREE, labels], [*names, name]), shares)
            moved.append(len(before ^ after))
    assert max(moved) <= 4 and np.mean(moved) < 2


def test_files_of_one_name_are_told_apart_by_their_folders():
    names = [f"{folder}/{number}/image.jpg" for folder in "ab" for number in range(20)]
    source, shares = source_of([(0,)] * 40, names), Shares({"val": 0.25})
    chosen = split(source, shares).part("val")
    expected = {chosen.describe(index) for index in range(len(chosen))}
    assert len(expected) == 10
    # Not those that come first by name.
    assert expected != {f"/data/{name}" for name in sorted(names)[:10]}
    order = np.arange(40)[::-1]
    chosen = split(source.select(order), shares).part("val")
    assert {chosen.describe(index) for index in range(len(chosen))} == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=4, max_size=60),
    st.sampled_from([0.05, 0.1, 0.25, 0.4]),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.integers(0, 5),
)
def test_what_holds_of_every_split(images, val, test, seed):
    source = source_of([tuple(sorted(labels)) for labels in images])
    shares = Shares({"val": val, "test": test}, seed)
    try:
        parts = split(source, shares)
    except DataError as error:
        assert "config.data.split" in str(error)
        return
    count = len(images)
    together = np.sort(np.concatenate(list(parts.positions.values())))
    assert together.tolist() == list(range(count))
    in_training = splits._images_of_classes(parts.part("train"))
    assert np.all(in_training[splits._images_of_classes(source) > 0] > 0)
    for name in shares.names:
        # Fewer only where the last image of a class would leave the training.
        assert len(parts.positions[name]) <= splits._rounded(shares.held[name] * count)


def test_the_same_bytes_stay_together(tmp_path):
    """Of 30 contents that lie there under two names each none is in two parts."""
    for number in range(60):
        (tmp_path / f"{number}.jpg").write_bytes(b"content %d" % (number // 2))
    source = source_of([(0,)] * 60, [f"{number}.jpg" for number in range(60)], str(tmp_path))
    parts = split(source, Shares({"val": 0.3, "test": 0.2}))
    sizes = {name: len(chosen) for name, chosen in parts.positions.items()}
    assert sizes == {"train": 30, "val": 18, "test": 12}
    for chosen in parts.positions.values():
        contents = chosen // 2
        assert np.all(np.bincount(contents)[np.unique(contents)] == 2)


def test_the_numbers_of_a_part_add_up_to_the_whole():
    part = split(source_of(OF_THREE), Shares({"val": 0.2})).part("val")
    learned = count_learned(part, Rules())
    # 60 + 30 + 10 * 4 boxes; of the 20 images 12 + 6 have one and 2 have four.
    assert learned.lines() == (
        "Split: 80 train, 20 val (data.split.val=0.2, seed 0); every class is in both.",
        "Boxes: 26 of 130 are used for evaluation; left out: 104 in other parts of "
        "config.data.split.",
        "Images: 20 of 100 are used for evaluation; left out: 80 in other parts of "
        "config.data.split.",
    )


@pytest.mark.parametrize(
    ("shares", "images", "sentence"),
    [
        (
            {"val": 0.01},
            20,
            "config.data.split.val is 0.01, which selects none of the 20 images "
            "of the training data; "
            "set --config.data.split.val=0.05 or more, or add images.",
        ),
        (
            {"val": 0.3, "test": 0.1},
            3,
            "config.data.split.test is 0.1, which selects none of the 3 images "
            "of the training data; "
            "set --config.data.split.test=0.34 or more, or add images.",
        ),
        (
            {"val": 0.9},
            1,
            "config.data.split holds out a part of the training data, but all of its images are "
            "the same: a single file, or files with the same bytes; add images.",
        ),
    ],
)
def test_a_part_without_an_image_is_told(shares, images, sentence):
    with pytest.raises(DataError) as caught:
        split(source_of([(0,)] * images), Shares(shares))
    assert str(caught.value) == sentence


def test_what_are_no_shares_is_refused():
    for held_out, sentence in (
        ({"val": 1.0}, "val is 1.0; it must be a share, at least 0 and below 1."),
        ({"val": -0.1}, "val is -0.1; it must be a share, at least 0 and below 1."),
        (
            {"val": 0.5, "test": 0.5},
            "val is 0.5 and test is 0.5, which leaves no images to train on; give smaller shares.",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            Shares(held_out)
        assert str(caught.value) == sentence
