import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import ioub_jax
from ioub_jax import tile_merging, trained
from ioub_jax.data.checks import DataError
from ioub_jax.data.tiling import Tiling
from ioub_jax.detectors import Views
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import data_parts
from ioub_jax.workdirs import configuration, score_thresholds
from tests import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny.train_two_steps(tmp_path_factory.mktemp("run"), ((64, 64), (48, 80)))


@pytest.fixture(scope="module")
def detector(workdir):
    return ioub_jax.load(workdir, batch_size=2)


def random_image(seed, height=64, width=64):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_it_finds_what_an_evaluation_finds(workdir, detector):
    model = trained.load_run(workdir, "best", "val")
    results = model.evaluate().results
    for index in range(3):
        example = model.source[index]
        found = detector(np.asarray(example.image))
        expected = [r for r in results if r["image_id"] == example.image_id]
        assert len(found) == len(expected) > 0
        np.testing.assert_allclose(found.scores, [r["score"] for r in expected], rtol=1e-5)
        x, y, width, height = np.array([r["bbox"] for r in expected]).T
        np.testing.assert_allclose(
            found.boxes, np.stack([x, y, x + width, y + height], axis=1), atol=2e-3
        )
        ids = [detector.category_ids[label] for label in found.labels]
        assert ids == [r["category_id"] for r in expected]


def test_canvases_and_thresholds_can_be_others_than_those_of_the_run(workdir, detector):
    changes = {"data.canvases": ((64, 96),), "evaluation.max_detections": 3}
    other = ioub_jax.load(workdir, changes=changes)
    assert other.canvases == ((64, 96),) != detector.canvases
    assert 0 < len(other(random_image(0, 64, 96))) <= 3
    with pytest.raises(ConfigError, match=r"data\.canvases is \(\(64,\),\); it must be"):
        ioub_jax.load(workdir, changes={"data.canvases": ((64,),)})
    with pytest.raises(ConfigError, match=r"anchors\.ratios was fixed by the training"):
        ioub_jax.load(workdir, changes={"anchors.ratios": (1.0,)})


def test_classes_are_those_of_the_run(workdir, detector):
    source = data_parts.create_source(configuration.read_workdir(workdir).data, "val")
    assert detector.classes == tuple(source.classes)
    found = detector(random_image(0))
    assert found.class_names == tuple(detector.classes[label] for label in found.labels)
    assert found.image_size == (64, 64)
    assert (np.diff(found.scores) <= 0).all()


def test_a_file_an_array_and_a_pillow_image_are_the_same(detector, tmp_path):
    pixels = random_image(1, 60, 90)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    of_array = detector(pixels)
    with Image.open(path) as image:
        others = [detector(path), detector(str(path)), detector(image)]
    for other in others:
        np.testing.assert_array_equal(other.boxes, of_array.boxes)
        np.testing.assert_array_equal(other.scores, of_array.scores)


def test_many_images_of_many_sizes_come_back_in_their_order(detector):
    images = [random_image(seed, *size) for seed, size in enumerate(
        ((64, 64), (30, 90), (100, 100), (20, 60), (64, 64), (200, 333), (64, 70))
    )]  # fmt: skip
    together = detector(images)
    assert [found.image_size for found in together] == [image.shape[:2] for image in images]
    for image, found in zip(images, together, strict=True):
        alone = detector(image)
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-5)
        height, width = image.shape[:2]
        assert (found.boxes[:, 2] <= width + 1e-3).all()
        assert (found.boxes[:, 3] <= height + 1e-3).all()


def test_a_batch_is_an_array_of_images_and_nothing_is_nothing(detector):
    batch = np.stack([random_image(seed) for seed in range(3)])
    assert [len(found) > 0 for found in detector(batch)] == [True] * 3
    assert detector([]) == []


def test_arrays_of_jax_are_images_alone_and_as_a_batch(detector):
    batch = np.stack([random_image(seed) for seed in range(2)])
    alone, together = detector(jnp.asarray(batch[0])), detector(jnp.asarray(batch))
    assert len(together) == 2
    np.testing.assert_array_equal(alone.scores, detector(batch[0]).scores)
    np.testing.assert_array_equal(together[0].scores, alone.scores)


def test_gray_and_transparent_images_become_rgb(detector):
    gray = random_image(2)[:, :, 0]
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    transparent = np.concatenate([rgb, rgb[:, :, :1]], axis=2)
    expected = detector(rgb)
    for image in (gray, transparent, Image.fromarray(gray)):
        np.testing.assert_array_equal(detector(image).scores, expected.scores)


def test_scores_can_be_bounded(detector):
    found = detector(random_image(3))
    threshold = float(np.median(found.scores))
    above = detector(random_image(3), score_threshold=threshold)
    assert len(above) == int((found.scores >= threshold).sum()) < len(found)


