import numpy as np
import pytest

from ioub_jax.data.sources import ShapesSource
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.chosen_images import ChosenImages, evenly, to_look_at
from ioub_jax.data.sources.example import create_example


def annotations(*labels, ignored=()):
    """Images with an object of each of these labels."""
    examples = [
        create_example(
            np.tile([0, 0, 9, 9], (len(of_image), 1)),
            np.array(of_image),
            number,
            ignored=np.full(len(of_image), number in ignored),
        )
        for number, of_image in enumerate(labels)
    ]
    return collect_annotations(examples, np.full((len(labels), 2), 10))


def test_evenly_takes_the_ends_and_no_position_twice():
    assert evenly(np.arange(100), 3).tolist() == [0, 49, 99]
    assert evenly(np.array([5, 7]), 9).tolist() == [5, 7]
    assert evenly(np.array([]), 3).tolist() == evenly(np.array([3]), 0).tolist() == []


def test_images_with_objects_from_all_over():
    of = annotations([0], [], [0], [1], [1], ignored=[4])
    assert to_look_at(of, 2).tolist() == [0, 3]
    assert to_look_at(of, 9).tolist() == [0, 2, 3]
    nothing = annotations([], [], [])
    assert to_look_at(nothing, 2).tolist() == to_look_at(nothing, 2, per_class=9).tolist() == [0, 2]


def test_so_many_of_each_class():
    # Sorted by class, as such data is; image 8 has both 0 and 2.
    of = annotations([0], [0], [0], [0], [1], [1], [1], [2], [0, 2])
    # Class 2 has images 7 and 8, of which 8 counts for class 0, too.
    assert to_look_at(of, 1, per_class=2).tolist() == [0, 4, 6, 7, 8]
    assert to_look_at(of, 1, per_class=1).tolist() == [0, 4, 7]
    assert to_look_at(of, 1, per_class=99).tolist() == list(range(9))


def test_the_first_ones_of_an_order():
    of = annotations([0], [0], [1], [], [0, 1])
    order = np.array([3, 4, 1, 0, 2])
    assert to_look_at(of, 2, order=order).tolist() == [3, 4]  # one without objects, too
    assert to_look_at(of, 2, per_class=1, order=order).tolist() == [4]
    assert to_look_at(of, 2, per_class=2, order=order).tolist() == [4, 1, 2]


def test_chosen_images_are_those_of_the_source():
    source = ShapesSource(num_images=5, image_size=(32, 48), seed=0, split="val")
    chosen = ChosenImages(source, np.array([3, 1]))
    assert len(chosen) == 2 and chosen.channels == 3
    assert [chosen.image_id(index) for index in range(2)] == [
        source.image_id(3),
        source.image_id(1),
    ]
    assert chosen.describe(0) == source.describe(3)
    np.testing.assert_array_equal(chosen[1].image, source[1].image)
    np.testing.assert_array_equal(chosen.load(0, (8, 8)).boxes, source.load(3, (8, 8)).boxes)
    np.testing.assert_array_equal(chosen.annotations(0).labels, source.annotations(3).labels)
    assert chosen.sizes.tolist() == [[32, 48]] * 2 and chosen.classes == source.classes
    with pytest.raises(IndexError):
        chosen.image_id(2)
