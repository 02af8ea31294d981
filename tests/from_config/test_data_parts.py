"""What a configuration says of its data, in the arguments of the parts and in its own words."""

import json
import logging

import ml_collections
import numpy as np
import pytest

from ioub_jax.configs import defaults
from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.checks import DataError
from ioub_jax.data.images import Reading
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources import CocoSource, ShapesSource, TfdsSource, VocSource, YoloSource
from ioub_jax.data.sources.learned import ClassCount, Learned, Rules, Tally
from ioub_jax.data.sources.unlearned import Origin
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import (
    audit_parts,
    data_parts,
    file_parts,
    loading_parts,
    sampling_parts,
    shared_image_parts,
)
from ioub_jax.from_config.data_parts import create_source
from tests import encoded, small_coco
from tests.data.sources import tfds_builders
from tests.data.yolo_folder import write


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
    data.voc.pixels = "zero_based"
    assert create_source(data, "val").annotations(0).boxes[0].tolist() == [174, 101, 349, 351]


def test_yolo_is_read_as_configured_and_its_splits_by_the_names_of_their_classes(data, tmp_path):
    row = "0.5 0.5 0.2 0.4\n"
    for split, yaml, label in (("set", "[bolt, nut]", 1), ("other", "[gear, nut, bolt]", 1)):
        yaml = f"train: images/train\nval: images/val\nnames: {yaml}\n"
        write(tmp_path / split, **{"data.yaml": yaml, "images/train/a.png": (64, 48)})
        write(tmp_path / split, **{"labels/train/a.txt": f"0 {row}1 {row}"})
        write(tmp_path / split, **{"images/val/b.png": (64, 48)})
        write(tmp_path / split, **{"labels/val/b.txt": f"{label} {row}"})
    data.update({"source": "yolo", "exif": "apply"})
    data.yolo.root = str(tmp_path / "set")
    train = create_source(data, "train")
    assert isinstance(train, YoloSource) and train.reading.exif == "apply"
    assert train.classes == ("bolt", "nut") and train.category_ids == (0, 1)
    categories = list(zip(train.category_ids, train.classes, strict=True))
    # In the other data set 1 is the nut, too, and 2 the bolt.
    data.yolo.root = str(tmp_path / "other")
    validation = create_source(data, "val", categories=categories)
    assert validation.classes == train.classes and validation.category_ids == (2, 1)
    assert validation.annotations(0).labels.tolist() == [1]
    with pytest.raises(DataError) as caught:
        create_source(data, "train", categories=categories)
    assert str(caught.value) == (
        f"The train split of {tmp_path / 'other'}: has objects of classes that the training data "
        "lacks: 'gear' (1 box); correct their names, or set --config.data.yolo.classes=bolt,nut to "
        "leave them out."
    )
    data.yolo.classes = ("nut",)
    assert create_source(data, "train").census.other_classes == 1


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
    with pytest.raises(
        DataError, match=r"is 'lvis' and must be one of \('coco', 'voc', 'yolo', 'c"
    ):
        create_source(data, "train")


@pytest.mark.parametrize(
    ("source", "changes", "told"),
    [
        ("voc", {"on_error": "ignore"}, "config.data.on_error is 'ignore' and must be 'raise'"),
        (
            "voc",
            {"voc": {"unannotated": "ignore"}},
            "config.data.voc.unannotated is 'ignore' and must be one of ('problem', 'empty').",
        ),
        (
            "voc",
            {"voc": {"classes": ("cat", "cat"), "val_split": "all"}},
            "config.data.voc.classes has 'cat' twice; name each class once.",
        ),
    ],
)
def test_a_value_that_a_source_refuses_is_told_with_its_key(
    data, shared_data, source, changes, told
):
    data.source = source
    data.voc.update({"root": str(shared_data / "voc2012_100"), "train_split": "all"})
    data.update(changes)
    with pytest.raises(ConfigError) as caught:
        create_source(data, "train")
    assert str(caught.value).startswith(told)


