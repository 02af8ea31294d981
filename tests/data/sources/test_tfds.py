import concurrent.futures
import errno
import json
import logging
import multiprocessing
import operator
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile

import cv2
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")
import tensorflow_datasets as tfds

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.coco_categories import COCO_IDS
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.file_source import annotations_of
from ioub_jax.data.sources.tfds import TfdsSource, _to_pixels
from ioub_jax.data.sources.tfds_index import RecordIndex
from ioub_jax.data.sources.voc import VOC_CLASSES, VocSource
from tests.data.sources import tfds_builders

VOC_NAMES = ("2007_000027", "2007_000032", "2007_000129", "2007_000170", "2007_000250")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """Where an index goes that cannot be kept beside its records."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/ioub_jax"


@pytest.fixture(scope="session")
def prepared(shared_data, tmp_path_factory):
    """A data_dir with `coco/2017` and `voc/2012`."""
    data_dir = tmp_path_factory.mktemp("tensorflow_datasets")
    tfds_builders.prepare_coco(data_dir, shared_data / "coco_mini")
    tfds_builders.prepare_voc(data_dir, shared_data / "voc2012_100", VOC_NAMES)
    return data_dir


@pytest.fixture
def coco_dir(prepared, tmp_path):
    """A copy of the data_dir for a test that changes it."""
    without_indices = shutil.ignore_patterns("ioub_jax_index*")
    return pathlib.Path(shutil.copytree(prepared, tmp_path / "copy", ignore=without_indices))


def _png(width=64, height=48, gray=False):
    pixels = np.full((height, width) if gray else (height, width, 3), 90, np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _prepare_plain(data_dir, examples, name="plain", version="1.0.0", **objects):
    features = tfds_builders.plain_features(**objects)
    keyed = {f"{number:03d}": example for number, example in enumerate(examples)}
    return tfds_builders.prepare(data_dir, name, features, {"train": keyed}, version)


def _assert_same(ours, index, other, other_index):
    """The same image through TFDS and through its file."""
    one, two = ours[index], other[other_index]
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(ours.sizes[index], other.sizes[other_index])
    assert (ours.classes, ours.category_ids) == (other.classes, other.category_ids)
    order, other_order = (np.lexsort(np.round(e.boxes.T)) for e in (one, two))
    np.testing.assert_allclose(one.boxes[order], two.boxes[other_order], atol=1e-3, rtol=0)
    for name in ("labels", "crowd", "difficult"):
        expected = getattr(two, name)[other_order]
        np.testing.assert_array_equal(getattr(one, name)[order], expected, err_msg=name)
    return one.area[order], two.area[other_order]


def _assert_same_coco(source, coco_mini, number, images="train"):
    coco = CocoSource(
        coco_mini / f"annotations/instances_{images}2017.json", coco_mini / f"{images}2017"
    )
    positions = {coco.image_id(index): index for index in range(len(coco))}
    assert len(source) == number
    for index in range(number):
        areas = _assert_same(source, index, coco, positions[source.image_id(index)])
        lost = areas[1] - areas[0]  # TFDS's are integers
        assert np.all((lost >= 0) & (lost <= 1))
    return [source.image_id(index) for index in range(number)]


def test_coco_is_what_the_json_says(prepared, shared_data):
    source = TfdsSource("coco/2017", "train", prepared)
    ids = _assert_same_coco(source, shared_data / "coco_mini", len(tfds_builders.COCO_TRAIN))
    assert sorted(ids) == sorted(tfds_builders.COCO_TRAIN)
    assert (len(source.classes), source.category_ids[-1]) == (80, 90)
    counts = annotations_of(source).counts
    empty = [image_id for image_id, count in zip(ids, counts, strict=True) if not count]
    assert sorted(empty) == [250, 508]
    assert source.describe(0) == f"coco/2017 train record 0 ({ids[0]:012d}.jpg)"


def test_cocos_categories(shared_data):
    categories = tfds_builders.read_categories(shared_data / "coco_mini")
    assert list(COCO_IDS.items()) == [(one["name"], one["id"]) for one in categories]


def test_cocos_classes_are_told_by_name_whatever_their_order(tmp_path, shared_data):
    tfds_builders.prepare_coco(tmp_path, shared_data / "coco_mini", reverse_names=True)
    source = TfdsSource("coco/2017", "train", tmp_path)
    _assert_same_coco(source, shared_data / "coco_mini", len(tfds_builders.COCO_TRAIN))


def _assert_same_voc(source, folder, names):
    voc = VocSource(folder)
    assert len(source) == len(names)
    positions = {pathlib.Path(voc.describe(index)).name: index for index in range(len(voc))}
    for index in range(len(names)):
        file_name = source.describe(index).split("(")[1][:-1]
        areas = _assert_same(source, index, voc, positions[file_name])
        np.testing.assert_array_equal(areas[0], areas[1])
    assert [source.image_id(index) for index in range(len(names))] == list(range(1, len(names) + 1))


def test_voc_is_what_the_xmls_say(prepared, shared_data):
    source = TfdsSource("voc/2012", "train", prepared)
    _assert_same_voc(source, shared_data / "voc2012_100", VOC_NAMES)
    assert source.classes == VOC_CLASSES
    # 3 in 2007_000129, 1 in 2007_000170, 1 in 2007_000250.
    assert sum(source.annotations(index).difficult.sum() for index in range(len(source))) == 5
    # 2007_000027: one person, 174 101 349 351 in its file; taken as written if that is asked for.
    index = [source.describe(i).endswith("(2007_000027.jpg)") for i in range(5)].index(True)
    np.testing.assert_array_equal(source[index].boxes, [[173, 100, 349, 351]])
    written = TfdsSource("voc/2012", "train", prepared, one_based=False)
    np.testing.assert_array_equal(written[index].boxes, [[174, 101, 349, 351]])


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.data(), st.integers(2, 8000), st.integers(2, 8000))
def test_whole_pixels_survive_shares_in_float32(data, width, height):
    corners = []
    for side in (width, height):
        low = data.draw(st.integers(1, side - 1))
        corners.append((low, data.draw(st.integers(low + 1, side))))
    (xmin, xmax), (ymin, ymax) = corners
    shares = np.array([[ymin / height, xmin / width, ymax / height, xmax / width]], np.float32)
    one = np.ones(1, np.int64)
    index = RecordIndex(
        sizes=np.array([[height, width]]),
        image_ids=one,
        filenames=np.array([""]),
        counts=one,
        boxes=shares,
        labels=one,
        crowd=one > 1,
        difficult=one > 1,
        areas=np.ones(1, np.float32),
    )
    np.testing.assert_array_equal(_to_pixels(index, np.zeros(1, int)), [[xmin, ymin, xmax, ymax]])


def test_a_builder_of_somebodys_own(tmp_path):
    # 64x48: shares of 1/8 are 8 and 6 pixels. Neither names of classes, nor ids, nor flags.
    box = np.array([0.25, 0.125, 0.5, 0.75], np.float32)
    empty = {"image": _png(30, 20, gray=True), "objects": []}
    full = {"image": _png(), "objects": [{"bbox": box, "label": 2}]}
    label = tfds.features.ClassLabel(num_classes=3)
    _prepare_plain(tmp_path, [full, empty], label=label)
    source = TfdsSource("plain", "train", tmp_path)
    assert source.classes == ("class 0", "class 1", "class 2") and source.category_ids == (1, 2, 3)
    by_size = {tuple(size): index for index, size in enumerate(source.sizes.tolist())}
    example = source[by_size[48, 64]]
    np.testing.assert_array_equal(example.boxes, [[8, 12, 48, 24]])
    assert example.labels.tolist() == [2] and example.area.tolist() == [480]
    assert example.image.shape == (48, 64, 3) and example.image.dtype == np.uint8
    assert source[by_size[20, 30]].image.shape == (20, 30, 3)
    assert source.describe(0) == "plain train record 0"
    counts = annotations_of(source).counts
    assert counts.tolist() == [int(index == by_size[48, 64]) for index in range(2)]
    _prepare_plain(tmp_path, [{"image": _png(), "objects": [{"bbox": box}]}], name="bare")
    bare = TfdsSource("bare", "train", tmp_path)
    assert bare.classes == ("object",) and bare[0].labels.tolist() == [0]


# ymin, xmin, ymax, xmax of an image of 64x48 and a label of three, the kind, the sentence, and the
# region to ignore: the square over a line (12 high at x 32), or all where no place is known.
WHOLE = [0, 0, 64, 48]
BAD_OBJECTS = {
    "nan": ((0.1, np.nan, 0.5, 0.5), 0, "bad_box", r"4\.8, 32, 24 pixels\) is not four", WHOLE),
    "infinite": ((0.1, 0.1, np.inf, 0.5), 0, "bad_box", "is not four finite numbers", WHOLE),
    "no width": (
        (0.25, 0.5, 0.5, 0.5), 1, "no_area", r"label 1; 32, 12, 32, 24 pixels\) has no",
        [26, 12, 38, 24],
    ),
    "beyond": ((0.2, 1.001, 0.4, 1.002), 0, "outside", "is outside its image", WHOLE),
    "no label": (
        (0.25, 0.25, 0.5, 0.5), -1, "unknown_category", r"label -1; .*has no class",
        [16, 12, 32, 24],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_OBJECTS)
def test_a_bad_object_gets_a_sentence_or_is_ignored(tmp_path, fault):
    box, label, kind, sentence, region = BAD_OBJECTS[fault]
    good = {"bbox": np.array([0, 0, 1, 1.0001], np.float32), "label": 0}  # .0064 pixel: rounding
    bad = {"bbox": np.array(box, np.float32), "label": label}
    examples = [{"image": _png(), "objects": [good, bad, {**good, "label": 2}]}]
    _prepare_plain(tmp_path, examples, label=tfds.features.ClassLabel(names=["a", "b", "c"]))
    with pytest.raises(DataError, match=r"^plain train record 0: box 2 \(.*" + sentence) as caught:
        TfdsSource("plain", "train", tmp_path)
    assert caught.value.kind == kind and "config.data.on_error='skip'" in str(caught.value)
    source = TfdsSource("plain", "train", tmp_path, on_error="skip")
    np.testing.assert_array_equal(source[0].boxes, [WHOLE, region, WHOLE])
    assert source[0].labels.tolist() == [0, label, 2]
    assert source[0].ignored.tolist() == [False, True, False]
    assert [problem.sentence for problem in source.skipped] == [str(caught.value)]
    assert source.census == Census(1, 3)


def test_what_can_be_put_right_is_and_is_counted(tmp_path):
    boxes = [(0.25, 0.5, 0.5, 1.25), (0.5, 0.5, 0.25, 0.25), (0.25, 0.25, 0.5, 0.5)]
    objects = [{"bbox": np.array(box, np.float32)} for box in boxes]
    _prepare_plain(tmp_path, [{"image": _png(), "objects": objects}])
    source = TfdsSource("plain", "train", tmp_path)
    # x .5 to 1.25 of 64 is 32 to 80, clipped at 64; the third box is the second one in order.
    np.testing.assert_array_equal(source[0].boxes, [[32, 12, 64, 24], [16, 12, 32, 24]])
    assert source.census == Census(1, 3, changes={"clipped": 1, "exchanged": 1, "repeated": 1})


def test_a_bad_image_gets_a_sentence_or_is_left_out(tmp_path):
    box = [{"bbox": np.array([0.5, 0.25, 0.5, 0.5], np.float32)}]
    examples = [{"image": data, "objects": box * bad} for data, bad in ((_png(), 0), (b"gif", 1))]
    folder = _prepare_plain(tmp_path, examples)
    with pytest.raises(DataError, match=r"record \d: is not a readable image; ") as caught:
        TfdsSource("plain", "train", tmp_path)
    assert caught.value.kind == "unreadable_image"
    source = TfdsSource("plain", "train", tmp_path, on_error="skip")
    assert len(source) == 1 and source[0].image.shape == (48, 64, 3)
    assert [problem.kind for problem in source.skipped] == [
        "unreadable_image"
    ]  # no word of its box
    assert source.describe(0)[-1] == str(source.image_id(0) - 1)
    shutil.rmtree(folder)
    _prepare_plain(tmp_path, examples[1:])
    with pytest.raises(DataError, match=r"split 'train' has no images to load"):
        TfdsSource("plain", "train", tmp_path, on_error="skip")


def test_an_image_cut_off_gets_a_sentence_when_it_is_loaded(tmp_path):
    photo = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    _prepare_plain(tmp_path, [{"image": photo[1].tobytes()[:-200], "objects": []}])
    source = TfdsSource("plain", "train", tmp_path, on_error="skip")
    with pytest.raises(DataError, match=r"^plain train record 0: the image is truncated"):
        source[0]


def test_ids_used_twice(coco_dir):
    with pytest.raises(DataError, match=r"record 2 \(.*\): has the id \d+ of another im") as caught:
        TfdsSource("coco/2017", "validation+validation", coco_dir)
    assert caught.value.kind == "duplicate_image"


def test_an_image_may_be_decoded_at_a_fraction_of_its_size(prepared):
    source = TfdsSource("coco/2017", "train", prepared)
    whole, half = source[0], source.load(0, at_least=(200, 200))
    height, width = whole.image.shape[:2]
    assert half.image.shape == (-(-height // 2), -(-width // 2), 3)
    np.testing.assert_allclose(half.boxes * 2, whole.boxes, rtol=0.01)


def test_some_images_of_a_part_of_a_split(prepared):
    source = TfdsSource("coco/2017", "train", prepared)
    some = source.select(np.array([3, 0]))
    assert [some.image_id(0), some.image_id(1)] == [source.image_id(3), source.image_id(0)]
    np.testing.assert_array_equal(some[0].image, source[3].image)
    np.testing.assert_array_equal(some[1].boxes, source[0].boxes)
    assert some.describe(0) == source.describe(3) and len(some) == len(some.sizes) == 2
    part = TfdsSource("coco/2017", "train[2:4]", prepared)
    assert [part.image_id(0), part.image_id(1)] == [source.image_id(2), source.image_id(3)]


READ = """
import sys
from ioub_jax.data.sources.tfds import TfdsSource
source = TfdsSource("coco/2017", "train", sys.argv[1])
print(len([source[index].image for index in range(len(source))]))
assert not {"tensorflow", "jax"} & set(sys.modules)
"""


def test_reading_loads_neither_tensorflow_nor_jax(prepared):
    command = [sys.executable, "-c", READ, str(prepared)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "7\n"), run.stderr


def test_processes_read_at_once_and_share_what_they_read(coco_dir):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        # Both find no index and make one.
        opened = [pool.submit(TfdsSource, "coco/2017", "train", coco_dir) for _ in range(2)]
        source, other = (future.result() for future in opened)
        assert [path.suffix for path in coco_dir.rglob("*ioub_jax_index*")] == [".npz"]
        np.testing.assert_array_equal(source.sizes, other.sizes)
        indices = range(len(source))
        for index, example in zip(
            indices, pool.map(operator.getitem, [source] * len(source), indices), strict=True
        ):
            np.testing.assert_array_equal(example.image, source[index].image)
            np.testing.assert_array_equal(example.boxes, source[index].boxes)


def test_threads_share_a_source(prepared):
    source = TfdsSource("coco/2017", "train", prepared)
    indices = list(range(len(source))) * 4
    fresh = pickle.loads(pickle.dumps(source))  # its files are not open yet
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, example in zip(indices, pool.map(fresh.__getitem__, indices), strict=True):
            np.testing.assert_array_equal(example.image, source[index].image)


def _refuse_to_read(monkeypatch):
    def read(*_):
        raise AssertionError("the records were read again")

    monkeypatch.setattr(RecordIndex, "read", read)


def _count_reads(monkeypatch):
    reads = []
    read = RecordIndex.read

    def counted(records, total, title):
        reads.append(title)
        return read(records, total, title)

    monkeypatch.setattr(RecordIndex, "read", counted)
    return reads


def test_a_split_is_read_once(coco_dir, monkeypatch):
    first = TfdsSource("coco/2017", "train", coco_dir)
    with monkeypatch.context() as patch:
        _refuse_to_read(patch)
        second = TfdsSource("coco/2017", "train", coco_dir)
        with pytest.raises(AssertionError):
            TfdsSource("coco/2017", "validation", coco_dir)
        with pytest.raises(AssertionError):
            TfdsSource("coco/2017", "train[:3]", coco_dir)
    for index in range(len(first)):
        np.testing.assert_array_equal(first[index].boxes, second[index].boxes)
        assert first.describe(index) == second.describe(index)


def _kept(data_dir):
    return list(data_dir.rglob("ioub_jax_index*.npz"))


def _change(**arrays):
    def change(path):
        with np.load(path) as file:
            whole = dict(file)
        np.savez(path, **(whole | arrays))

    return change


BROKEN = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "empty": lambda path: path.write_bytes(b""),
    "of another kind": lambda path: path.write_bytes(b"PK\x03\x04 no archive"),
    "of other records": _change(key=np.array("other")),
    "with too few labels": _change(labels=np.zeros(1, int)),
    "with Python objects": _change(labels=np.array([{}])),
    "without its arrays": lambda path: np.savez(path, sizes=np.zeros((7, 2))),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_index_is_made_again(coco_dir, monkeypatch, fault):
    expected = TfdsSource("coco/2017", "train", coco_dir)
    (path,) = _kept(coco_dir)
    BROKEN[fault](path)
    reads = _count_reads(monkeypatch)
    source = TfdsSource("coco/2017", "train", coco_dir)
    np.testing.assert_array_equal(source[0].boxes, expected[0].boxes)
    TfdsSource("coco/2017", "train", coco_dir)
    assert reads == ["coco/2017 train"] and _kept(coco_dir) == [path]


def test_records_that_were_prepared_again_are_read_again(tmp_path, monkeypatch):
    kept = {}
    for size in ((64, 48), (64, 40)):
        folder = _prepare_plain(tmp_path, [{"image": _png(*size), "objects": []}])
        for path, content in kept.items():
            path.write_bytes(content)
        assert TfdsSource("plain", "train", tmp_path).sizes.tolist() == [[size[1], size[0]]]
        kept = {path: path.read_bytes() for path in _kept(tmp_path)}
        (records,) = folder.glob("*.array_record*")
        if size == (64, 48):
            shutil.rmtree(folder)
    assert len(kept) == 2
    # The same bytes at another time.
    os.utime(records, ns=(1, 1))
    reads = _count_reads(monkeypatch)
    TfdsSource("plain", "train", tmp_path)
    assert len(reads) == 1


def test_where_nobody_may_write_the_index_goes_to_the_users_cache(
    coco_dir, cache_folder, monkeypatch, caplog
):
    closed = [coco_dir / "coco/2017/1.1.0"]
    make = tempfile.mkstemp

    def make_unless_closed(**options):  # a test may run as root, who may write everywhere
        if options["dir"] in closed:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", make_unless_closed)
    TfdsSource("coco/2017", "train", coco_dir)
    assert _kept(coco_dir) == [] and len(_kept(cache_folder)) == 1 and not caplog.records
    with monkeypatch.context() as patch:
        _refuse_to_read(patch)
        TfdsSource("coco/2017", "train", coco_dir)
    closed.append(cache_folder)
    with caplog.at_level(logging.WARNING):
        assert len(TfdsSource("coco/2017", "validation", coco_dir)) == 2
    assert "coco/2017 validation: the index cannot be kept in " in caplog.text
    assert "(Read-only file system)" in caplog.text


def test_the_newest_version_is_read_unless_another_is_named(tmp_path, monkeypatch):
    for version, width in (("1.9.0", 9), ("1.10.0", 10), ("1.0.0", 1)):
        _prepare_plain(tmp_path, [{"image": _png(width, 20), "objects": []}], version=version)
    assert TfdsSource("plain", "train", tmp_path).sizes.tolist() == [[20, 10]]
    assert TfdsSource("plain:1.9.0", "train", tmp_path).sizes.tolist() == [[20, 9]]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert TfdsSource("plain:1.0.*", "train").sizes.tolist() == [[20, 1]]


def test_what_is_not_prepared_is_told_with_the_command(prepared):
    with pytest.raises(DataError, match=r"holds no prepared 'coco/2014'; set config") as caught:
        TfdsSource("coco/2014", "train", prepared)
    assert f"tfds.builder('coco/2014', data_dir='{prepared}', file_format='array_record')." in str(
        caught.value
    )
    with pytest.raises(DataError, match=r"coco: holds the configs 2017; .* such as 'coco/2017'"):
        TfdsSource("coco", "train", prepared)


@pytest.mark.parametrize("split", ["val", "train[", "", "train[:1]+val"])
def test_an_unknown_split_is_told_with_those_there_are(prepared, split):
    with pytest.raises(DataError, match=r"has no split .*to one of \['train', 'validation'\]"):
        TfdsSource("coco/2017", split, prepared)


def test_records_without_random_access_are_told_with_the_command(coco_dir):
    path = coco_dir / "coco/2017/1.1.0/dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fileFormat": "tfrecord"}))
    sentence = (
        r"1\.1\.0: is prepared as tfrecord, .* convert it with `tfds convert_format "
        r"--dataset_version_dir=.*coco/2017/1\.1\.0 --out_file_format=array_record`"
    )
    with pytest.raises(DataError, match=sentence):
        TfdsSource("coco/2017", "train", coco_dir)


def test_damaged_folders_are_told(coco_dir):
    folder = coco_dir / "coco/2017/1.1.0"
    TfdsSource("coco/2017", "train", coco_dir)
    (records,) = folder.glob("*train.array_record*")
    whole = records.read_bytes()
    records.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1\.1\.0: .*cannot be read .*prepare the data set again"):
        TfdsSource("coco/2017", "train", coco_dir)
    records.unlink()
    with pytest.raises(DataError, match=r"(No such file|not found).*prepare the data set again"):
        TfdsSource("coco/2017", "train", coco_dir)
    (folder / "features.json").write_text("{")
    with pytest.raises(DataError, match=r"1\.1\.0: is not a data set that TFDS can open \("):
        TfdsSource("coco/2017", "train", coco_dir)


def _other_features():
    box, image = tfds.features.BBoxFeature(), tfds.features.Image()
    sequence = tfds.features.Sequence
    return {
        "no image": ({"objects": sequence({"bbox": box})}, "no feature 'image'"),
        "no objects": ({"image": image, "label": np.int64}, "no feature 'objects/bbox'.*label"),
        "no boxes": ({"image": image, "objects": sequence({"x": np.int64})}, "'objects/bbox'"),
        "no box": ({"image": image, "objects": {"bbox": box}}, "'objects/bbox'"),
        "other boxes": (
            {
                "image": image,
                "objects": sequence({"bbox": tfds.features.BBoxFeature(bbox_format="XYWH")}),
            },
            "boxes in the format XYWH",
        ),
        "not a class label": (
            {"image": image, "objects": sequence({"bbox": box, "label": np.int64})},
            "'objects/label' that is not a class label",
        ),
    }


@pytest.mark.parametrize("fault", _other_features())
def test_other_features_are_told(tmp_path, fault):
    features, sentence = _other_features()[fault]
    box = tfds.features.BBox(0.1, 0.1, 0.2, 0.2)
    values = {"bbox": box, "label": 1, "x": 1}
    wanted = features.get("objects")
    each = wanted.feature if isinstance(wanted, tfds.features.Sequence) else wanted or {}
    objects = {name: values[name] for name in each}
    example = {"image": _png(), "label": 1, "objects": objects}
    if isinstance(wanted, tfds.features.Sequence):
        example["objects"] = [objects]
    example = {name: example[name] for name in features}
    tfds_builders.prepare(tmp_path, "other", features, {"train": {"0": example}})
    with pytest.raises(DataError, match=sentence + r".*config\.data\.tfds\.name"):
        TfdsSource("other", "train", tmp_path)


def test_without_tfds_the_way_to_it_is_told(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r"not installed; .*pip install 'ioub_jax\[tfds\]'"):
        TfdsSource("coco/2017", "train", prepared)


def test_an_unknown_on_error_is_refused(prepared):
    with pytest.raises(ValueError, match=r"^on_error is 'ignore'"):
        TfdsSource("coco/2017", "train", prepared, on_error="ignore")


def _prepare_with_tfds(name, data_dir, archives, monkeypatch):
    """Prepares a data set with the builder of TFDS itself, by the command of our sentence."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("importlib_resources")  # TFDS needs it and does not ask for it

    def download_and_extract(manager, urls):
        del manager
        return {key: str(archives / pathlib.Path(url).stem) for key, url in urls.items()}

    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", download_and_extract)
    tfds.builder(name, data_dir=str(data_dir), file_format="array_record").download_and_prepare()


