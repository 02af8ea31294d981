import re

import numpy as np
import pytest

from ioub_jax.report import page, run_pairs
from ioub_jax.report.image_readers import FolderImages
from ioub_jax.report.measurement import measure
from tests.evaluation.small_data import annotation, data_set, detection
from tests.report import small_report
from tests.report.page_parser import PageParser

EVIL = (
    "</script><script>alert(1)</script>",
    "\" onmouseover='alert(1)' x=\"",
    "a\x00b\x1b[31m\u202egnp\nx",
    "n" * 500,
    "",
    "\udcff&amp;<!-- ",
)


@pytest.fixture(scope="module")
def measured():
    return measure(small_report.truth(), small_report.found(), "small", resamplings=10)


def parsed(measured, reader=None, pair=None, **options):
    made = page.make_page(measured, reader, pair, **options)
    read = PageParser(made.text)
    assert read.problems == [] and read.outside == [] and read.broken == []
    made.text.encode()  # no lone surrogates
    return made, read


def test_a_page_has_all_parts_and_nothing_from_outside(measured, tmp_path):
    small_report.write_images(tmp_path)
    made, read = parsed(measured, FolderImages(tmp_path, measured.images))
    assert made.problems == ()
    assert {
        "overview", "errors", "classes", "confusion", "scores", "objects", "localization",
        "pictures", "images", "worst", "best", "false-background", "viewer",
    } <= set(read.ids)  # fmt: skip
    # Both images are shown as wholes in all galleries, so each is there once.
    assert made.text.count("data:image/jpeg") == 2
    # Worst: 2. Missed: B and C. Best: image 1. Of false detections none is kept.
    assert made.pictures == read.tags.count("figcaption") - _charts(read) == 5
    assert not re.search(r"(?:src|href)=.?(?:https?:)?//|@import|url\(", made.text)


def _charts(read):
    """Cards have a caption as well: 3 + 2 of scores, 4 of objects, 1 of localization."""
    assert read.tags.count("svg") > 10
    return 10


def test_numbers_stand_in_the_page(measured):
    _, read = parsed(measured)
    text = " ".join(read.texts)
    assert "2 images, 3 objects, 2 classes, 5 detections" in text
    # The cat that is taken for a cell, found: its class gains 1, the mean 1/2.
    assert "Most is lost by classification errors" in re.sub(" +", " ", text)
    assert "0.865" in read.texts  # the threshold, midway between .92 and .81
    assert "no detection overlaps it" not in text  # C is misplaced, B is confused
    assert "only an IoU of 0.25, score 0.63" in text
    assert "taken for " in text


def test_names_are_text_whatever_is_in_them():
    names = EVIL
    truth = data_set(
        [annotation(1, [10 * k, 0, 10, 10], k + 1) for k in range(len(names))],
        images=(1,),
        categories=names,
    )
    truth["images"][0]["file_name"] = "<img src=x onerror=alert(1)>.png"
    found = [detection(1, [10 * k, 0, 10, 10], 0.9, (k + 1) % 6 + 1) for k in range(len(names))]
    made, read = parsed(measure(truth, found, '<b>"run"</b>', resamplings=2))
    assert read.tags.count("script") == 1 and "img" not in read.tags
    assert not [name for name in read.attributes if name.startswith("on")]
    text = "".join(read.texts)
    assert "</script><script>alert(1)</script>" in text
    assert r"a\x00b\x1b[31m\u202egnp\nx" in text
    assert "n" * 39 + "…" in text and "n" * 41 not in text
    assert "n" * 500 in read.attributes["title"]
    assert "(no name)" in text and r"\udcff&amp;<!-- " in text
    assert '<b>"run"</b>' in text
    assert "\x00" not in made.text and "\x1b" not in made.text and "\u202e" not in made.text


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (data_set([], images=()), []),
        (data_set([]), []),
        (data_set([], categories=()), []),
        (data_set([annotation(1, [0, 0, 10, 10])]), []),
        (data_set([]), [detection(1, [0, 0, 10, 10], 0.9)]),
        (data_set([annotation(1, [0, 0, 0, 0])]), [detection(1, [0, 0, 0, 0], 0.9)]),
        (data_set([annotation(1, [0, 0, 9, 9], iscrowd=1)]), [detection(1, [0, 0, 9, 9], 0.9)]),
        (
            data_set([annotation(1, [-1e200, 0, 1e200, 1e200])], images=(1,)),
            [detection(1, [-1e200, 0, 1e200, 1e200], -5.0)],
        ),
    ],
)
def test_nothing_much_is_a_page_too(truth, found):
    measured = measure(truth, found, resamplings=3)
    made, _ = parsed(measured, None, run_pairs.compare_runs(measured, measured))
    assert "nan" not in re.sub(r"<script>.*</script>", "", made.text, flags=re.DOTALL).lower()


def test_two_runs_stand_side_by_side(measured):
    better = [*small_report.found()[:1], detection(2, small_report.C, 0.9, 1)]
    other = measure(small_report.truth(), better, "better <one>", resamplings=10)
    pair = run_pairs.compare_runs(measured, other)
    made, read = parsed(measured, None, pair)
    assert {"against", "moved-better", "moved-worse", "o0-1", "o1-1"} <= set(read.ids)
    text = re.sub(" +", " ", " ".join(read.texts))
    assert "0 of 2 images cost at least 0.1 less, 1 at least as much more, 1 stay" in text
    assert "better <one>" in text
    # Image 2 with both runs' detections.
    assert made.text.count('data-overlay="o1-1"') == 1


def test_a_page_is_as_large_as_it_may_be():
    # 40 images of noise, which JPEG cannot make small, 200 objects in each.
    generator = np.random.default_rng(0)
    images = range(1, 41)
    boxes = np.concatenate(
        [generator.uniform(0, 500, (200, 2)), generator.uniform(5, 80, (200, 2))], axis=1
    ).tolist()
    truth = data_set([annotation(k, box) for k in images for box in boxes], images=images)

    class Noise:
        def read(self, number):
            return generator.integers(0, 256, (640, 640, 3), np.uint8)

    measured = measure(truth, [], resamplings=0)
    made = page.make_page(measured, Noise(), pictures=20, most_bytes=1_000_000)
    pixels = sum(map(len, re.findall(r"base64,[\w+/=]+", made.text)))
    assert 500_000 < pixels < 1_000_000 * 4 / 3 + 40 * made.pictures
    # All that is not of the pictures is small.
    assert len(made.text) - pixels < 5_000_000


def test_no_pictures_are_asked_for(measured):
    made, read = parsed(measured, pictures=0)
    assert made.pictures == 0 and "thumb" not in read.attributes["class"]