def test_shapes_that_are_too_small_are_an_error_of_the_data(data):
    data.source = "shapes"
    data.shapes.image_size = (8, 8)
    with pytest.raises(DataError, match=r"^config\.data\.shapes\.image_size is \(8, 8\); both"):
        create_source(data, "train")


def test_what_is_learned_of_a_split():
    config = defaults.get_config()
    config.matcher.update({"crowd": "keep", "difficult": "drop"})
    config.data.update({"keep_empty": True, "max_boxes": 7})
    rules_of = data_parts.rules_of
    of_training = Rules("keep", "drop", keep_empty=True, max_boxes=7, verb="used for training")
    assert rules_of(config.data, config.matcher, "train") == of_training
    without = Rules("ignore", "keep", keep_empty=True, max_boxes=7, verb="used for training")
    assert rules_of(config.data, None, "train") == without
    assert rules_of(config.data, config.matcher, "val") == Rules()


def test_a_data_set_is_named_by_its_keys(data, tmp_path):
    data.coco.val_annotations = "val.json"
    assert file_parts.origin_of(data, "val") == Origin(
        "config.data.coco", (tmp_path / "val.json",), "config.data.coco.classes"
    )
    data.source = "cityscapes"
    assert file_parts.origin_of(data, "val") == Origin("config.data.cityscapes")


def test_a_share_of_the_training_files_is_held_out(data):
    """Everybody opens the same parts: training, evaluation, audit."""
    whole = paths_of(data_parts.open_source(data, "train"))
    for name in ("val_annotations", "val_images", "test_annotations", "test_images"):
        data.coco[name] = "is not looked at"
    data.split = {"val": 0.25}  # as one writes it in Python
    config = defaults.get_config()
    config.data = data
    data.keep_empty = True
    source, validation, learned = data_parts.open_data(config)
    train, val = paths_of(source), paths_of(validation)
    # A quarter of 22 images is 5.5.
    assert len(train) == 16 and len(val) == 6 and train | val == whole and not train & val
    assert learned.lines()[0] == (
        "Split: 16 train, 6 val (data.split.val=0.25, seed 0); every class is in both."
    )
    assert paths_of(data_parts.open_split(config, "val")) == val
    assert paths_of(audit_parts.open_leniently(config, "train")) == train
    assert file_parts.origin_of(data, "val") == file_parts.origin_of(data, "train")
    assert audit_parts.audit_data_set(config, "val").data.learned.lines()[2] == (
        "Images: 6 of 22 are used for evaluation; left out: 16 in other parts of config.data.split."
    )
    data.split = {"val": 0.25, "test": 0.25, "seed": 1}
    parts = [paths_of(data_parts.open_source(data, split)) for split in ("train", "val", "test")]
    assert list(map(len, parts)) == [10, 6, 6] and set.union(*parts) == whole
    assert parts[1] != val


def paths_of(source):
    return {source.describe(index) for index in range(len(source))}


def test_a_test_part_leaves_the_validation_files_as_they_are(data):
    data.split.test = 0.25
    assert len(data_parts.open_source(data, "val")) == 22
    assert len(data_parts.open_source(data, "test")) == 6


def test_drawn_images_have_no_share(data):
    data.source, data.split.test = "shapes", 0.5
    with pytest.raises(DataError) as caught:
        create_source(data, "train")
    assert str(caught.value) == (
        "config.data.split.test is 0.5, but the images of config.data.source='shapes' are drawn, "
        "and so are its splits; set --config.data.split.test=0."
    )


