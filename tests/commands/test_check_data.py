"""The whole command: exit codes, check.json and the contact sheet."""

import json

import cv2
import pytest

from tests.data.audit import data_sets
from tests.data.yolo_folder import write


def check(commands, root, *arguments):
    return commands(
        "check_data",
        "--config=configs/coco_folder_retinanet.py",
        f"--config.data.coco.root={root}",
        "--config.data.coco.train_annotations=train.json",
        "--config.data.coco.train_images=images",
        *arguments,
    )


def test_a_good_data_set_exits_with_0_and_is_drawn(commands, tmp_path):
    data_sets.write_coco(tmp_path / "data", data_sets.coco_content())
    code, output = check(commands, tmp_path / "data", f"--output={tmp_path / 'report'}", "--decode")
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


def test_a_wrong_format_exits_with_1_and_a_colleagues_sentence(commands, tmp_path):
    content = data_sets.coco_content()
    data_sets.write_as_corners(content)
    data_sets.write_coco(tmp_path / "data", content)
    code, output = check(
        commands,
        tmp_path / "data",
        f"--output={tmp_path / 'report'}",
        "--config.data.on_error=skip",
    )
    assert code == 1
    assert "Your boxes look like [xmin, ymin, xmax, ymax]: read as COCO's" in output
    assert "Traceback" not in output
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert found["must_be_fixed"]
    assert "no_area" not in {entry["kind"] for entry in found["findings"]}


@pytest.mark.parametrize(("on_error", "expected"), [("raise", 1), ("skip", 0)])
def test_a_box_without_area_is_to_be_fixed_unless_it_is_skipped(
    commands, tmp_path, on_error, expected
):
    content = data_sets.coco_content()
    content["annotations"][0]["bbox"][2] = 0
    data_sets.write_coco(tmp_path, content)
    code, output = check(commands, tmp_path, f"--config.data.on_error={on_error}")
    assert code == expected, output
    assert "boxes without area: 1" in output
    assert ("set config.data.on_error='skip'" in output) == (on_error == "raise")


def test_a_missing_folder_exits_with_1_and_a_sentence(commands, tmp_path):
    code, output = check(commands, tmp_path / "nowhere", f"--output={tmp_path / 'report'}")
    assert code == 1
    assert "MUST BE FIXED" in output and "Traceback" not in output
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert found["statistics"] is None
    assert not (tmp_path / "report" / "contact_sheet.png").exists()


def test_real_cells_are_checked(commands, shared_data):
    code, output = commands(
        "check_data",
        "--config=configs/voc_folder_retinanet.py",
        f"--config.data.voc.root={shared_data / 'bccd'}",
    )
    assert code == 1, output
    assert "MUST BE FIXED" in output and "classes: Platelets, RBC, WBC" in output
    assert "2,804 boxes" in output and "boxes without area: 1" in output
    assert "near-certain" not in output


def folder_arguments(root, *more):
    splits = [f"--config.data.coco.{split}_annotations=train.json" for split in ("train", "val")]
    splits += [f"--config.data.coco.{split}_images=images" for split in ("train", "val")]
    return [
        "--config=configs/coco_folder_retinanet.py",
        f"--config.data.coco.root={root}",
        "--config.data.canvases=((48,64),)",
        "--config.data.allow_same_images=True",
        *splits,
        *more,
    ]


def lines_of(output):
    return [line for line in output.splitlines() if line.startswith(("Boxes: ", "Images: "))]


