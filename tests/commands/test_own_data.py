"""`--data`: from a folder nobody has described to a configuration, and to a training."""

import cv2
import numpy as np
import pytest

from tests.data.yolo_folder import write

ROW = "0 0.5 0.5 0.25 0.25\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty images of noise in YOLO's order, each with a bolt, one with a row that is none."""
    root = tmp_path_factory.mktemp("data")
    files = {"classes.txt": "bolt\n"}
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
        files[f"images/{number}.png"] = cv2.imencode(".png", pixels)[1].tobytes()
        files[f"labels/{number}.txt"] = ROW
    files["labels/7.txt"] = f"{ROW}0 0.5 0.5\n"
    files["empty/notes.md"] = "nothing"
    return write(root, **files)


def test_from_a_folder_to_a_configuration_and_to_a_training(commands, folder, tmp_path):
    mine = tmp_path / "mine.py"
    code, output = commands("check_data", f"--data={folder}", f"--write_config={mine}")
    assert code == 1, output  # the row
    lines = output.splitlines()
    start = lines.index(f"Found YOLO in {folder}.")
    assert lines[start + 1 : start + 4] == [
        "Images: 18 for training (all images), 2 for validation (held out of these).",
        "Classes: bolt.",
        "Missing:",
    ]
    assert lines[start + 4].startswith("  - There are no validation images: a tenth of the")
    assert lines[start + 5].startswith("  - Images for training: boxes that are missing")
    assert f"{folder / 'labels' / '7.txt'}" in lines[start + 5]
    train = f"ioub train --config={mine} --workdir=runs/mine"
    assert lines[-4].endswith("The problems above stop training; once they are fixed:")
    assert lines[-3:] == [
        train,
        "Or, to leave broken files and boxes out:",
        f"{train} --config.data.on_error=skip",
    ]

    skip = "--config.data.on_error=skip"
    code, told = commands(
        "train", f"--data={folder}", skip, f"--workdir={tmp_path / 'run'}", "--dry_run"
    )
    assert code == 0, told
    assert f"Found YOLO in {folder}." in told and "There are no validation images" in told
    assert "Split: 18 train, 2 val (data.split.val=0.1, seed 0)" in told
    # Boxes of 16x12: 256 px is the least of a canvas, and 64x48 becomes 256x192.
    assert "Canvases: 192x256 (18 images)." in told
    # What was written says the same.
    shown = commands("config", f"--config={mine}")[1]
    assert "((192, 256),)" in shown and str(folder) in shown


@pytest.mark.slow
def test_a_family_and_its_backbone_are_one_word(commands, folder, tmp_path):
    mine = tmp_path / "mine.py"
    skip = "--config.data.on_error=skip"
    code, output = commands(
        "check_data", f"--data={folder}", "--recipe=atss", f"--write_config={mine}", skip
    )
    assert code == 0, output
    # Boxes of 64x48 px at 256x192: some location learns each.
    assert "Boxes that no location learns by matcher.name=atss: 0.0% of 18" in output
    train = [f"--config={mine}", skip, f"--workdir={tmp_path / 'run'}", "--dry_run"]
    code, told = commands("train", *train)
    assert code == 0 and "atss" in told.lower(), told
    code, told = commands("train", f"--config={mine}:fcos,small", *train[1:])
    assert code == 0 and "fcos" in told.lower(), told
    assert "Canvases: 192x256 (18 images)." in told


NOT_BOTH = "Error: --data and --config are both given: --data finds the configuration by itself;"
MISTAKES = [
    ("train", ["--workdir=FOLDER/run"], "Error: give your data's folder as --data=PATH, or a"),
    ("check_data", [], "Error: give your data's folder as --data=PATH, or a configuration as"),
    ("train", ["--data=FOLDER", "--config=shapes_retinanet", "--workdir=FOLDER/run"], NOT_BOTH),
    ("train", ["--data", "FOLDER", "--config=shapes_retinanet", "--workdir=FOLDER/run"], NOT_BOTH),
    ("train", ["--recipe=small", "--workdir=FOLDER/run"], "Error: --recipe goes with --data=PATH"),
    ("check_data", ["--data_format=voc"], "Error: --data_format goes with --data=PATH, which is"),
    ("check_data", ["--data=FOLDER", "--data_format=csv"], "Error: flag --data_format=csv: value"),
    ("check_data", ["--data=FOLDER", "--data_format=voc"], "Error: FOLDER: there is no VOC XML"),
    ("check_data", ["--data=FOLDER/no"], "Error: FOLDER/no: there is no such file or folder;"),
    ("check_data", ["--data=FOLDER/empty"], "Error: FOLDER/empty: there is no data set of a"),
    ("check_data", ["--data=FOLDER", "--recipe=big"], "Error: The configuration cannot be read: "
     "Unknown word 'big' in 'big'; it must be one of"),
    ("check_data", ["--data=FOLDER", "--write_config=mine.txt"], "Error: mine.txt: a configuration "
                                                                 "is a Python file; name it "
                                                                 "mine.py."),
    ("check_data", ["--data=FOLDER", "--write_config=FOLDER/no/mine.py"], "Error: FOLDER/no is not "
                                                                          "a folder; create it "
                                                                          "first, or give another "
                                                                          "name."),
    ("check_data", ["--data=FOLDER", "--write_config=FOLDER/there.py"], "Error: FOLDER/there.py "
                                                                        "exists already; give "
                                                                        "another name, or remove "
                                                                        "it first."),
    ("check_data", ["--config=yolo_folder_retinanet", "--write_config=mine.py"], "Error: "
     "--write_config goes with --data=PATH, which is not given."),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "arguments", "sentence"), MISTAKES)
def test_what_cannot_be_meant_is_one_sentence(commands, folder, verb, arguments, sentence):
    (folder / "there.py").write_text("")
    filled = [argument.replace("FOLDER", str(folder)) for argument in arguments]
    code, output = commands(verb, *filled)
    assert code == 1, output
    assert output.startswith(sentence.replace("FOLDER", str(folder))), output
    assert output.count("\n") == 1
    assert (folder / "there.py").read_text() == ""
