import dataclasses

import numpy as np
import pytest

from ioub_jax.report.measurement import measure
from ioub_jax.report.object_groups import Grouping, ObjectGroup
from ioub_jax.report.overview_section import overview, told_of
from tests.report import small_report


@pytest.fixture(scope="module")
def measured():
    return measure(small_report.truth(), small_report.found(), "small", resamplings=2)


def group(name, boxes, precision):
    return ObjectGroup(name, boxes, precision, precision, None, None, np.zeros(0, bool))


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("crowding: the highest IoU with another object", "crowding (the highest IoU with another"),
        ("distance to the border, of the shorter side", "distance to the border, of the shorter s"),
    ],
)
def test_the_greatest_difference_is_told_in_the_words_of_its_chart(measured, title, words):
    groups = (group("low", 20, 0.3), group("few", 9, 0.9), group("high", 1200, 0.5))
    other = Grouping("size", "size", (group("a", 10, 0.4), group("b", 10, 0.5)))
    changed = dataclasses.replace(measured, groupings=(other, Grouping("x", title, groups)))
    text = str(overview(changed))
    assert f"Objects differ most by {words}" in text
    assert ": AP is 0.300 for low (20 objects) and 0.500 for high (1,200 objects)." in text


def test_the_head_says_what_was_measured(measured):
    counts = "2 images, 3 objects, 2 classes, 5 detections"
    assert told_of(measured) == counts
    assert told_of(dataclasses.replace(measured, origin="val")) == f"val; {counts}"