def test_validation_images_that_are_trained_on_are_refused(data, tmp_path):
    config = defaults.get_config()
    config.data = data
    first = tmp_path / "1.png"
    sentence = (
        f"22 of the 22 validation images are also used for training (the first: {first}), so that "
        "their AP says little about other images, and the best checkpoint is chosen by it"
    )
    data.keep_empty = True
    with pytest.raises(DataError) as caught:
        data_parts.open_data(config)
    assert str(caught.value) == (
        f"{sentence}; validate on images of their own, such as a share of the training images by "
        "--config.data.split.val=0.1, or set --config.data.allow_same_images=True."
    )
    data.allow_same_images = True
    source, validation, _ = data_parts.open_data(config)
    warnings = shared_image_parts.shared_image_warnings(config, source, validation)
    assert warnings == [f"{sentence}."]
    # The same file under another name.
    (tmp_path / "copies").mkdir()
    for number in range(1, 23):
        written = b"other" if number > 1 else b""
        path = tmp_path / "copies" / f"{number}.png"
        path.write_bytes((tmp_path / f"{number}.png").read_bytes() + written)
    data.update({"allow_same_images": False})
    data.coco.val_images = "copies"
    told = r"^1 of the 22 validation images is also used for training \(the first: .*copies/1.png,"
    with pytest.raises(DataError, match=rf"{told} which has the bytes of {first}\)"):
        data_parts.open_data(config)


def test_classes_without_a_box_are_allowed_by_a_key_that_old_runs_lack(data):
    empty = ClassCount("nut", 1, 0, 0, 0, 0, 0, 0, 0)
    learned = Learned(Tally(0, 0, {}, {}), Tally(1, 1, {}, {}), (empty,), 0, "used for training")
    old = {key: value for key, value in data.to_dict().items() if key != "allow_empty_classes"}
    for refusing in (data, ml_collections.ConfigDict(old)):
        with pytest.raises(DataError, match="nut: no boxes"):
            data_parts.check_classes(learned, refusing)
    data.allow_empty_classes = True
    data_parts.check_classes(learned, data)


def test_images_are_read_as_chosen_else_as_given_else_as_stored(data):
    old = ml_collections.ConfigDict({})  # of a run of an earlier version
    for unset in (data, old):
        config = ml_collections.ConfigDict({"data": unset})
        assert file_parts.chosen_bit_depth(unset) is None
        assert file_parts.reading_of(config) == Reading("ignore", 16)
        assert file_parts.reading_of(config, 12) == Reading("ignore", 12)
    data.update({"bit_depth": 10, "exif": "apply"})
    assert file_parts.chosen_bit_depth(data) == 10
    config = ml_collections.ConfigDict({"data": data})
    assert file_parts.reading_of(config, 12) == Reading("apply", 10)


def test_resize_augmentation_and_plans_have_the_values_of_their_keys():
    config = defaults.get_config()
    config.update({"batch_size": 2, "seed": 5})
    config.evaluation.batch_size = 3
    config.data.canvases = [[64, 96], [96, 64]]
    config.data.resize.update({"mode": "short_side", "short_side": 40, "long_side": 80})
    config.data.resize.scales = (0.5,)
    config.data.augmentation.update({"vertical_flip": 0.25, "scale_jitter": [0.5, 2.0]})
    resize = Resize("short_side", 40, 80)
    assert loading_parts.resize_of(config.data) == resize
    assert loading_parts.canvases_of(config.data) == ((64, 96), (96, 64))
    assert loading_parts.augmentation_of(config.data) == Augmentation(
        horizontal_flip=0.5, vertical_flip=0.25, scale_jitter=(0.5, 2.0)
    )
    sizes = np.array([[64, 96]] * 4)
    loading = loading_parts.loading_of(config)
    plan = loading.training_plan(sizes, config.batch_size, config.seed)
    assert (plan.batch_size, plan.resize, plan.canvases) == (2, resize, ((64, 96), (96, 64)))
    assert plan[0].scale == 0.5
    # numpy's own permutation of the seed and epoch 0.
    order = np.random.default_rng((5, 0)).permutation(4)
    assert [*plan[0].indices, *plan[1].indices] == order.tolist()
    plan = loading.evaluation_plan(sizes, config.evaluation.batch_size)
    assert (plan.batch_size, plan.resize, len(plan)) == (3, resize, 2)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("resize.mode", "crop", "data.resize.mode is 'crop' and must be one of ('fit', 'short_si"),
        (
            "resize.short_side",
            1400,
            "data.resize.short_side is 1400 and data.resize.long_side is 1333; they must be at",
        ),
        (
            "resize.scales",
            (0.5, 1.5),
            "data.resize.scales is (0.5, 1.5); it must hold factors above 0, at most 1: set "
            "data.resize and data.canvases to the largest size of the training.",
        ),
        (
            "augmentation.horizontal_flip",
            2.0,
            "data.augmentation.horizontal_flip is 2.0; it must be a probability, 0 to 1.",
        ),
        (
            "augmentation.expand_ratio",
            0.5,
            "data.augmentation.expand_ratio is 0.5; it must be at least 1.",
        ),
        ("augmentation.scale_jitter", (2.0, 1.0), "data.augmentation.scale_jitter is (2.0, 1.0);"),
        ("on_error", "ignore", "config.data.on_error is 'ignore' and must be 'raise' or 'skip'."),
    ],
)
def test_a_value_that_batches_refuse_is_told_with_its_key(key, value, told):
    config = defaults.get_config()
    config.data.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError) as caught:
        loading_parts.loading_of(config)
    assert str(caught.value).startswith(told)


