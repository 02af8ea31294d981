import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax.data.sources.coco_ids import LEFT_OUT, UNKNOWN, Ids, Places

LOWEST, HIGHEST = -(2**63), 2**63 - 1
INTEGERS = st.integers(-3, 9) | st.sampled_from([LOWEST, HIGHEST, 2**40]) | st.integers()
WRITTEN = INTEGERS | st.sampled_from([1.0, 2.5, "1", "name", " 2 ", None, "", 1e30])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-2, 6) | st.sampled_from([LOWEST, HIGHEST]), unique=True, max_size=6),
    st.lists(INTEGERS, min_size=1, max_size=9) | st.lists(WRITTEN, min_size=1, max_size=9),
)
def test_many_ids_are_found_as_each_is(numbers, written):
    places = {number: place for place, number in enumerate(numbers)}
    one_by_one = Places(places).find(Ids(written))
    at_once = Places(places).find(Ids(written, is_typed=True))
    np.testing.assert_array_equal(at_once, one_by_one)
    of_array = Places.of_numbers(np.array(numbers, np.int64)).find(Ids(written, is_typed=True))
    np.testing.assert_array_equal(of_array, one_by_one)
    np.testing.assert_array_equal(Ids(written, is_typed=True).kinds(), Ids(written).kinds())
    meanings = [
        1 if value in (1, 1.0, "1") else 2 if value == " 2 " else value for value in written
    ]
    expected = [
        places.get(value, UNKNOWN) if isinstance(value, int) else UNKNOWN for value in meanings
    ]
    assert one_by_one.tolist() == expected


@pytest.mark.parametrize("numbers", [[5, 7, 6], [5, 10**12, -4]])  # by a table, by search
def test_places_are_those_in_the_list(numbers):
    ids = Ids([*numbers, 8, -(10**15), 10**15, 0], is_typed=True)
    expected = [0, 1, 2, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
    assert Places.of_numbers(np.array(numbers)).find(ids).tolist() == expected
    places = Places({numbers[0]: 0, numbers[1]: LEFT_OUT, "name": 1})
    assert places.find(ids).tolist()[:3] == [0, LEFT_OUT, UNKNOWN]
    assert places.find(Ids(["name", "other", True, [1], {}, numbers[0]])).tolist() == [
        1, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0,
    ]  # fmt: skip


def test_no_ids_at_all():
    assert Places({}).find(Ids([1], is_typed=True)).tolist() == [UNKNOWN]
    assert Places({}).find(Ids([])).tolist() == []


def test_chosen_ids():
    for is_typed in (True, False):
        ids = Ids([4, 5, 6], is_typed)
        assert ids.select(np.array([2, 0])).meanings() == [6, 4]
        assert ids.select(slice(None)).meanings() == [4, 5, 6]