def _archive(folder, **links):
    """An archive as extracted; the folders in it are links."""
    folder.mkdir(parents=True)
    for name, target in links.items():
        (folder / name).symlink_to(target)
    return folder


def test_coco_as_tfds_prepares_it(tmp_path, shared_data, monkeypatch):
    coco_mini, archives = shared_data / "coco_mini", tmp_path / "archives"
    for images in ("train2017", "val2017"):
        _archive(archives / images, **{images: coco_mini / images})
    _archive(archives / "test2017", test2017=coco_mini / "val2017")
    _archive(archives / "annotations_trainval2017", annotations=coco_mini / "annotations")
    content = json.loads((coco_mini / "annotations/instances_val2017.json").read_text())
    test = {"images": content["images"][:2], "categories": content["categories"]}
    info = _archive(archives / "image_info_test2017/annotations")
    (info / "image_info_test2017.json").write_text(json.dumps(test))
    _prepare_with_tfds("coco/2017", tmp_path / "data", archives, monkeypatch)
    for split, images, number in (("train", "train", 128), ("validation", "val", 79)):
        source = TfdsSource("coco/2017", split, tmp_path / "data")
        _assert_same_coco(source, coco_mini, number, images)
    test_source = TfdsSource("coco/2017", "test", tmp_path / "data")
    assert annotations_of(test_source).counts.tolist() == [0, 0]
    assert test_source.category_ids[-1] == 90


def test_voc_as_tfds_prepares_it(tmp_path, shared_data, monkeypatch):
    voc_folder, archives = shared_data / "voc2012_100", tmp_path / "archives"
    names = sorted(path.stem for path in (voc_folder / "JPEGImages").iterdir())
    splits = {"train": names[:60], "val": names[60:], "test": names[:1]}
    for archive in ("VOCtrainval_11-May-2012", "VOC2012test"):
        folders = {name: voc_folder / name for name in ("Annotations", "JPEGImages")}
        folder = _archive(archives / archive / "VOCdevkit/VOC2012", **folders)
        (folder / "ImageSets/Main").mkdir(parents=True)
        for split, listed in splits.items():
            (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(listed))
    _prepare_with_tfds("voc/2012", tmp_path / "data", archives, monkeypatch)
    for split, listed in (("train", names[:60]), ("validation", names[60:])):
        source = TfdsSource("voc/2012", split, tmp_path / "data")
        _assert_same_voc(source, voc_folder, listed)
    assert not annotations_of(TfdsSource("voc/2012", "test", tmp_path / "data")).counts.any()