def test_a_stretched_image_has_one_size():
    config = defaults.get_config()
    config.data.resize.update({"mode": "stretch", "scales": (0.5, 1.0)})
    with pytest.raises(ConfigError) as caught:
        loading_parts.loading_of(config)
    assert str(caught.value) == (
        "data.resize.scales must be (1.0,) where data.resize.mode is 'stretch': a stretched image "
        "has the size of its canvas."
    )


def test_only_files_are_measured(data):
    config = defaults.get_config()
    sentence = r"^config\.data\.source='shapes' has images that are not files; the input benchmark"
    with pytest.raises(ConfigError, match=sentence):
        sampling_parts.input_benchmark(config, ShapesSource(num_images=4), 1)


def test_batches_are_those_of_the_configuration():
    config = defaults.get_config()
    config.update({"batch_size": 2, "seed": 3})
    config.evaluation.batch_size = 3
    config.data.update({"canvases": ((64, 64),), "max_boxes": 9})
    source = ShapesSource(num_images=4, image_size=(64, 64))
    loading = loading_parts.loading_of(config)
    plan = loading.training_plan(source.sizes, 2, seed=3)
    with loading.training_batches(source, plan, 1, 2, seed=3) as batches:
        first, second = batches
    assert first["boxes"].shape == (2, 9, 4)
    assert first["image_id"].tolist() == [source.image_id(index) for index in plan[1].indices]
    assert len(second["image"]) == 2
    with loading.evaluation_batches(source, batch_size=3) as batches:
        real = [batch["is_real"].tolist() for batch in batches]
    assert real == [[True] * 3, [True, False, False]]


def test_the_channels_of_the_images_are_those_of_the_network(tmp_path):
    contents = [encoded.png(np.full((32, 32, 4), 50, np.uint8))]
    encoded.write_coco(tmp_path, contents, [(32, 32)], [[1, 1, 20, 20]], suffix="png")
    config = defaults.get_config()
    config.data.source = "coco"
    config.data.coco.update({"root": str(tmp_path), "train_images": "images"})
    config.data.coco.train_annotations = "train.json"
    for channels in (1, 3, 4):
        config.model.in_channels = channels
        source = data_parts.open_split(config, "train")
        assert source[0].image.shape == (32, 32, channels)
        assert file_parts.reading_of(config) == source.reading
        assert file_parts.with_channels(source, 3)[0].image.shape == (32, 32, 3)


def test_drawn_images_are_rgb():
    config = defaults.get_config()
    config.model.in_channels = 1
    with pytest.raises(ConfigError) as caught:
        data_parts.open_split(config, "train")
    assert str(caught.value) == (
        "config.model.in_channels is 1, but the images of a ShapesSource have 3 channels; set it "
        "to 3, or use image files."
    )
