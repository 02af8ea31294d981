"""Whole data sets with one thing wrong each, and what the audit makes of it."""

import copy
import json

import numpy as np
import pytest

from ioub_jax.data import audit
from ioub_jax.data.audit import HEADINGS, audit_report
from ioub_jax.data.sources import FileSource, Rules
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import Census, create_example
from ioub_jax.data.sources.unlearned import Origin
from ioub_jax.from_config import audit_parts
from ioub_jax.from_config.audit_parts import audit_data_set
from ioub_jax.from_config.data_parts import create_source
from tests.data.audit import data_sets


def findings(config, **options):
    """kind -> (count, must be fixed) of what is found in the training split."""
    found = audit_data_set(config, "train", **options)
    assert all(finding.kind in HEADINGS for finding in found.findings)
    must = [finding.must_be_fixed for finding in found.findings]
    assert must == sorted(must, reverse=True)
    return {finding.kind: (finding.count, finding.must_be_fixed) for finding in found.findings}


def audit_coco(folder, content, on_error="raise", **options):
    data_sets.write_coco(folder, content)
    return findings(data_sets.coco_config(folder, on_error), **options)


@pytest.fixture
def content():
    return data_sets.coco_content()


def test_a_good_coco_file_has_nothing_to_tell(tmp_path, content):
    assert audit_coco(tmp_path, content, decode=True) == {}


def duplicate_image(content):
    content["images"].append(dict(content["images"][0]))


def unknown_category(content):
    content["annotations"][3]["category_id"] = 77


def no_area(content):
    content["annotations"][3]["bbox"][2] = 0


def outside(content):
    content["annotations"][3]["bbox"][0] = 500


def bad_box(content):
    content["annotations"][3]["bbox"][3] = "wide"


def missing_image(content):
    content["images"][2]["file_name"] = "gone.jpg"


def image_size(content):
    content["images"][2]["width"] += 7


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    "damage",
    [
        duplicate_image,
        unknown_category,
        no_area,
        outside,
        bad_box,
        missing_image,
        image_size,
    ],
)
def test_what_training_stops_at_must_be_fixed_unless_it_is_skipped(
    tmp_path, content, damage, on_error
):
    damage(content)
    data_sets.write_coco(tmp_path, content, images=4)
    config = data_sets.coco_config(tmp_path, on_error)
    found = findings(config)
    assert found[damage.__name__] == (1, on_error == "raise")
    assert all(not must for _, must in found.values()) == (on_error == "skip")
    assert config.data.on_error == on_error


def test_all_problems_are_found_at_once(tmp_path, content):
    for damage in (no_area, duplicate_image, image_size):
        damage(content)
    data_sets.write_coco(tmp_path, content, images=4)
    found = findings(data_sets.coco_config(tmp_path))
    assert {"no_area", "duplicate_image", "image_size"} <= found.keys()


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_corners_as_width_and_height_must_be_fixed_even_if_skipped(tmp_path, content, on_error):
    data_sets.write_as_corners(content)
    found = audit_coco(tmp_path, content, on_error)
    assert found["format"] == (1, True)


def test_categories_from_zero_must_be_fixed(tmp_path, content):
    for annotation in content["annotations"]:
        annotation["category_id"] -= 1
    found = audit_coco(tmp_path, content, "skip")
    assert found["format"] == (1, True)
    assert found["unknown_category"] == (4, False)


def test_what_is_worth_knowing(tmp_path, content):
    content["categories"].append({"id": 3, "name": "cow"})
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 2]
    assert audit_coco(tmp_path, content) == {
        "empty_class": (1, True),
        "empty_image": (1, False),
    }


