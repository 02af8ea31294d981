import cv2
import numpy as np
import pytest

from ioub_jax.own_data import looking

ROW = "{} .5 .5 .4 .4\n"


def make(folder, names, used):
    """A YOLO data set of four images, one of them to validate on, with objects of some classes."""
    for split, count in (("train", 3), ("val", 1)):
        for number in range(count):
            place = folder / "images" / split
            labels = folder / "labels" / split
            place.mkdir(parents=True, exist_ok=True)
            labels.mkdir(parents=True, exist_ok=True)
            image = np.full((40, 50, 3), 90 + number + 10 * count, np.uint8)
            assert cv2.imwrite(str(place / f"{split}{number}.png"), image)
            (labels / f"{split}{number}.txt").write_text("".join(ROW.format(k) for k in used))
    if names:
        (folder / "data.yaml").write_text(
            f"train: images/train\nval: images/val\nnames: [{', '.join(names)}]\n"
        )
    return folder


@pytest.mark.parametrize(
    ("words", "detector", "backbone", "eta"),
    [
        ("", "retinanet", "efficientnet_lite0", 1.5),
        # One word, and the rest is as without it.
        ("atss", "atss", "efficientnet_lite0", 1.5),
        ("baseline", "retinanet", "efficientnet_lite0", 0.0),
        ("cls,fcos,small", "fcos", "resnet18", 1.5),
    ],
)
def test_words_pick_the_detector_the_backbone_and_the_arm(
    tmp_path, monkeypatch, words, detector, backbone, eta
):
    monkeypatch.setattr(looking.small_data, "default_backbone", lambda: "lite0")
    model = looking.look_at(make(tmp_path, ("ant",), (0,)), None, words).config()
    assert (model.model.name, model.model.backbone) == (detector, backbone)
    assert model.loss.classification.eta == eta
    assert (model.optimizer.name == "adamw") == (backbone == "efficientnet_lite0")


@pytest.mark.parametrize(
    ("names", "used", "learned"),
    [
        (("ant", "bee", "cow"), (0, 2), ("ant", "cow")),
        (("ant", "bee"), (0, 1), None),
        # Without names the numbers are the classes.
        ((), (0, 2), None),
    ],
)
def test_classes_without_a_box_are_left_out_and_told(tmp_path, names, used, learned):
    found = looking.look_at(make(tmp_path, names, used))
    assert found.config().data.yolo.classes == learned
    told = [sentence for sentence in found.missing if "no box of" in sentence]
    if learned is None:
        assert told == []
    else:
        assert told == [
            "The training images have no box of 1 of the 3 classes (bee); the others are learned "
            "(data.yolo.classes)."
        ]
        assert found.settings[0].why == told[0]
