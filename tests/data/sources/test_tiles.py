import io
import json
import pickle

import cv2
import numpy as np
import pytest

from ioub_jax.data.batching import BatchPlan, EvaluationPlan
from ioub_jax.data.checks import DataError
from ioub_jax.data.image_rows import _PngRows
from ioub_jax.data.images import Reading
from ioub_jax.data.loading import Loading
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources import annotations_of, decoded_images
from ioub_jax.data.sources.class_order import with_classes
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.fingerprint import fingerprint_of
from ioub_jax.data.sources.learned import Rules
from ioub_jax.data.sources.tiles import TileSource, counted_tiles, whole_of
from ioub_jax.data.tiling import Tiling

TILING = Tiling(64, 0.25)
SIZES = {"wide.png": (100, 300), "small.jpg": (40, 50), "empty.png": (64, 130)}
# Of wide.png a box in one corner, one that is 32 long and one that is as long as the image.
BOXES = {
    1: [[2, 3, 10, 8], [60, 20, 32, 12], [0, 90, 300, 5]],
    2: [[5, 5, 20, 20]],
    3: [],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, (name, (height, width)) in enumerate(SIZES.items(), start=1):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        cv2.imwrite(str(root / name), pixels)
        images.append({"id": 10 * number, "file_name": name, "height": height, "width": width})
        for box in BOXES[number]:
            entry = {"image_id": 10 * number, "category_id": 4 + len(annotations) % 2, "bbox": box}
            annotations.append({"id": len(annotations) + 1, **entry})
    categories = [{"id": 4, "name": "a"}, {"id": 5, "name": "b"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "train.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def whole(root):
    return CocoSource(root / "train.json", root)


def test_a_tile_is_its_part_of_the_image(whole):
    source = TileSource(whole, TILING)
    # 64 * .25 = 16 are shared: along 300 pixels tiles begin at 0, 48, ... 236 (6), along 100 at 0
    # and 36; of the others there are 1, and along 130 there are 3 (0, 48, 66).
    assert len(source) == 2 * 6 + 1 + 3
    assert np.bincount(source.tiles.images).tolist() == [12, 1, 3]
    for index in (0, 5, 11, 3, 12, 15):  # backwards, too
        example = source.load(index, at_least=(8, 8))
        image = whole.load(int(source.tiles.images[index])).image
        left, top, right, bottom = source.tiles.windows[index]
        np.testing.assert_array_equal(example.image, image[top:bottom, left:right])
        assert example.image.shape[:2] == tuple(source.sizes[index])
        np.testing.assert_array_equal(example.boxes, source.annotations(index).boxes)
    assert source.load(12).image.shape == (40, 50, 3)
    assert source.describe(11).endswith("wide.png [tile 64x64 at 236,36]")
    assert [source.image_id(index) for index in range(16)] == list(range(16))
    assert whole_of(source) is whole and whole_of(whole) is whole


def test_tiles_are_the_same_in_another_process_and_of_a_selection(whole):
    source = TileSource(whole, TILING)
    source.load(0)
    copied = pickle.loads(pickle.dumps(source)).select(np.array([12, 3]))
    np.testing.assert_array_equal(copied.load(1).image, source.load(3).image)
    np.testing.assert_array_equal(copied.annotations(0).boxes, source.annotations(12).boxes)
    assert copied.describe(1) == source.describe(3)
    assert fingerprint_of(source) == fingerprint_of(pickle.loads(pickle.dumps(source)))


def test_a_folder_of_decoded_images_changes_no_pixel(whole, tmp_path, monkeypatch):
    plain, kept = TileSource(whole, TILING), TileSource(whole, TILING, tmp_path / "decoded")
    monkeypatch.setattr(decoded_images, "BLOCK", 40)  # which divides no side
    for index in (11, 12, 0, 7):
        np.testing.assert_array_equal(kept.load(index).image, plain.load(index).image)
    files = sorted(path.name for path in (tmp_path / "decoded").iterdir())
    assert len(files) == 2  # one an image, nothing that is unfinished
    again = TileSource(whole, TILING, tmp_path / "decoded")
    monkeypatch.setattr(again, "_open", None)  # nothing is decoded any more
    np.testing.assert_array_equal(again.load(11).image, plain.load(11).image)
    # A file that is not whole is made anew.
    path = tmp_path / "decoded" / files[0]
    path.write_bytes(path.read_bytes()[:100])
    for index in (0, 12):
        np.testing.assert_array_equal(kept.load(index).image, plain.load(index).image)
    # Pixels that are read otherwise are others.
    kept.read_with(Reading("apply")).load(11)
    assert len(list((tmp_path / "decoded").iterdir())) == 3


def test_images_in_records_are_kept_decoded_too(whole, tmp_path, monkeypatch):
    expected = TileSource(whole, TILING).load(7).image
    opened = whole.open_image
    monkeypatch.setattr(whole, "open_image", lambda image: io.BytesIO(_content(opened(image))))
    for cache in (None, tmp_path / "decoded", tmp_path / "decoded"):
        np.testing.assert_array_equal(TileSource(whole, TILING, cache).load(7).image, expected)


def _content(file):
    with file:
        return file.read()


def test_a_folder_that_cannot_be_written_is_told(whole, tmp_path):
    (tmp_path / "file").write_text("")
    source = TileSource(whole, TILING, tmp_path / "file" / "decoded")
    with pytest.raises(DataError, match=r"cannot be cached there, which takes .* MB \(Not a"):
        source.load(0)


def test_labels_follow_those_of_a_detector(whole):
    source = with_classes(TileSource(whole, TILING), [(7, "b"), (8, "a")], "the data")
    assert source.classes == source.whole.classes == ("b", "a")
    assert source.category_ids == (5, 4)
    # The box in the corner is the first annotation, of class a.
    assert source.annotations(0).labels[0] == source.whole.annotations(0).labels[0] == 1


def test_an_evaluation_reads_an_image_once(whole, monkeypatch):
    source = TileSource(whole, TILING)
    opened = []
    open_one = source._open
    monkeypatch.setattr(source, "_open", lambda image: opened.append(image) or open_one(image))
    monkeypatch.setattr("ioub_jax.data.image_rows._PngRows._rewind", _fails_again())
    with loading().evaluation_batches(source, 5) as batches:
        assert sum(int(batch["is_real"].sum()) for batch in batches) == 16
    assert opened == [0, 1, 2, 0]  # whose first tile fills up the last batch


def _fails_again():
    """A PNG may be read from its top once."""
    rewind = _PngRows._rewind

    def once(rows):
        assert not hasattr(rows, "_buffer")  # which the first time makes
        rewind(rows)

    return once


def test_a_missing_image_is_told(root, whole):
    source = TileSource(whole, TILING)
    name = root / "small.jpg"
    moved = name.rename(root / "elsewhere")
    try:
        with pytest.raises(DataError, match=r"small.jpg: cannot be read .*restore the file, or"):
            source.load(12)
    finally:
        moved.rename(name)


def test_tiles_without_a_box_to_learn_are_left_out(whole):
    source = TileSource(whole, TILING)
    used, counts = counted_tiles(source, Rules(max_boxes=1), keep_empty=0.0)
    has_objects = [bool((~source.annotations(i).ignored).any()) for i in range(len(source))]
    # The box as long as the image is an object in no tile, which show 64 of 300 at most; that of
    # 32 is whole in the tile from 48 to 112, and 28 of it in tiles from 0 to 64 would be below .5
    # (4 of 32).
    assert sum(has_objects) == len(used) == 3
    assert (counts.tiles, counts.used, counts.boxes, counts.cut) == (16, 3, 4, 1)
    assert counts.longest == 300 and counts.overlap_for_all is None
    assert counts.line() == (
        "Tiles: 16 of 64 pixels with an overlap of 25%, of 3 images; 3 are used for evaluation; "
        "left out: 13 without a box to learn (config.data.tiles.keep_empty); 1 of 4 boxes (25.0%) "
        "are cut in every tile: their longest side is 300 pixels, and tiles share 16."
    )
    assert counts.full_tiles == 1 and counts.fullest == 2


def test_some_of_the_empty_tiles_are_kept_evenly(whole):
    source = TileSource(whole, TILING)
    for share, kept in ((1.0, 16), (0.5, 3 + 6), (0.1, 3 + 1), (0.0, 3)):
        used, counts = counted_tiles(source, Rules(), keep_empty=share)
        assert len(used) == counts.used == kept
        ids = annotations_of(used).image_ids
        assert (np.diff(ids) > 0).all() and len(np.unique(ids)) == kept


def loading(workers=0):
    return Loading(((64, 64),), Resize("zoom"), max_boxes=5, workers=workers, tiling=TILING)


def test_batches_are_those_of_any_host_and_start(whole):
    source, _ = counted_tiles(TileSource(whole, TILING), Rules(), keep_empty=0.5)

    def images(start, steps, **host):
        plan = BatchPlan(source.sizes, 4, 3, ((64, 64),), resize=Resize("zoom"))
        with loading().training_batches(source, plan, start, steps, seed=3, **host) as batches:
            return [batch["image"] for batch in batches]

    all_of_them = images(0, 5)
    np.testing.assert_array_equal(np.stack(all_of_them[2:]), np.stack(images(2, 3)))
    halves = [images(0, 5, process_index=index, process_count=2) for index in (0, 1)]
    joined = [np.concatenate(parts) for parts in zip(*halves, strict=True)]
    np.testing.assert_array_equal(np.stack(all_of_them), np.stack(joined))


def test_pixels_keep_their_size_on_the_canvas(whole):
    source = TileSource(whole, TILING)
    with loading().evaluation_batches(source, 4) as batches:
        for batch in batches:
            np.testing.assert_array_equal(batch["scale"], 1)
    twice = Resize("zoom", zoom=2.0)
    assert twice.size((40, 50), (128, 128)) == (80, 100)
    assert twice.size((400, 500), (128, 128)) == (102, 128)  # what is no tile fits
    assert len(EvaluationPlan(source.sizes, 4, ((128, 128),), resize=twice)) == 4
