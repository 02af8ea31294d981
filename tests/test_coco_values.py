import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax.coco_values import area_of, flag_of, id_of, rotation_of, side_of, upright_corners


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        *((value, 1) for value in (1, 1.0, "1", " 1 ", "1.0", "+1", "01", "1.", np.int32(1))),
        (np.float64(1), 1),
        (-3, -3),
        ("-3", -3),
        (2**63 - 1, 2**63 - 1),
        (str(2**63 - 1), 2**63 - 1),
        (2**63, None),
        (1e300, None),
        *((name, name) for name in ("img_001", "1.5", "1e3", "0x1", "1_0", "x y", "\u0661")),
        (str(2**63), str(2**63)),
        ("9" * 5000, "9" * 5000),
        *(
            (value, None)
            for value in (None, "", " ", 1.5, float("nan"), True, False, [1], {}, b"1")
        ),
        *((value, None) for value in ("a\nb", "\ud800", "a\0", "\u202ea")),
        (
            "\u0645\u06cc\u200c\u0631",
            "\u0645\u06cc\u200c\u0631",
        ),  # a zero-width non-joiner, as Persian needs
    ],
)
def test_an_id_is_an_integer_or_a_name(written, meaning):
    found = id_of(written)
    assert found == meaning and type(found) is type(meaning)


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        *((value, False) for value in (None, "", " ", 0, 0.0, "0", "0.0", False, "False")),
        *((value, True) for value in (1, 1.0, "1", " 1.0", True, "true", np.True_, np.int64(1))),
    ],
)
def test_a_flag_that_can_mean_one_thing(written, meaning):
    assert flag_of(written) is meaning


@pytest.mark.parametrize("written", [2, -1, 0.5, "2", "yes", "01", float("nan"), [1], {}, "1,0"])
def test_a_flag_that_cannot(written):
    with pytest.raises(ValueError, match="is neither 0 nor 1"):
        flag_of(written)


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        *((value, None) for value in (None, "", -1, "-1", -0.5)),
        *((value, 12.5) for value in (12.5, "12.5", " 12.50 ", "1.25e1", np.float32(12.5))),
        (0, 0.0),
        (10**12, 1e12),
    ],
)
def test_an_area_that_can_mean_one_thing(written, meaning):
    assert area_of(written) == meaning


@pytest.mark.parametrize(
    "written", ["big", float("nan"), float("inf"), "nan", 1e300, 10**400, True, [1], "1_0", "1,5"]
)
def test_an_area_that_cannot(written):
    with pytest.raises(ValueError, match="is not a finite number of square pixels"):
        area_of(written)


@pytest.mark.parametrize(
    ("written", "meaning"), [(None, None), ("", None), (0, None), ("0", None), (48.0, 48), ("9", 9)]
)
def test_a_side_that_can_mean_one_thing(written, meaning):
    assert side_of(written) == meaning


@pytest.mark.parametrize("written", [-1, 1.5, "tall", True, float("nan"), 2**31, [4]])
def test_a_side_that_cannot(written):
    with pytest.raises(ValueError, match="not a size"):
        side_of(written)


@pytest.mark.parametrize(
    ("annotation", "degrees"),
    [
        ({}, 0),
        ({"attributes": {"rotation": 90.0, "occluded": False}}, 90),
        ({"rotation": "-30"}, 330),
        ({"attributes": {"rotation": 360}}, 0),
        ({"attributes": {"rotation": "left"}}, 0),
        ({"attributes": None, "rotation": None}, 0),
        ({"attributes": [1]}, 0),
        ({"rotation": float("nan")}, 0),
    ],
)
def test_a_rotation_is_in_degrees(annotation, degrees):
    assert rotation_of(annotation) == degrees


def test_a_quarter_turn_exchanges_the_sides():
    # [18, 34, 60, 12] has the center (48, 40); turned it is 12 wide and 60 high.
    corners = np.array([[18.0, 34, 78, 46]])
    assert upright_corners(corners, np.array([90.0])).tolist() == [[42, 10, 54, 70]]
    assert upright_corners(corners, np.array([270.0])).tolist() == [[42, 10, 54, 70]]
    assert upright_corners(corners, np.array([180.0])).tolist() == corners.tolist()


def test_an_eighth_of_a_turn():
    # A square of side 2 around (0, 0) has its corners sqrt(2) from there.
    (box,) = upright_corners(np.array([[-1.0, -1, 1, 1]]), np.array([45.0]))
    np.testing.assert_allclose(box, [-(2**0.5), -(2**0.5), 2**0.5, 2**0.5], rtol=1e-12)


@given(
    st.tuples(*[st.floats(-100, 100)] * 2, *[st.floats(0.5, 100)] * 2),
    st.floats(0, 360),
)
def test_the_upright_box_is_what_the_turned_corners_span(box, degrees):
    x, y, width, height = box
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    halves = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * [width / 2, height / 2]
    turned = [x + width / 2, y + height / 2] + halves @ matrix.T
    corners = np.array([[x, y, x + width, y + height]])
    (found,) = upright_corners(corners, np.array([degrees]))
    np.testing.assert_allclose(found, [*turned.min(axis=0), *turned.max(axis=0)], atol=1e-9)
