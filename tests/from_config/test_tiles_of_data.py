"""What a configuration says of tiles, and what it is refused with."""

import json
import pickle
import re

import cv2
import numpy as np
import pytest

import ioub_jax
from ioub_jax.configs import defaults, refusals, ssd_defaults, words
from ioub_jax.data.checks import DataError
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources import CocoSource, ShapesSource
from ioub_jax.data.sources.tiles import TileSource
from ioub_jax.data.tiling import Tiling
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import CocoMetric
from ioub_jax.from_config import audit_parts, data_parts, loading_parts, training_parts
from ioub_jax.workdirs import configuration
from tests import tiny

SIZE = (100, 300)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three images: of two objects, of one that is longer than a tile, of none."""
    root = tmp_path_factory.mktemp("huge")
    boxes = [[[2, 3, 10, 8], [60, 20, 14, 12]], [[0, 50, 200, 30]], []]
    images, annotations = [], []
    for number, of_image in enumerate(boxes, start=1):
        cv2.imwrite(str(root / f"{number}.png"), np.full((*SIZE, 3), 9, np.uint8))
        size = {"height": SIZE[0], "width": SIZE[1]}
        images.append({"id": number, "file_name": f"{number}.png", **size})
        for box in of_image:
            entry = {"image_id": number, "category_id": 1, "bbox": box}
            annotations.append({"id": len(annotations) + 1, **entry})
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "thing"}]
    (root / "all.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def config(root):
    config = tiny.get_config()
    config.data.source = "coco"
    config.data.coco.root = str(root)
    for split in ("train", "val", "test"):
        config.data.coco.update({f"{split}_annotations": "all.json", f"{split}_images": "."})
    config.data.tiles.update({"size": 64, "overlap": 0.25})
    config.data.allow_same_images = True
    return config


def test_tiles_are_the_examples_of_every_split(config):
    # 64 * .25 = 16 are shared: 2 rows of 6 tiles an image, and the third image is not trained on.
    train, validation, learned = data_parts.open_data(config)
    assert isinstance(train, TileSource) and train.tiling == Tiling(64, 0.25)
    assert len(validation) == 3 * 12 and len(train.whole) == 2
    # Of 24 tiles 4 have an object to learn, of none more than half of the long one, and a tenth
    # of the others is kept: tiles 0 (the first object) and 0, 1 of the second, at 60-74 in 48-112.
    assert 2 < len(train) < 6
    assert learned.lines()[2] == (
        f"Tiles: 24 of 64 pixels with an overlap of 25%, of 2 images; {len(train)} are used for "
        f"training; left out: {24 - len(train)} without a box to learn "
        "(config.data.tiles.keep_empty); 1 of 3 boxes (33.3%) are cut in every tile: their longest "
        "side is 200 pixels, and tiles share 16."
    )
    config.data.tiles.keep_empty = 1.0
    assert len(data_parts.open_split(config, "train")) == 24
    assert len(pickle.loads(pickle.dumps(train))) == len(train)


def test_the_network_sees_tiles_at_their_size_or_zoomed(config):
    loading = loading_parts.loading_of(config)
    assert loading.canvases == ((64, 64),) and loading.resize == Resize("zoom")
    config.data.tiles.zoom = 1.5
    loading = loading_parts.loading_of(config)
    assert loading.canvases == ((96, 96),) and loading.resize.size((64, 40), (96, 96)) == (96, 60)
    config.data.tiles.size = None
    loading = loading_parts.loading_of(config)
    assert (
        loading.tiling is None and loading.canvases == ((64, 64),) and loading.resize.mode == "fit"
    )
    assert "at tiles of 64 pixels" in words.describe(
        config.to_dict() | {"data": config.data.to_dict() | {"tiles": {"size": 64}}}
    )


def test_a_section_may_be_written_as_a_whole(config):
    config.data.tiles = {"size": 80, "overlap": 0.5}
    refusals.check(config)
    assert loading_parts.tiling_of(config.data) == Tiling(80, 0.5)
    assert isinstance(data_parts.open_split(config, "train"), TileSource)


def test_a_run_from_before_has_no_tiles(config):
    values = config.to_dict()
    del values["data"]["tiles"], values["evaluation"]["coco_detections"]
    old = configuration.from_dict(values)
    refusals.check(old)
    assert loading_parts.tiling_of(old.data) is None
    assert training_parts.metrics_of(old)[0] == CocoMetric()
    new = configuration.to_dict(defaults.get_config())
    before = configuration.as_json(new)
    del before["data"]["tiles"], before["evaluation"]["coco_detections"]
    assert configuration.differing_keys(before, new, evaluated=True) == []


def test_a_run_goes_on_with_its_tiles_wherever_they_are_kept(config):
    before = configuration.to_dict(config)
    config.data.tiles.cache = "elsewhere"
    assert configuration.differing_keys(before, configuration.to_dict(config)) == []
    config.data.tiles.overlap = 0.5
    assert configuration.differing_keys(before, configuration.to_dict(config)) == [
        "data.tiles.overlap: 0.25 -> 0.5"
    ]


def test_an_audit_tells_of_tiles(config):
    config.data.max_boxes = 1
    config.evaluation.max_detections = 1
    config.data.tiles.overlap = 0.0
    found = audit_parts.audit_data_set(config, "train")
    by_kind = {finding.kind: finding for finding in found.findings}
    assert "too_many_objects" not in by_kind  # slots are those of a tile
    assert by_kind["full_tile"].count == 1
    assert "the fullest tile needs --config.data.max_boxes=2." in by_kind["full_tile"].advice
    # The box from 60 to 74 is cut at 64, that of 200 everywhere.
    assert by_kind["cut_box"].count == 2
    assert "longest side is 200 pixels" in by_kind["cut_box"].advice
    # ceil(200 / (32 * .1)) * 32 = 2016 pixels, of which a tenth are shared.
    assert "--config.data.tiles.size=2016" in by_kind["cut_box"].advice
    assert by_kind["dense_image"].count == 1  # detections are those of the whole image
    # Of 2 rows of 5 tiles an image: those with an object, and 2 of the others.
    assert found.data is not None and len(found.data.annotations) == 3
    assert found.data.seen.image_ids.tolist() == [0, 1, 11, 21]
    config.data.tiles.size = 256
    config.data.tiles.overlap = 0.79  # 203 pixels
    found = audit_parts.audit_data_set(config, "train")
    assert "cut_box" not in {finding.kind for finding in found.findings}
    assert found.data is not None and found.data.learned.tiles.endswith("is whole in a tile.")


def test_given_images_are_cut_as_configured(config, root):
    given = CocoSource(root / "all.json", root)
    experiment = ioub_jax.build(config, source=given, validation=given)
    assert isinstance(experiment.source, TileSource) and len(experiment.validation) == 36
    assert experiment.learned[2].startswith("Tiles: 36 of 64 pixels")
    assert experiment.plan.canvases == ((64, 64),)


def test_as_many_detections_are_counted_as_configured(config):
    config.evaluation.coco_detections = 3000
    assert training_parts.metrics_of(config)[0] == CocoMetric(config.evaluation.backend, 3000)


# ------------------------------------------------------------------ what is refused


def test_a_class_that_no_tile_shows_well_enough_is_told(config, root, tmp_path):
    """Of the box of 200 pixels tiles show 64 at most, less than half."""
    for path in root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config.data.coco.root = str(tmp_path)
    _, learned = data_parts.open_counted(config.data, "train")
    assert learned.lines()[0] == (
        "Boxes: 2 of 3 are used for training; left out: 1 of which no tile shows enough "
        "(config.data.tiles.visibility)."
    )
    content = json.loads((tmp_path / "all.json").read_text())
    content["annotations"][2]["category_id"] = 2
    content["categories"].append({"id": 2, "name": "runway"})
    (tmp_path / "all.json").write_text(json.dumps(content))
    told = (
        "runway: its only box is not shown well enough by any tile.*Use larger tiles, "
        "config.data.ti"
    )
    with pytest.raises(DataError, match=told):
        data_parts.open_data(config)
    found = audit_parts.audit_data_set(config, "train")
    assert found.must_be_fixed and re.search(told, found.findings[0].advice)
    config.data.tiles.visibility = 0.3  # 64 of 200 are .32
    assert data_parts.open_data(config)[2].boxes.learned == 3
    content["annotations"] = content["annotations"][2:]
    (tmp_path / "all.json").write_text(json.dumps(content))
    config.data.tiles.visibility = 0.5
    config.data.allow_empty_classes = True
    with pytest.raises(DataError, match="its only box is not shown well enough by any tile"):
        data_parts.open_data(config)


def _replaced(config, root):
    with config.data.ignore_type():
        config.data.tiles = 640


def _of_an_unknown_key(config, root):
    config.data.tiles = {"side": 640}


def _of_shapes(config, root):
    config.data.source = "shapes"


def _too_small_for_a_network(config, root):
    config.data.tiles.zoom = 0.25


def _too_many(config, root):
    config.data.tiles.update({"size": 32, "overlap": 0.99})
    content = json.loads((root / "all.json").read_text())
    content["images"] = [
        {"id": n, "file_name": f"{n}.png", "height": 9000, "width": 12000} for n in (1, 2, 3)
    ]
    (root / "all.json").write_text(json.dumps(content))


def _kept_in_a_file(config, root):
    config.data.tiles.cache = str(root / "1.png")


def _of_a_truncated_image(config, root):
    path = root / "1.png"
    path.write_bytes(path.read_bytes()[:-40])


def _of_an_image_of_another_size(config, root):
    cv2.imwrite(str(root / "1.png"), np.zeros((90, 300, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            _replaced,
            "data.tiles is 640; it has several keys: set the side of a tile by --config",
        ),
        (
            _of_an_unknown_key,
            "There is no key data.tiles.side; the keys are data.tiles.size, data.",
        ),
        (_of_shapes, "data.tiles.size is 64, but data.source is 'shapes', whose small images are"),
        (_too_small_for_a_network, "data.tiles.zoom is 0.25, which makes inputs of 16 pixels of"),
        (
            _too_many,
            # (9000 - 32 + 1) * (12000 - 32 + 1) of each of the two that are used for training.
            "data.tiles.size is 32 and data.tiles.overlap 0.99, which makes 214,699,922 tiles of",
        ),
        (_kept_in_a_file, r"1.png: .* cannot be cached there, which takes 0 MB \(File exi"),
        (_of_a_truncated_image, "1.png: the image is truncated, it ends before its last row"),
        (_of_an_image_of_another_size, "1.png: is 300x90 pixels but its annotation says 300x100"),
    ],
)
def test_bad_input_gets_one_sentence(config, root, tmp_path, change, told):
    for path in root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config.data.coco.root = str(tmp_path)
    change(config, tmp_path)
    with pytest.raises((ConfigError, DataError), match=told) as caught:
        refusals.check(config)
        data_parts.open_data(config)[0].load(0)
    assert "\n" not in str(caught.value)


def test_an_ssd_sees_tiles_of_its_own_size():
    config = ssd_defaults.get_config("both", 300, "coco")
    config.data.tiles.size = 640
    with pytest.raises(ConfigError, match=re.escape("set --config.data.tiles.size=300 and")):
        training_parts.check_choices(config)
    config.data.tiles.zoom = 300 / 640
    training_parts.check_choices(config)


def test_what_draws_its_images_has_no_tiles(config):
    source = ShapesSource(num_images=4, image_size=(64, 64))
    sentence = "config.data.tiles.size is 64, but tiles are cut from image files, and Shapes"
    with pytest.raises(ConfigError, match=sentence):
        ioub_jax.build(config, source=source, validation=source)
