import json
import logging

import pytest

from ioub_jax.configs import defaults
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import CocoSource, ShapesSource, TfdsSource, VocSource, create_source
from tests import small_coco
from tests.data.sources import tfds_builders


@pytest.fixture
def data(tmp_path):
    """`config.data` of a folder in COCO's format for all splits."""
    small_coco.write(tmp_path)
    data = defaults.get_config().data
    data.source = "coco"
    data.coco.root = str(tmp_path)
    for split in ("train", "val", "test"):
        data.coco.update({f"{split}_annotations": "instances.json", f"{split}_images": "."})
    return data


def test_training_leaves_out_images_without_objects_and_evaluation_does_not(data):
    assert isinstance(create_source(data, "val"), CocoSource)
    assert len(create_source(data, "val")) == len(create_source(data, "test")) == 22
    train = create_source(data, "train")
    assert 0 < len(train) < 22
    assert all(len(train.annotations(index).labels) for index in range(len(train)))
    data.keep_empty = True
    assert len(create_source(data, "train")) == 22


def test_an_image_of_crowds_alone_has_nothing_to_learn_from(data, tmp_path):
    content = json.loads((tmp_path / "instances.json").read_text())
    only = content["annotations"][0]["image_id"]
    for annotation in content["annotations"]:
        annotation["iscrowd"] = int(annotation["image_id"] == only)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    train = create_source(data, "train")
    assert only not in [train.image_id(index) for index in range(len(train))]
    matcher = defaults.get_config().matcher
    matcher.crowd = "keep"
    train = create_source(data, "train", matcher)
    assert only in [train.image_id(index) for index in range(len(train))]
    content["annotations"] = []
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no image of the training split has an object"):
        create_source(data, "train")


def test_what_was_left_out_is_logged(data, tmp_path, caplog):
    (tmp_path / "3.png").unlink()
    data.on_error = "skip"
    with caplog.at_level(logging.WARNING):
        assert len(create_source(data, "val")) == 21
    assert "coco val: 1 left out, the first: " in caplog.text and "3.png: is missing" in caplog.text


def test_shapes_are_drawn(data):
    data.source = "shapes"
    source = create_source(data, "val")
    assert isinstance(source, ShapesSource) and len(source) == data.shapes.num_val


def test_the_other_sources_look_where_their_keys_say(data, tmp_path, shared_data):
    data.source = "cityscapes"
    data.cityscapes.root = str(tmp_path / "streets")
    with pytest.raises(DataError, match=r"streets/leftImg8bit/train: there is no such folder"):
        create_source(data, "train")
    data.source = "voc"
    data.voc.update({"root": str(shared_data), "val_folders": ("voc2012_100",), "val_split": "all"})
    source = create_source(data, "val")
    assert isinstance(source, VocSource) and len(source) == 100
    # The first object of 2007_000027 (174, 101) to (349, 351), 1-based.
    assert source.annotations(0).boxes[0].tolist() == [173, 100, 349, 351]
    data.voc.one_based = False
    assert create_source(data, "val").annotations(0).boxes[0].tolist() == [174, 101, 349, 351]


def test_tfds_is_read_as_configured(data, tmp_path, shared_data):
    tfds_builders.prepare_coco(tmp_path / "tfds", shared_data / "coco_mini")
    data.source = "tfds"
    data.tfds.data_dir = str(tmp_path / "tfds")
    source = create_source(data, "train")
    assert isinstance(source, TfdsSource)
    # Images 250 and 508 have no objects.
    ids = {source.image_id(index) for index in range(len(source))}
    assert ids == set(tfds_builders.COCO_TRAIN) - {250, 508}
    assert len(create_source(data, "val")) == len(tfds_builders.COCO_VALIDATION)


def test_an_unknown_source_or_split_is_refused(data):
    with pytest.raises(ValueError, match="There is no split 'minival'"):
        create_source(data, "minival")
    data.source = "lvis"
    with pytest.raises(DataError, match=r"is 'lvis' and must be one of \('coco', 'voc', 'city"):
        create_source(data, "train")
