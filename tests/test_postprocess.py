import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ioub_jax import boxes as box_ops
from ioub_jax import postprocess
from ioub_jax.anchors import retinanet_anchors
from tests.test_nms import reference_nms

COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter")


def detect(*predictions, nms_iou=0.5, max_detections=100, method="nms", **options):
    """Detections of a RetinaNet."""
    found = postprocess.candidates(*predictions, **options)
    return postprocess.suppress(
        found, nms_iou=nms_iou, max_detections=max_detections, method=method
    )


def detect_softmax(*predictions, nms_iou=0.45, max_detections=200, **options):
    """Detections of an SSD."""
    found = postprocess.candidates_softmax(*predictions, **options)
    return postprocess.suppress(found, nms_iou=nms_iou, max_detections=max_detections)


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


ANCHORS = retinanet_anchors((32, 48), strides=(8, 16))
IMAGE_SIZES = np.float32([[32, 48], [24, 40]])
NUM_CLASSES = 3
detected = jax.jit(
    functools.partial(detect, anchors=ANCHORS, nms_iou=0.5),
    static_argnames=("score_threshold", "candidates_per_level", "max_detections"),
)


def predictions(seed, dtype=np.float32):
    random = np.random.default_rng(seed)
    logits = [random.normal(-1, 2, (2, len(level), NUM_CLASSES)) for level in ANCHORS]
    deltas = [random.normal(0, 0.4, (2, len(level), 4)) for level in ANCHORS]
    return tuple(x.astype(dtype) for x in logits), tuple(x.astype(np.float32) for x in deltas)


def reference_detect(logits, deltas, image_size, score_threshold, count, max_detections):
    """Detections of one image: boxes, scores, labels."""
    boxes, scores, labels = [], [], []
    for level_logits, level_deltas, anchors in zip(logits, deltas, ANCHORS, strict=True):
        flat = level_logits.reshape(-1)
        order = np.argsort(-np.float32(flat), kind="stable")[:count]
        index = order // NUM_CLASSES
        boxes.append(np.asarray(box_ops.decode(level_deltas[index], anchors[index])))
        scores.append(np.asarray(jax.nn.sigmoid(np.float32(flat[order]))))
        labels.append(order % NUM_CLASSES)
    boxes, scores, labels = (np.concatenate(parts) for parts in (boxes, scores, labels))
    height, width = image_size
    boxes = np.clip(boxes, 0, [width, height, width, height])
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    kept = reference_nms(boxes, scores, labels, (scores > score_threshold) & has_area, 0.5)
    return [part[kept][:max_detections] for part in (boxes, scores, labels)]


