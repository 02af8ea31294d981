"""The whole command: exit codes, check.json and the contact sheet."""

import json

import cv2
import pytest

from tests import tiny
from tests.data.audit import data_sets


def check(root, *arguments):
    return tiny.run(
        "check_data",
        "--config=configs/coco_folder_retinanet.py",
        f"--config.data.coco.root={root}",
        "--config.data.coco.train_annotations=train.json",
        "--config.data.coco.train_images=images",
        *arguments,
    )


def test_a_good_data_set_exits_with_0_and_is_drawn(tmp_path):
    data_sets.write_coco(tmp_path / "data", data_sets.coco_content())
    code, output = check(tmp_path / "data", f"--output={tmp_path / 'report'}", "--decode")
    assert code == 0, output
    assert "4 images, 0 of them without objects" in output
    assert "Boxes that no anchor reaches at IoU 0.5: 0.0% of 8" in output
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert not found["must_be_fixed"]
    assert (found["source"], found["split"], found["decoded"]) == ("coco", "train", True)
    assert found["statistics"]["boxes"] == found["anchors"]["all"]["boxes"] == 8
    assert found["canvases"]["canvases"] == [[480, 480]]
    sheet = cv2.imread(str(tmp_path / "report" / "contact_sheet.png"))
    assert sheet.shape[1] > 600


def test_a_wrong_format_exits_with_1_and_a_colleagues_sentence(tmp_path):
    content = data_sets.coco_content()
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    data_sets.write_coco(tmp_path / "data", content)
    code, output = check(
        tmp_path / "data", f"--output={tmp_path / 'report'}", "--config.data.on_error=skip"
    )
    assert code == 1
    assert "Your boxes look like [xmin, ymin, xmax, ymax]: read as COCO's" in output
    assert "Traceback" not in output
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert found["must_be_fixed"]
    assert "no_area" not in {entry["kind"] for entry in found["findings"]}


@pytest.mark.parametrize(("on_error", "expected"), [("raise", 1), ("skip", 0)])
def test_a_box_without_area_is_to_be_fixed_unless_it_is_skipped(tmp_path, on_error, expected):
    content = data_sets.coco_content()
    content["annotations"][0]["bbox"][2] = 0
    data_sets.write_coco(tmp_path, content)
    code, output = check(tmp_path, f"--config.data.on_error={on_error}")
    assert code == expected, output
    assert "boxes without area: 1" in output
    assert ("set config.data.on_error='skip'" in output) == (on_error == "raise")


def test_a_missing_folder_exits_with_1_and_a_sentence(tmp_path):
    code, output = check(tmp_path / "nowhere", f"--output={tmp_path / 'report'}")
    assert code == 1
    assert "MUST BE FIXED" in output and "Traceback" not in output
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert found["statistics"] is None
    assert not (tmp_path / "report" / "contact_sheet.png").exists()


def test_real_cells_are_checked(shared_data):
    code, output = tiny.run(
        "check_data",
        "--config=configs/voc_folder_retinanet.py",
        f"--config.data.voc.root={shared_data / 'bccd'}",
    )
    assert code == 1, output
    assert "MUST BE FIXED" in output and "classes: Platelets, RBC, WBC" in output
    assert "2,804 boxes" in output and "boxes without area: 1" in output
    assert "near-certain" not in output
