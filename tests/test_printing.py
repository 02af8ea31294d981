import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax import files
from ioub_jax.data.audit import audit_report
from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.sources.learned import ClassCount
from ioub_jax.evaluation import coco_metrics, voc_metrics
from ioub_jax.plotting import draw_on_image
from ioub_jax.printing import printable, printable_lines

NASTY = "a|b\n# forged\x1b[2J\u202egnp\ud800\x9b1m"
SHOWN = r"a|b\n# forged\x1b[2J\u202egnp\ud800\x9b1m"


@pytest.mark.parametrize(
    "name",
    [
        "nut",
        "größe",
        "漢字",
        "Ёлка",
        "a\u3000b",
        "a\u00a0b",
        "न\u200dी",
        "\u0645\u06cc\u200c\u062e",
        "🔩",
        "",
    ],
)
def test_names_of_every_script_stay_as_they_are(name):
    assert printable(name) == name


def test_what_is_no_letter_is_shown_as_its_escape():
    assert printable(NASTY) == SHOWN
    assert printable_lines("a\x07\nb") == "a\\x07\nb"


@given(st.text(st.characters(codec=None)))
def test_every_text_becomes_one_line_that_can_be_written(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert printable(shown) == shown


def test_names_do_nothing_in_sentences_tables_and_pictures(tmp_path):
    assert str(DataError(f"{NASTY}: is missing.", "missing_image")) == f"{SHOWN}: is missing."
    assert str(Problem("missing_image", f"{NASTY}: is missing.")) == f"{SHOWN}: is missing."
    finding = Finding("empty_class", False, 1, f"{NASTY}.", (NASTY,))
    assert audit_report.format_findings([finding]).splitlines()[2:] == [
        f"    {SHOWN}.",
        f"    - {SHOWN}",
    ]
    (_, row) = audit_report._format_classes([ClassCount(NASTY, *range(8))]).splitlines()
    assert row.startswith(SHOWN)
    ground_truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": NASTY}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81}
        ],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}]
    for table in (
        coco_metrics.format_table(coco_metrics.evaluate_detections(ground_truth, found)),
        voc_metrics.format_voc_table(voc_metrics.evaluate_voc(ground_truth, found)),
    ):
        assert SHOWN in table and "\n# forged" not in table
        files.write_text(tmp_path / "table.txt", table)
    picture = draw_on_image(np.zeros((40, 40, 3), np.uint8), [[1, 1, 9, 9]], [0], [0.5], [NASTY])
    assert picture.shape == (40, 40, 3)


def test_json_keeps_what_a_name_is_and_is_utf_8(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"name": NASTY, "größe": ["\udcff"]})
    assert r"\ud800" in path.read_bytes().decode() and "größe" in path.read_bytes().decode()
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": NASTY, "größe": ["\udcff"]}