def test_more_objects_than_slots(tmp_path, content):
    data_sets.write_coco(tmp_path, content)
    config = data_sets.coco_config(tmp_path)
    config.data.max_boxes = 1
    # The larger dog is kept in each.
    assert findings(config) == {"too_many_objects": (4, False), "empty_class": (1, True)}
    config.data.allow_empty_classes = True
    empty, few = audit_data_set(config, "train").findings
    assert "--config.data.max_boxes=2." in few.advice and not empty.must_be_fixed
    assert "cat: all 4 boxes are beyond config.data.max_boxes). Keep" in empty.advice
    assert "Keep every box: --config.data.max_boxes=2; or" in empty.advice


def test_no_objects_must_be_fixed_for_training_alone(tmp_path, content):
    content["annotations"] = []
    data_sets.write_coco(tmp_path, content)
    config = data_sets.coco_config(tmp_path)
    assert findings(config) == {"nothing_learned": (1, True)}
    config.data.coco.test_annotations = "train.json"
    config.data.coco.test_images = "images"
    assert not audit_data_set(config, "test").must_be_fixed


def test_a_data_set_that_cannot_be_opened_is_one_finding(tmp_path):
    found = audit_data_set(data_sets.coco_config(tmp_path, "skip"), "train")
    (finding,) = found.findings
    assert found.data is None and finding.must_be_fixed
    assert str(tmp_path / "train.json") in finding.sentences[0]
    json.dumps(audit_report.to_json(found), allow_nan=False)


