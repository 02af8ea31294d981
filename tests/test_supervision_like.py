import types

import numpy as np
import pytest

from ioub_jax.supervision_like import SupervisionLike


def three():
    return SupervisionLike(
        xyxy=np.float32([[0, 0, 10, 20], [5, 5, 15, 10], [1, 2, 1, 2]]),
        confidence=np.float32([0.9, 0.5, 0.1]),
        class_id=np.array([1, 0, 1]),
        data={"class_name": np.array(["dog", "cat", "dog"])},
    )


def test_some_of_them_are_chosen_as_arrays_are():
    found = three()
    assert len(found) == 3 and not found.is_empty()
    for index, expected in (
        (found.class_id == 1, [0, 2]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        (1, [1]),
        ([], []),
        (found.confidence > 2, []),
    ):
        some = found[index]
        np.testing.assert_array_equal(some.xyxy, found.xyxy[expected])
        np.testing.assert_array_equal(some.confidence, found.confidence[expected])
        assert some["class_name"].tolist() == [found["class_name"][i] for i in expected]
        assert some.tracker_id is None and some.mask is None
    assert found[[]].is_empty()
    assert found["absent"] is None and found.get_data("class_name")[1] == "cat"
    found.tracker_id = np.array([7, 8, 9])
    assert found[1].tracker_id.tolist() == [8]


def test_each_has_six_parts():
    box, mask, confidence, class_id, tracker_id, data = list(three())[1]
    assert box.tolist() == [5, 5, 15, 10] and mask is None and tracker_id is None
    assert (float(confidence), int(class_id), data["class_name"]) == (0.5, 0, "cat")


def test_sizes_and_places_of_boxes():
    found = three()
    assert found.area.tolist() == found.box_area.tolist() == [200, 50, 0]
    np.testing.assert_array_equal(found.box_aspect_ratio, [0.5, 2.0, np.nan])
    position = types.SimpleNamespace(value="BOTTOM_CENTER")  # as its enumeration has them
    assert found.get_anchors_coordinates(position).tolist() == [[5, 20], [10, 10], [1, 2]]
    assert found.get_anchors_coordinates("CENTER").tolist() == [[5, 10], [10, 7.5], [1, 2]]
    with pytest.raises(ValueError, match="A box has no CENTER_OF_MASS; it has CENTER, CENTER_L"):
        found.get_anchors_coordinates("CENTER_OF_MASS")