def test_the_best_scores_of_the_classes_are_those_of_the_evaluation(workdir, detector):
    """Half of the classes are cut at the median score, the others nowhere."""
    image = random_image(3)
    everything = detector(image)
    median = float(np.median(everything.scores))
    cut = np.where(np.arange(len(detector.classes)) % 2, median, 0.0)
    rows = zip(detector.category_ids, detector.classes, cut.tolist(), strict=True)
    score_thresholds.write(workdir / "evaluation" / "val_2_thresholds.json", median, list(rows))
    best = ioub_jax.load(workdir, batch_size=2, score_threshold="best")
    expected = everything.scores >= cut[everything.labels]
    assert 0 < expected.sum() < len(expected)
    for found in (best(image), best(image, score_threshold="best")):
        np.testing.assert_array_equal(found.labels, everything.labels[expected])
    assert len(best(image, score_threshold=0.0)) == len(everything)
    assert str(workdir / "evaluation" / "val_2_thresholds.json") in str(best.measured)
    model = trained.load_run(workdir)
    assert model.detector.measured == model.measured == best.measured


def test_thresholds_that_are_none_are_refused(workdir, detector):
    unmeasured = ioub_jax.load(workdir, score_threshold=0.5)
    unmeasured.measured = None
    assert unmeasured.score_threshold == 0.5
    with pytest.raises(ConfigError, match="a run whose evaluation has measured the best scores"):
        unmeasured(random_image(0), score_threshold="best")
    for threshold in ("high", float("nan"), [0.1]):
        with pytest.raises(ConfigError, match=r"score_threshold is .*; give a number, or 'best'"):
            detector(random_image(0), score_threshold=threshold)
    with pytest.raises(ConfigError, match=r"but weights\.pth is not a workdir; give a number"):
        ioub_jax.load("weights.pth", score_threshold="best")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            np.zeros((4, 4, 3), np.float32),
            r"array of float32 \[4, 4, 3\]; its values must be uint8",
        ),
        (np.zeros((4, 4, 2), np.uint8), r"array of uint8 \[4, 4, 2\]; its shape must be \[height"),
        (np.zeros((0, 4, 3), np.uint8), r"array of uint8 \[0, 4, 3\]; its shape must be \[height"),
        (3.5, "An image is a float; give a file's name, a Pillow"),
        ("no_such_file.png", r"no_such_file\.png: cannot be read .*; restore the file, or leave"),
    ],
)
def test_what_is_no_image_is_refused(detector, image, words):
    with pytest.raises(DataError, match=words):
        detector([image])