def test_decoding_tells_each_broken_image_once(tmp_path, content):
    data_sets.write_coco(tmp_path, content)
    good = (tmp_path / "images" / "1.jpg").read_bytes()
    (tmp_path / "images" / "2.jpg").write_bytes(good[: len(good) * 3 // 4])
    (tmp_path / "images" / "3.jpg").write_bytes(b"no image")
    config = data_sets.coco_config(tmp_path)
    assert findings(config) == {"unreadable_image": (1, True)}
    assert findings(config, decode=True) == {"unreadable_image": (2, True)}


def test_the_verdict_is_what_training_makes_of_it(tmp_path, content):
    """Whatever opens under 'raise' needs no fix, and what does not does."""
    for number, damage in enumerate((lambda content: None, no_area, outside, duplicate_image)):
        folder = tmp_path / str(number)
        damaged = copy.deepcopy(content)
        damage(damaged)
        data_sets.write_coco(folder, damaged, images=4)
        config = data_sets.coco_config(folder)
        try:
            create_source(config.data, "train")
        except ValueError:
            opened = False
        else:
            opened = True
        assert audit_data_set(config, "train").must_be_fixed != opened


def test_voc_boxes_with_width_and_height(tmp_path):
    # Read as corners, the boxes end before they begin.
    boxes = [(30 + n, 10, 20, 20) for n in range(8)] + [(34, 24 - n, 30, 24) for n in range(8)]
    data_sets.write_voc(tmp_path, boxes)
    found = findings(data_sets.voc_config(tmp_path, "skip"))
    assert found["format"] == (1, True)


def test_voc_boxes_from_zero(tmp_path):
    data_sets.write_voc(tmp_path, [(0, 10, 20, 30), (0, 0, 30, 24)])
    config = data_sets.voc_config(tmp_path)
    assert findings(config) == {}  # what they are is seen
    config.data.voc.pixels = "devkit"
    found = audit_data_set(config, "train")
    assert "config.data.voc.pixels='zero_based'" in found.findings[0].sentences[0]
    assert found.findings[0].must_be_fixed


def test_voc_boxes_that_tell_nothing_of_their_pixels(tmp_path):
    data_sets.write_voc(tmp_path, [(5, 10, 20, 30), (6, 7, 30, 24)])
    found = audit_data_set(data_sets.voc_config(tmp_path), "train")
    assert [finding.kind for finding in found.findings] == ["pixel_origin"]
    assert "pixels are read as 'devkit'" in found.findings[0].sentences[0]


def test_the_report_has_all_sentences_for_machines_and_some_for_people(tmp_path, content):
    for annotation in content["annotations"]:
        annotation["bbox"][2] = 0
    content["annotations"][0]["bbox"][2] = 5
    data_sets.write_coco(tmp_path, content)
    found = audit_data_set(data_sets.coco_config(tmp_path), "train")
    entry = next(e for e in audit_report.to_json(found)["findings"] if e["kind"] == "no_area")
    assert entry["count"] == len(entry["sentences"]) == 7
    text = audit_report.format_findings(found.findings)
    assert text.startswith("MUST BE FIXED\n  boxes without area: 7\n    - ")
    assert "    ... and 4 more" in text
    assert "WORTH KNOWING" in text
    statistics = audit_report.format_statistics(found.data.statistics)
    assert "4 images, 3 of them without objects" in statistics
    assert "64x48 (4)" in statistics


def test_an_unknown_on_error_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be 'raise' or 'skip'"):
        audit_data_set(data_sets.coco_config(tmp_path, "ignore"), "train")


def test_nothing_wrong_is_said():
    assert audit_report.format_findings([]) == "No problems were found."


def test_shapes_can_be_audited_too(tmp_path):
    config = data_sets.coco_config(tmp_path)
    config.data.source = "shapes"
    config.data.shapes.update({"num_train": 20, "image_size": (64, 64)})
    assert not any(must for _, must in findings(config, decode=True).values())


def test_what_reading_puts_right_is_worth_knowing(tmp_path, content, monkeypatch):
    data_sets.write_coco(tmp_path, content)
    opened = create_source(data_sets.coco_config(tmp_path).data, "train")
    opened.census = Census(4, 9, 0, {"clipped": 1_200, "renumbered": 0, "repeated": 1})
    monkeypatch.setattr(audit_parts, "open_source", lambda *_, **__: opened)
    config = data_sets.coco_config(tmp_path)
    assert findings(config) == {"clipped": (1_200, False), "repeated": (1, False)}
    text = audit_report.format_findings(audit_data_set(config, "train").findings)
    assert "  boxes that stick out of their image, clipped to it: 1,200" in text


def test_areas_that_are_1_everywhere(tmp_path, content):
    for annotation in content["annotations"]:
        annotation["area"] = 1.0
    assert audit_coco(tmp_path, content) == {"odd_area": (8, False)}


def test_a_class_that_validation_lacks_is_no_mistake(tmp_path, content):
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 1]
    data_sets.write_coco(tmp_path, content)
    config = data_sets.coco_config(tmp_path)
    config.data.coco.update({"val_annotations": "train.json", "val_images": "images"})
    (finding,) = audit_data_set(config, "val").findings
    assert (finding.kind, finding.must_be_fixed) == ("empty_class", False)
    assert findings(config) == {"empty_class": (1, True)}
    config.data.allow_empty_classes = True
    assert findings(config) == {"empty_class": (1, False)}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_data_set_of_ones_own_needs_no_configuration(tmp_path, on_error):
    boxes = [[0, 0, 9, 9], [20, 20, 30, 40]]
    annotations = collect_annotations(
        [create_example(boxes, [0, 0], image_id=1)], np.array([data_sets.SIZE])
    )
    source = FileSource(annotations, [str(tmp_path / "1.jpg")], ("cat", "dog"), (1, 2), [])
    use = audit.Use(
        split="train",
        origin=Origin("mine"),
        rules=Rules(max_boxes=1, verb="used for training"),
        on_error=on_error,
        max_boxes=1,
        max_detections=1,
        is_for_coco=False,
        allow_empty_classes=True,
    )
    found = audit.audit_data_set(source, use)
    assert found.must_be_fixed == (on_error == "raise")
    kinds = {finding.kind: finding for finding in found.findings}
    assert kinds.keys() == {"missing_image", "empty_class", "too_many_objects", "dense_image"}
    assert found.data.learned.lines()[0] == (
        "Boxes: 1 of 2 are used for training; left out: 1 beyond config.data.max_boxes."
    )
    # There is no option to leave the class out by, and none is needed to keep it.
    assert kinds["empty_class"].advice.endswith("box to learn (dog: no boxes).")
