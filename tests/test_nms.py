import pathlib

import hypothesis
import hypothesis.extra.numpy as hypothesis_numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import nms as nms_module
from ioub_jax.nms import class_wise_nms

GOLDEN = pathlib.Path(__file__).parent / "golden" / "peer_losses.npz"

suppressed = jax.jit(class_wise_nms, static_argnames=("iou_threshold", "max_detections"))


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def reference_iou(box, other):
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    if sides.min() <= 0:
        return 0.0
    areas = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2])
    return np.prod(sides) / (areas - np.prod(sides))


def reference_nms(boxes, scores, labels, valid, iou_threshold):
    """Complete greedy class-wise NMS, as a list of indices."""
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        rivals = [other for other in kept if labels[other] == labels[index]]
        overlaps = [reference_iou(boxes[index], boxes[other]) for other in rivals]
        if valid[index] and all(overlap <= iou_threshold for overlap in overlaps):
            kept.append(index)
    return kept


def in_blocks_of(size):
    def nms(*boxes, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nms_module, "_BLOCK", size)
            return class_wise_nms(*boxes, **options)

    return jax.jit(nms, static_argnames=("iou_threshold", "max_detections"))


in_blocks_of_3 = in_blocks_of(3)


def picked(boxes, scores, labels, valid, nms=suppressed, **options):
    indices, found = nms(
        np.float32(boxes), np.float32(scores), np.int32(labels), np.array(valid, bool), **options
    )
    assert indices.dtype == jnp.int32
    assert not np.asarray(indices)[~np.asarray(found)].any()
    assert np.all(np.diff(np.int32(found)) <= 0), "padding comes last"
    return np.asarray(indices)[np.asarray(found)].tolist()


def test_nms_by_hand():
    # IoU of boxes 0 and 1: 80 / 100 in one class; box 2 is box 0 in another class; box 3 has with
    # box 0 an IoU of 50 / 100, which is not above 0.5, and with box 1 of 30 / 100.
    boxes = [[0, 0, 10, 10], [0, 2, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5]]
    scores, labels = [0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1]
    options = {"iou_threshold": 0.5, "max_detections": 6}
    assert picked(boxes, scores, labels, [1, 1, 1, 1], **options) == [0, 2, 3]
    # Box 1 is back without box 0, and box 3 stays: 30 / 100.
    assert picked(boxes, scores, labels, [0, 1, 1, 1], **options) == [1, 2, 3]
    assert picked(boxes, scores, labels, [0, 0, 0, 0], **options) == []
    assert picked(boxes, [0.9, 0.8, np.nan, -np.inf], labels, [1] * 4, **options) == [0]
    # Equal scores: the lower index first. Negative scores are scores.
    assert picked(boxes, [-1, -1, -1, -1], labels, [1] * 4, **options) == [0, 2, 3]


def test_nms_uses_up_boxes_without_area():
    boxes = [[5, 5, 5, 5], [5, 5, 5, 5]]
    assert picked(boxes, [0.5, 0.6], [0, 0], [1, 1], iou_threshold=0.5, max_detections=4) == [1, 0]


def test_nms_equals_mmdetection():
    golden = np.load(GOLDEN)
    boxes, scores, labels = (
        golden[f"batched_nms/0|in|{name}"] for name in ("boxes", "scores", "classes")
    )
    threshold = float(golden["batched_nms/0|in|iou_threshold"])
    expected = golden["batched_nms/0|grad|keep"].tolist()
    valid = np.ones(len(boxes), bool)
    kept = picked(boxes, scores, labels, valid, iou_threshold=threshold, max_detections=len(boxes))
    assert kept == expected
    kept = picked(boxes, scores, labels, valid, iou_threshold=threshold, max_detections=10)
    assert kept == expected[:10]


# Whole areas below 256, so that an IoU is above the threshold in float32 where it really is; few
# distinct scores, so that they tie.
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    boxes=hypothesis_numpy.arrays(np.float32, (16, 4), elements=st.sampled_from(range(16))),
    scores=hypothesis_numpy.arrays(np.float32, 16, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    labels=hypothesis_numpy.arrays(np.int32, 16, elements=st.integers(0, 1)),
    valid=hypothesis_numpy.arrays(bool, 16),
    threshold=st.sampled_from([0.25, 0.5]),
)
def test_nms_is_the_start_of_the_complete_one(boxes, scores, labels, valid, threshold):
    # Boxes with their edges in order, so that most have an area.
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), boxes.max(1)[:, None] + [0, 1]], 1
    )
    expected = reference_nms(boxes, scores, labels, valid, threshold)
    for nms in (suppressed, in_blocks_of_3):
        for count in (4, 16):
            options = {"iou_threshold": threshold, "max_detections": count}
            assert picked(boxes, scores, labels, valid, nms, **options) == expected[:count]


def test_nms_of_chains_in_which_each_box_removes_the_next():
    # Squares of 10 pixels 3 apart: IoU 7 / 13 with the next one, 4 / 16 with the one after that. So
    # every second one stays, and which it is only the one before it can say. 600 are three blocks.
    order = np.random.default_rng(0).permutation(600)
    left = np.float32(3 * order)
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    scores, labels, valid = 1 - order / 1000, [0] * 600, [1] * 600
    expected = np.argsort(order)[::2].tolist()
    options = {"iou_threshold": 0.5, "max_detections": 299}
    assert picked(boxes, scores, labels, valid, **options) == expected[:299]


def test_nms_of_many_candidates_of_a_few_objects():
    random = np.random.default_rng(1)
    objects = random.uniform(0, 90, (40, 4))[random.integers(0, 40, 700)]
    boxes = objects + np.concatenate([random.normal(0, 3, (700, 2))] * 2, axis=1)
    boxes[:, 2:] += 60
    boxes, scores = np.float32(boxes), np.float32(random.random(700))
    scores[::7] = scores[0]  # ties
    boxes[5] = np.nan  # overlaps nothing
    labels, valid = random.integers(0, 2, 700), random.random(700) < 0.9
    expected = reference_nms(np.nan_to_num(boxes), scores, labels, valid, 0.5)
    assert len(expected) > 100
    kept = picked(boxes, scores, labels, valid, iou_threshold=0.5, max_detections=700)
    assert kept == expected


def test_nms_of_the_same_box_again_and_again():
    boxes, labels = [[0, 0, 10, 10]] * 600, [0, 1, 2] * 200
    options = {"iou_threshold": 0.5, "max_detections": 300}
    assert picked(boxes, [0.5] * 600, labels, [1] * 600, **options) == [0, 1, 2]
    # An IoU of 1 is not above 1: all stay.
    options = {"iou_threshold": 1.0, "max_detections": 300}
    assert picked(boxes, [0.5] * 600, labels, [1] * 600, **options) == list(range(300))