def test_what_is_learned_is_said_alike(commands, tmp_path):
    """By check_data and by train, of an image without boxes, a crowd and three boxes of two."""
    content = data_sets.coco_content()
    content["images"].append({"id": 5, "file_name": "5.jpg", "height": 48, "width": 64})
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"].append({**content["annotations"][7], "id": 9, "bbox": [0, 0, 9, 9]})
    data_sets.write_coco(tmp_path / "data", content)
    arguments = folder_arguments(tmp_path / "data", "--config.data.max_boxes=2")
    code, checked = commands("check_data", *arguments, f"--output={tmp_path / 'report'}")
    assert code == 0, checked
    # Image 4 has three boxes, and the smallest is beyond the two slots.
    expected = [
        "Boxes: 7 of 9 are used for training; left out: 1 crowd (config.matcher.crowd), 1 beyond "
        "config.data.max_boxes.",
        "Images: 4 of 5 are used for training; left out: 1 without a box to learn "
        "(config.data.keep_empty).",
    ]
    assert lines_of(checked) == expected
    table = [" ".join(line.split()) for line in checked.splitlines()]
    assert "class id boxes usable crowds too many images" in table
    assert "cat 1 4 3 1 0 4" in table and "dog 2 5 4 0 1 4" in table
    found = json.loads((tmp_path / "report" / "check.json").read_text())
    assert found["learned"]["lines"] == expected
    assert found["learned"]["boxes"]["left_out"] == {"crowd": 1, "beyond_max_boxes": 1}
    workdir = f"--workdir={tmp_path / 'run'}"
    code, dry = commands("train", *arguments, workdir, "--dry_run")
    assert code == 0, dry
    assert lines_of(dry) == expected
    assert "4 of the 5 validation images are also used for training (the first: " in dry
    # Ends where the train step would be built.
    before = "from ioub_jax.training import start; start.start_state = None"
    _, trained = commands("train", *arguments, workdir, before=before)
    assert lines_of(trained) == expected, trained


@pytest.mark.parametrize("is_whole_set", [False, True])
def test_crowds_alone_are_an_error_everywhere(commands, tmp_path, is_whole_set):
    """What CVAT writes for masks: of one class, or of both."""
    content = data_sets.coco_content()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = int(is_whole_set or annotation["category_id"] == 1)
    data_sets.write_coco(tmp_path / "data", content)
    arguments = folder_arguments(tmp_path / "data")
    workdir = f"--workdir={tmp_path / 'run'}"
    reason = "all 8 boxes are crowds" if is_whole_set else "cat: all 4 boxes are crowds"
    for command in (["check_data"], ["train", workdir], ["train", workdir, "--dry_run"]):
        code, output = commands(*command, *arguments)
        assert code == 1 and reason in output and "--config.matcher.crowd=keep" in output
        told = output
    assert not (tmp_path / "run").exists()
    # The ways out, as they are told.
    code, output = commands("check_data", *arguments, "--config.matcher.crowd=keep")
    assert code == 0
    assert lines_of(output) == [
        "Boxes: all 8 are used for training.",
        "Images: all 4 are used for training.",
    ]
    if not is_whole_set:
        assert "--config.data.coco.classes=dog; or" in told
        code, output = commands("check_data", *arguments, "--config.data.coco.classes=dog")
        assert code == 0
        assert (
            lines_of(output)[0]
            == "Boxes: 4 of 8 are used for training; left out: 4 of other classes."
        )


def test_yolos_format_is_looked_at(commands, tmp_path):
    """By the recipe, as Roboflow writes it; what is broken has its line."""
    yaml = "path: ../elsewhere\ntrain: ../train/images\nval: ../valid/images\nnames: [bolt, nut]\n"
    row = "0.5 0.5 0.2 0.4\n"
    for name in ("train/images/a.png", "train/images/b.png", "valid/images/c.png"):
        label_file = name.replace("images", "labels").replace(".png", ".txt")
        write(tmp_path, **{name: (64, 48), label_file: f"0 {row}1 {row}1 {row}"})
    write(tmp_path, **{"data.yaml": yaml, "train/images/background.png": (64, 48)})
    root = f"--config.data.yolo.root={tmp_path}"
    arguments = ["--config=configs/yolo_folder_retinanet.py", root]
    code, checked = commands("check_data", *arguments)
    assert code == 0, checked
    assert lines_of(checked) == [
        "Boxes: 4 of 6 are used for training; left out: 2 listed twice.",
        "Images: all 3 are used for training.",
    ]
    write(tmp_path, **{"train/labels/b.txt": f"0 {row}7 {row}"})
    code, told = commands("check_data", *arguments)
    assert code == 1
    assert "b.txt:2: has class 7, but the ids in" in " ".join(told.split())