@pytest.mark.parametrize(
    ("dtype", "threshold", "count", "limit"),
    [
        (np.float32, 0.05, 60, 20),
        (jnp.bfloat16, 0.3, 10_000, 300),
        pytest.param(jnp.bfloat16, 0.05, 60, 20, marks=pytest.mark.slow),
        pytest.param(np.float32, 0.3, 10_000, 300, marks=pytest.mark.slow),
    ],
)
def test_detect_equals_the_reference(dtype, threshold, count, limit):
    # bfloat16 logits tie often; 10000 candidates are all there are; 300 detections never fit.
    logits, deltas = predictions(0, dtype)
    result = detected(
        logits,
        deltas,
        image_sizes=IMAGE_SIZES,
        score_threshold=threshold,
        candidates_per_level=count,
        max_detections=limit,
    )
    assert result.scores.dtype == jnp.float32
    for image in range(2):
        one = [[level[image] for level in levels] for levels in (logits, deltas)]
        expected = reference_detect(*one, IMAGE_SIZES[image], threshold, count, limit)
        number = len(expected[0])
        assert 0 < number <= limit
        np.testing.assert_array_equal(result.valid[image], np.arange(limit) < number)
        np.testing.assert_array_equal(result.labels[image, :number], expected[2])
        np.testing.assert_allclose(result.boxes[image, :number], expected[0], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(result.scores[image, :number], expected[1], rtol=1e-6)
        for padding, value in zip(result, (0.0, 0.0, -1, False), strict=True):
            assert np.all(np.asarray(padding[image, number:]) == value)


def one_high_logit(level, anchor, label):
    """Predictions in which one (anchor, class) of the first image is above the threshold."""
    logits = [np.full((2, len(a), NUM_CLASSES), -20.0, np.float32) for a in ANCHORS]
    logits[level][0, anchor, label] = 0.0
    return tuple(logits), tuple(np.zeros((2, len(a), 4), np.float32) for a in ANCHORS)


def test_one_detection_by_hand():
    # Anchor 3 of the first cell of the coarse level: a square of 64 around (8, 8), clipped to
    # 0..32 and 0..48 of its image. The sigmoid of 0 is 0.5.
    logits, deltas = one_high_logit(level=1, anchor=3, label=2)
    result = detected(logits, deltas, image_sizes=IMAGE_SIZES)
    assert result.valid.sum() == 1
    np.testing.assert_allclose(result.boxes[0, 0], [0, 0, 40, 32], atol=1e-4)
    assert (result.scores[0, 0], result.labels[0, 0]) == (0.5, 2)
    assert result.labels[1].tolist() == [-1] * 100


def test_a_box_outside_its_image_is_no_detection():
    # dx = -3 moves the square of 64 three widths to the left: -216..-152.
    logits, deltas = one_high_logit(level=1, anchor=3, label=2)
    deltas[1][0, 3, 0] = -3.0
    assert not detected(logits, deltas, image_sizes=IMAGE_SIZES).valid.any()


def test_nothing_above_the_threshold():
    logits, deltas = predictions(1)
    result = detected(logits, deltas, image_sizes=IMAGE_SIZES, score_threshold=1.0)
    assert not result.valid.any()
    assert not result.boxes.any()
    assert not result.scores.any()


def test_extreme_predictions_stay_finite():
    logits, deltas = predictions(2)
    result = detected(
        tuple(x * 1e4 for x in logits), tuple(x * 1e6 for x in deltas), image_sizes=IMAGE_SIZES
    )
    assert np.isfinite(result.boxes).all()
    assert np.isfinite(result.scores).all()


def test_what_is_not_a_number_is_no_detection_and_hides_none():
    # Of 1,000 anchors half have no number among their logits; XLA sorts NaN before all numbers.
    anchors = np.tile(np.float32([[0, 0, 10, 10]]), (1000, 1)) + 20 * np.arange(1000)[:, None]
    logits = np.full((1, 1000, 2), -9, np.float32)
    logits[0, ::2, 0] = np.nan
    logits[0, 10, 1] = 1.0
    logits[0, 11, 1] = 2.0
    deltas, sizes = np.zeros((1, 1000, 4), np.float32), np.float32([[1e6, 1e6]])
    images = [logits], [deltas], [anchors.astype(np.float32)], sizes
    found = jax.jit(functools.partial(detect, candidates_per_level=2))(*images)
    np.testing.assert_allclose(found.scores[0, :3], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1)), 0])
    np.testing.assert_array_equal(found.labels[0, :3], [1, 1, -1])
    # A softmax of NaN is NaN in all columns: anchor 10 has none.
    found = jax.jit(functools.partial(detect_softmax, candidates_per_class=1))(*images)
    np.testing.assert_array_equal(found.boxes[0, :2], [images[2][0][11], np.zeros(4)])


