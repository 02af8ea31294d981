import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import box_fusion
from ioub_jax.box_fusion import weighted_box_fusion

GOLDEN = pathlib.Path(__file__).parent / "golden" / "post_processing.npz"

fused = jax.jit(
    weighted_box_fusion,
    static_argnames=("max_detections", "iou_threshold", "confidence", "weights"),
)


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def found_in(boxes, scores, labels, valid, **options):
    found = fused(
        np.float32(boxes), np.float32(scores), np.int32(labels), np.array(valid, bool), **options
    )
    boxes, scores, labels, there = (np.asarray(part) for part in found)
    assert boxes.dtype == scores.dtype == np.float32 and labels.dtype == np.int32
    for part in (boxes, scores, labels):
        assert not part[~there].any()
    assert np.all(np.diff(np.int32(there)) <= 0), "padding comes last"
    return boxes[there], scores[there], labels[there]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("confidence", box_fusion.CONFIDENCES)
def test_it_equals_ensemble_boxes(confidence, seed):
    golden = np.load(GOLDEN)
    case = f"wbf_{confidence}/{seed}|"
    boxes, scores, labels, models, weights, iou, skip = (
        golden[f"{case}in|{name}"]
        for name in (
            "boxes", "scores", "labels", "model", "weights", "iou_threshold", "skip_threshold"
        )
    )  # fmt: skip
    with jax.enable_x64(True):
        found = jax.jit(
            functools.partial(
                weighted_box_fusion,
                max_detections=20,
                iou_threshold=float(iou),
                confidence=confidence,
                weights=tuple(weights.tolist()),
            )
        )(boxes, scores, labels, scores >= skip, models=models)
    boxes, scores, labels, there = (np.asarray(part) for part in found)
    assert 0 < there.sum() == len(golden[f"{case}out|boxes"]) < 20
    # They compute the means in float32.
    np.testing.assert_allclose(boxes[there], golden[f"{case}out|boxes"], rtol=3e-6)
    np.testing.assert_allclose(scores[there], golden[f"{case}out|scores"], rtol=3e-6)
    np.testing.assert_array_equal(labels[there], golden[f"{case}out|labels"])


def test_by_hand():
    # Boxes 0 and 1 have an IoU of 80 / 100: their mean by .6 and .2 begins at y = 2 * .2 / .8 = .5,
    # and box 2 of the same class overlaps it by 45 of 100 alone. Box 3 is of another class.
    boxes = [[0, 0, 10, 10], [0, 2, 10, 10], [0, 0, 10, 5], [0, 0, 10, 10]]
    scores, labels = [0.6, 0.2, 0.1, 0.5], [1, 1, 1, 0]
    options = {"iou_threshold": 0.5, "max_detections": 6}
    found = found_in(boxes, scores, labels, [1] * 4, **options)
    np.testing.assert_allclose(
        found[0], [[0, 0, 10, 10], [0, 0.5, 10, 10], [0, 0, 10, 5]], rtol=1e-6
    )
    np.testing.assert_allclose(found[1], [0.5, 0.4, 0.1], rtol=1e-6)
    assert found[2].tolist() == [0, 1, 1]
    # The best score in place of the mean.
    _, scores_by_max, labels_by_max = found_in(
        boxes, scores, labels, [1] * 4, confidence="max", **options
    )
    np.testing.assert_allclose(scores_by_max, [0.6, 0.5, 0.1], rtol=1e-6)
    assert labels_by_max.tolist() == [1, 0, 1]
    # The best of them alone, of all clusters.
    few = found_in(boxes, scores, labels, [1] * 4, iou_threshold=0.5, max_detections=1)
    np.testing.assert_allclose(few[0], found[0][:1])


def test_boxes_that_one_of_two_views_has_count_half():
    # Box 0 of both views: mean score .5 times 2 / 2; box 1 of one: .8 times 1 / 2.
    boxes = np.float32([[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 10]])
    found = fused(
        boxes,
        np.float32([0.6, 0.8, 0.4]),
        np.int32([0, 0, 0]),
        np.ones(3, bool),
        models=np.int32([0, 0, 1]),
        weights=(1.0, 1.0),
        max_detections=2,
    )
    np.testing.assert_allclose(found[1], [0.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found[0], boxes[:2], rtol=1e-6)


def test_what_is_no_box_takes_no_part():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [np.nan] * 4, [0, 0, 9, 10]]
    options = {"max_detections": 5}
    found = found_in(boxes, [0.5, 0.9, 0.8, np.nan], [0] * 4, [1, 0, 1, 1], **options)
    np.testing.assert_allclose(found[0], [[0, 0, 10, 10]])
    np.testing.assert_allclose(found[1], [0.5])
    assert len(found_in(boxes, [0.5] * 4, [0] * 4, [0] * 4, **options)[1]) == 0


def test_another_confidence_is_refused():
    with pytest.raises(ValueError, match=r"confidence is 'min'; it must be one of \('avg', 'max'"):
        weighted_box_fusion(
            jnp.zeros((1, 4)),
            jnp.ones(1),
            jnp.zeros(1, int),
            jnp.ones(1, bool),
            max_detections=1,
            confidence="min",
        )