def test_a_stream_goes_on_after_an_unreadable_image(detector, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    results = dict(detector.stream([random_image(0), broken, random_image(1)]))
    assert isinstance(results[1], DataError) and "broken.png" in str(results[1])
    assert len(results[0]) > 0 and len(results[2]) > 0


def test_what_is_no_detector_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no run"):
        ioub_jax.load(tmp_path)
    with pytest.raises(ValueError, match="no_such_weights"):
        ioub_jax.load("no_such_weights")


def test_tiles_find_what_their_parts_find_merged(detector, tmp_path):
    pixels = random_image(5, 64, 112)
    tiling = Tiling(64, 0.25)
    # Along 112 pixels tiles of 64 begin at 0 and 48, where the last one ends.
    parts = [detector(pixels[:, :64]), detector(pixels[:, 48:])]
    expected = tile_merging.merge(
        [tile_merging.Found(part.boxes, part.scores, part.labels) for part in parts],
        tiling.windows((64, 112)),
        (64, 112),
        nms_iou=detector.placed.detector.options.nms_iou,
        max_detections=detector.placed.detector.options.max_detections,
    )
    path = tmp_path / "wide.png"
    Image.fromarray(pixels).save(path)
    for image in (pixels, path, Image.fromarray(pixels)):
        found = detector(image, tiles=tiling)
        assert found.image_size == (64, 112) and len(found) == len(expected.labels) > 0
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
        assert found.class_names == tuple(detector.classes[label] for label in found.labels)
    # Several images, of which one is broken; as many tiles as fill no batch.
    (tmp_path / "broken.png").write_bytes(path.read_bytes()[:-40])
    images = [path, tmp_path / "broken.png", pixels[:, :70], path]
    results = dict(detector.stream(images, tiles=tiling))
    assert "broken.png: the image is truncated" in str(results[1])
    np.testing.assert_allclose(results[3].boxes, expected.boxes, atol=1e-3)
    assert results[2].image_size == (64, 70)


def test_a_run_of_tiles_detects_in_tiles_unless_it_is_told_otherwise(workdir, detector):
    of_tiles = ioub_jax.load(
        workdir, batch_size=2, changes={"data.tiles.size": 64, "data.tiles.overlap": 0.25}
    )
    assert of_tiles.tiling == Tiling(64, 0.25) and of_tiles.canvases == ((64, 64),)
    pixels = random_image(5, 64, 112)
    expected = detector(pixels, tiles=Tiling(64, 0.25))
    np.testing.assert_allclose(of_tiles(pixels).boxes, expected.boxes, atol=1e-3)
    assert of_tiles.tiling_for(80) == Tiling(80, 0.25)
    assert detector.tiling is None and detector.tiling_for(80) == Tiling(80)
    whole = of_tiles(pixels, tiles=0)
    small = detector(pixels[:, ::2])  # not the same pixels, but of the same canvas
    assert whole.image_size == (64, 112) and small.image_size == (64, 56)


@pytest.mark.parametrize("tiles", [16, -1])
def test_tiles_that_cannot_be_had_are_refused(detector, tiles):
    with pytest.raises(ConfigError, match=f"^tiles: size is {tiles}; it must be at least 32"):
        detector(random_image(0), tiles=tiles)


def test_a_network_of_one_size_sees_tiles_at_that(detector, monkeypatch):
    only = dataclasses.replace(detector.placed.detector, canvas=(64, 64))
    monkeypatch.setattr(detector, "placed", dataclasses.replace(detector.placed, detector=only))
    assert detector.tiling_for(128) == Tiling(128, zoom=0.5)
    with pytest.raises(ConfigError, match="are inputs of 96 pixels, but the network has one of 64"):
        detector.tiling_for(Tiling(96))


def test_a_detector_says_what_it_is(workdir, detector):
    assert repr(detector) == (
        "ObjectDetector(RetinaNet with resnet18; 8 classes (ellipse, rectangle, triangle, star, "
        "ring, ...); canvases 64x64, 48x80; scores above 0, nms with an IoU of 0.5, at most 100 "
        "detections)"
    )
    changes = {"evaluation.suppression": "soft_nms_gaussian", "data.tiles.size": 64}
    of_tiles = repr(ioub_jax.load(workdir, changes=changes))
    assert "tiles of 64 pixels with an overlap of 20%; scores above 0, soft_nms_gaussian with" in (
        of_tiles
    )


def test_what_is_found_knows_its_image_and_ids(detector, tmp_path):
    pixels = random_image(5, 64, 112)
    path = tmp_path / "wide.png"
    Image.fromarray(pixels).save(path)
    for image, options in ((pixels, {}), (path, {}), (path, {"tiles": Tiling(64)})):
        found = detector([image], **options)[0]
        ids = [result["category_id"] for result in found.to_coco()]
        assert ids == [detector.category_ids[label] for label in found.labels]
        # 480 / 112 is 4.3.
        assert found.above(0.5).draw().size == (5 * 112, 5 * 64)


def test_candidates_can_be_fused_in_place_of_nms(workdir, detector):
    image = random_image(0)
    change = {"evaluation.suppression": "weighted_box_fusion"}
    fused = ioub_jax.load(workdir, batch_size=2, changes=change)(image)
    found = detector(image)
    assert len(fused) > 0
    # The best box is the best candidate's, moved by those that it is fused with.
    np.testing.assert_allclose(fused.scores[0], found.scores[0], rtol=1e-5)
    assert fused.labels[0] == found.labels[0]
    assert np.abs(fused.boxes[0] - found.boxes[0]).max() > 0.01


@pytest.mark.slow
def test_several_views_are_one_program_and_what_an_evaluation_sees(workdir):
    views = Views(flip=True, scales=(1.0, 1.5))
    detector = ioub_jax.load(workdir, batch_size=2, views=views)
    assert detector.canvases == ((96, 96), (72, 120))
    assert "views: scales 1, 1.5 and mirrored, merged by weighted_box_fusion" in repr(detector)
    model = trained.load_run(workdir, "best", "val", views=views)
    results = model.evaluate().results
    for index in range(3):
        example = model.source[index]
        found = detector(np.asarray(example.image))
        expected = [r for r in results if r["image_id"] == example.image_id]
        assert len(found) == len(expected) > 0
        np.testing.assert_allclose(found.scores, [r["score"] for r in expected], rtol=1e-4)
        assert (found.boxes >= 0).all() and (found.boxes <= 64 + 1e-3).all()
    assert detector.placed.predict._cache_size() == 1
    of_run = model.detector
    np.testing.assert_allclose(of_run(np.asarray(example.image)).scores, found.scores, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"scales is \(1\.0, 1\.5\), but the network sees tiles"):
        detector(random_image(0), tiles=64)