@pytest.mark.parametrize(
    ("detect_in", "columns"),
    [
        (detect, NUM_CLASSES),
        (detect_softmax, NUM_CLASSES + 1),
        (functools.partial(detect, method="soft_nms_linear"), NUM_CLASSES),
        (functools.partial(detect, method="weighted_box_fusion"), NUM_CLASSES),
    ],
    ids=["nms", "softmax", "soft_nms", "fusion"],
)
def test_devices_that_share_a_batch_do_not_communicate(detect_in, columns):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = PartitionSpec("data")

    def batch(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct((8, *shape), dtype, sharding=NamedSharding(mesh, split))

    logits = tuple(batch(len(level), columns, dtype=jnp.bfloat16) for level in ANCHORS)
    deltas = tuple(batch(len(level), 4) for level in ANCHORS)
    on_devices = jax.shard_map(
        lambda *images: detect_in(*images[:2], ANCHORS, images[2]),
        mesh=mesh,
        in_specs=split,
        out_specs=split,
    )
    compiled = jax.jit(on_devices).lower(logits, deltas, batch(2)).compile()
    assert not COLLECTIVE.findall(compiled.as_text())
    for output in jax.tree.leaves(compiled.output_shardings):
        assert output.spec[0] == "data"


softmax_detected = jax.jit(
    functools.partial(detect_softmax, anchors=ANCHORS),
    static_argnames=("score_threshold", "candidates_per_class", "nms_iou", "max_detections"),
)


def softmax_predictions(seed, dtype=np.float32):
    random = np.random.default_rng(seed)
    logits = [random.normal(0, 2, (2, len(level), 1 + NUM_CLASSES)) for level in ANCHORS]
    deltas = [random.normal(0, 3, (2, len(level), 4)) for level in ANCHORS]
    return tuple(x.astype(dtype) for x in logits), tuple(x.astype(np.float32) for x in deltas)


def reference_detect_softmax(logits, deltas, image_size, score_threshold, count, max_detections):
    """Detections of one image: boxes, scores, labels; class after class."""
    logits, deltas, anchors = (np.concatenate(parts) for parts in (logits, deltas, ANCHORS))
    exponentials = np.exp(np.float64(logits))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    height, width = image_size
    decoded = np.asarray(box_ops.decode(deltas, anchors, weights=(10.0, 10.0, 5.0, 5.0)))
    decoded = np.clip(decoded, 0, [width, height, width, height])
    boxes, scores, labels = [], [], []
    for label in range(NUM_CLASSES):
        score = probabilities[:, 1 + label]
        best = np.argsort(-np.float32(score), kind="stable")[:count]
        best = best[score[best] > score_threshold]
        boxes.append(decoded[best])
        scores.append(score[best])
        labels.append(np.full(len(best), label))
    boxes, scores, labels = (np.concatenate(parts) for parts in (boxes, scores, labels))
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    kept = reference_nms(boxes, scores, labels, has_area, 0.45)
    return [part[kept][:max_detections] for part in (boxes, scores, labels)]


@pytest.mark.parametrize(("threshold", "count", "limit"), [(0.02, 30, 20), (0.3, 10_000, 400)])
def test_detect_softmax_equals_the_reference(threshold, count, limit):
    logits, deltas = softmax_predictions(0)
    result = softmax_detected(
        logits,
        deltas,
        image_sizes=IMAGE_SIZES,
        score_threshold=threshold,
        candidates_per_class=count,
        max_detections=limit,
    )
    for image in range(2):
        one = [[level[image] for level in levels] for levels in (logits, deltas)]
        expected = reference_detect_softmax(*one, IMAGE_SIZES[image], threshold, count, limit)
        number = len(expected[0])
        assert 0 < number <= limit
        np.testing.assert_array_equal(result.valid[image], np.arange(limit) < number)
        np.testing.assert_array_equal(result.labels[image, :number], expected[2])
        np.testing.assert_allclose(result.boxes[image, :number], expected[0], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(result.scores[image, :number], expected[1], rtol=1e-5)


def test_one_softmax_detection_by_hand():
    # The background has logit ln 2 everywhere, the others -20; of anchor 3 of the first cell of the
    # coarse level, a square of 64 around (8, 8), class 2 has ln 2 too: score 1/2. dx = 2.5 moves it
    # by 2.5 / 10 of 64, to 24; dh = 5 ln 2 / 5 doubles its height: -8..56 and -56..72, clipped.
    logits = [np.full((2, len(a), 1 + NUM_CLASSES), -20.0, np.float32) for a in ANCHORS]
    deltas = [np.zeros((2, len(a), 4), np.float32) for a in ANCHORS]
    for level in logits:
        level[:, :, 0] = np.log(2)
    logits[1][0, 3, 1 + 2] = np.log(2)
    deltas[1][0, 3] = [2.5, 0, 0, 5 * np.log(2)]
    result = softmax_detected(tuple(logits), tuple(deltas), image_sizes=IMAGE_SIZES)
    assert result.valid.sum() == 1
    np.testing.assert_allclose(result.boxes[0, 0], [0, 0, 48, 32], atol=1e-4)
    np.testing.assert_allclose(result.scores[0, 0], 0.5, rtol=1e-6)
    assert result.labels[0, 0] == 2
    assert result.labels[1].tolist() == [-1] * 200


def test_every_class_has_its_own_candidates():
    # Class 0 is the best of every anchor, but has no more candidates than class 1.
    logits = [np.zeros((2, len(a), 1 + NUM_CLASSES), np.float32) for a in ANCHORS]
    for level in logits:
        level[:, :, 1:] = [2.0, 1.0, -9.0]
    deltas = [np.zeros((2, len(a), 4), np.float32) for a in ANCHORS]
    result = softmax_detected(
        tuple(logits),
        tuple(deltas),
        image_sizes=IMAGE_SIZES,
        candidates_per_class=5,
        nms_iou=1.0,
        max_detections=12,
    )
    assert result.labels[0].tolist() == [0] * 5 + [1] * 5 + [-1] * 2


def test_extreme_softmax_predictions_stay_finite():
    logits, deltas = softmax_predictions(1, jnp.bfloat16)
    result = softmax_detected(
        tuple(x * 10_000 for x in logits), tuple(x * 1e6 for x in deltas), image_sizes=IMAGE_SIZES
    )
    assert np.isfinite(result.boxes).all()
    assert np.isfinite(result.scores).all()
    assert result.scores.dtype == jnp.float32


def candidates_by_hand():
    """Two images of the same boxes, of which two are no candidates of the second."""
    boxes = np.float32([[0, 0, 10, 10], [0, 2, 10, 10], [0, 0, 10, 10], [0, 0, 10, 4]])
    valid = np.array([[1, 1, 1, 1], [0, 1, 1, 0]], bool)
    scores, labels = np.float32([0.9, 0.6, 0.7, 0.4]), np.int32([1, 1, 0, 1])
    return postprocess.Candidates(
        *(np.stack([part] * 2) for part in (boxes, scores, labels)), valid
    )


@pytest.mark.parametrize(
    ("method", "scores"),
    [
        # IoU of boxes 0 and 1: .8, of 0 and 3: .4, of 1 and 3: .2.
        ("nms", [0.9, 0.7, 0.4]),
        ("soft_nms_linear", [0.9, 0.7, 0.4, 0.6 * 0.2]),
        ("soft_nms_gaussian", [0.9, 0.7, 0.4 * np.exp(-0.16 / 0.25)]),  # box 1: .6 exp(-.64 / .25)
        ("weighted_box_fusion", [0.9, 0.7, 0.4]),
    ],
)
def test_candidates_become_detections_as_they_are_asked_to(method, scores):
    suppress = functools.partial(
        postprocess.suppress,
        nms_iou=0.5,
        max_detections=5,
        method=method,
        sigma=0.25,
        min_score=0.1,
    )
    candidates = candidates_by_hand()
    found = jax.jit(suppress)(candidates)
    number = len(scores)
    np.testing.assert_array_equal(found.valid, np.arange(5) < np.int32([[number], [2]]))
    np.testing.assert_allclose(found.scores[0, :number], scores, rtol=1e-6)
    np.testing.assert_allclose(found.scores[1], [0.7, 0.6, 0, 0, 0], rtol=1e-6)
    assert found.labels.tolist()[1] == [0, 1, -1, -1, -1]
    # The fused box of 0 and 1 begins at y = 2 * .6 / 1.5.
    top = 0.8 if method == "weighted_box_fusion" else 0.0
    np.testing.assert_allclose(found.boxes[0, 0], [0, top, 10, 10], rtol=1e-6)
    # An image by itself, which has no batch of loops, is the same.
    alone = jax.jit(suppress)(jax.tree.map(lambda part: part[:1], candidates))
    for part, together in zip(alone, found, strict=True):
        np.testing.assert_allclose(part[0], together[0], rtol=1e-6)


def test_another_suppression_is_refused():
    with pytest.raises(ValueError, match="suppression is 'soft_nms'; it must be one of"):
        postprocess.suppress(candidates_by_hand(), nms_iou=0.5, max_detections=5, method="soft_nms")


def test_scores_are_products_of_class_and_quality():
    logits, deltas = predictions(3)
    random = np.random.default_rng(4)
    qualities = [random.normal(0, 2, (2, len(level), 1)).astype(np.float32) for level in ANCHORS]
    for of_class, of_box in ((1.0, 1.0), (0.5, 0.5), (0.7, 0.3), (1.0, 0.0)):
        found = postprocess.candidates(
            logits,
            deltas,
            ANCHORS,
            IMAGE_SIZES,
            score_threshold=0.0,
            candidates_per_level=20,
            qualities=qualities,
            score_exponents=(of_class, of_box),
        )
        start = 0
        for level, quality in zip(logits, qualities, strict=True):
            p, q = (1 / (1 + np.exp(-np.float64(values))) for values in (level, quality))
            scores = (p**of_class * q**of_box).reshape(2, -1)
            expected = -np.sort(-scores, axis=1)[:, :20]
            told = found.scores[:, start : start + 20]
            np.testing.assert_allclose(told, expected, rtol=1e-5)
            start += 20


def test_extreme_scores_and_qualities_are_numbers():
    logits = (np.float32([[[200.0], [-200.0], [0.0]]]),)
    qualities = (np.float32([[[200.0], [-200.0], [200.0]]]),)
    anchors = (ANCHORS[0][:3],)
    found = postprocess.candidates(
        logits,
        (np.zeros((1, 3, 4), np.float32),),
        anchors,
        IMAGE_SIZES[:1],
        score_threshold=0.0,
        qualities=qualities,
    )
    np.testing.assert_allclose(found.scores, [[1.0, 0.5, 0.0]], atol=1e-6)


@pytest.mark.parametrize("method", ["nms", "soft_nms_linear", "soft_nms_gaussian"])
def test_boxes_of_other_classes_are_suppressed_where_classes_do_not_count(method):
    # The second overlaps the first by 80/120, the third neither.
    boxes = jnp.array([[[0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60]]], jnp.float32)
    scores, labels = jnp.array([[0.9, 0.8, 0.7]]), jnp.array([[2, 1, 1]])
    found = postprocess.Candidates(boxes, scores, labels, jnp.ones((1, 3), bool))
    options = {"nms_iou": 0.5, "max_detections": 3, "method": method}
    by_class = postprocess.suppress(found, **options)
    np.testing.assert_array_equal(by_class.labels, [[2, 1, 1]])
    np.testing.assert_allclose(by_class.scores, [[0.9, 0.8, 0.7]], rtol=1e-6)
    across = postprocess.suppress(found, **options, class_agnostic=True)
    if method == "nms":
        np.testing.assert_array_equal(across.labels, [[2, 1, -1]])
        np.testing.assert_array_equal(across.boxes[0, 1], boxes[0, 2])
    else:
        # .8 (1 - 2/3), or .8 exp(-(2/3)^2 / .5), goes behind .7.
        decay = 1 / 3 if method == "soft_nms_linear" else np.exp(-((2 / 3) ** 2) / 0.5)
        np.testing.assert_allclose(across.scores, [[0.9, 0.7, 0.8 * decay]], rtol=1e-5)
        np.testing.assert_array_equal(across.labels, [[2, 1, 1]])


def test_a_fusion_is_within_a_class():
    found = postprocess.Candidates(
        jnp.zeros((1, 1, 4)), jnp.ones((1, 1)), jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    )
    with pytest.raises(ValueError, match="class_agnostic is True, but suppression 'weighted"):
        postprocess.suppress(
            found, nms_iou=0.5, max_detections=1, method="weighted_box_fusion", class_agnostic=True
        )
