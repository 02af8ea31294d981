import re

import pytest

from ioub_jax.report import box_overlays
from ioub_jax.report.measurement import measure
from tests.evaluation.small_data import annotation, data_set, detection
from tests.report import small_report


@pytest.fixture(scope="module")
def measured():
    return measure(small_report.truth(("cell", "c" * 60)), small_report.found(), resamplings=0)


def test_boxes_are_drawn_with_their_kind_name_and_place(measured):
    drawn = box_overlays.Overlays(measured, pictures=1).overlay("o0-0", 0)
    # Image 1: A is found by the one detection that is kept, B is missed.
    assert re.findall(r'class="b (k-\w+)" data-n="(\w+)"', drawn) == [
        ("k-truth", "g0"),
        ("k-missed", "g1"),
        ("k-true", "d0"),
    ]
    titles = re.findall("<title>(.*?)</title>", drawn)
    assert titles[0] == "object, found: cell"
    assert titles[1] == f"object, missed: {'c' * 39}…"  # in few letters, as often as it is there
    assert titles[2] == "true: cell 0.92, IoU 1.00 with cell"
    # Each outline once in its color, and once in the halo of its kind.
    assert drawn.count('d="M10 10h20v20h-20z"') == 4
    assert drawn.count('class="halo k-missed"') == 1


def test_a_picture_has_its_share_of_the_boxes(monkeypatch):
    boxes = [[3 * k, 0, 2, 2] for k in range(50)]
    truth = data_set([annotation(1, box) for box in boxes])
    found = [detection(1, box, 0.5 + k / 100) for k, box in enumerate(boxes)]
    measured = measure(truth, found, resamplings=0)
    monkeypatch.setattr(box_overlays, "MOST_BOXES", 120)
    drawn = box_overlays.Overlays(measured, pictures=2).overlay("o", 0)
    # 120 boxes of two pictures: 30 detections and 30 objects in each.
    assert drawn.count('class="b ') == 60 and 'data-more="40 boxes more"' in drawn
    # The best detection is drawn last, on top of all others.
    assert drawn.rindex('data-n="d49"') > drawn.rindex('data-n="d48"')
    assert 'data-n="d10"' not in drawn


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ([10, 50, 20, 20], ('y="50"', 'dy="-.25em"')),  # above the box
        ([10, 1, 20, 20], ('y="1"', 'dy=".95em"')),  # where no room is above, within it
        ([-30, -9, 20, 20], ('x="0" y="0"', 'dy=".95em"')),  # never outside the image
    ],
)
def test_names_stay_in_the_image(box, place):
    truth = small_report.truth()
    found = [detection(2, box, 0.9, 1), detection(2, small_report.C, 0.8, 1)]
    measured = measure(truth, found, resamplings=0)
    drawn = box_overlays.Overlays(measured, pictures=1).overlay("o", 1)
    (text,) = re.findall(r"<text ([^>]*)>cell 0.90", drawn)
    assert all(part in text for part in place)


def test_what_lies_anywhere_has_short_numbers():
    assert box_overlays.outline((1.25, 1e200, 3.0, 0.04)) == "M1.2 100000h3v0h-3z"
