import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.soft_nms import soft_nms

GOLDEN = pathlib.Path(__file__).parent / "golden" / "post_processing.npz"

softened = jax.jit(
    soft_nms, static_argnames=("decay", "max_detections", "iou_threshold", "sigma", "min_score")
)


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def picked(boxes, scores, labels, valid, **options):
    indices, scores, found = softened(
        np.float32(boxes), np.float32(scores), np.int32(labels), np.array(valid, bool), **options
    )
    assert indices.dtype == jnp.int32 and scores.dtype == jnp.float32
    found = np.asarray(found)
    assert not np.asarray(indices)[~found].any() and not np.asarray(scores)[~found].any()
    return np.asarray(indices)[found].tolist(), np.asarray(scores)[found]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("decay", ["linear", "gaussian"])
def test_it_equals_mmcv(decay, seed):
    golden = np.load(GOLDEN)
    case = f"soft_nms_mmcv_{decay}/{seed}|"
    boxes, scores, iou, sigma, least = (
        golden[f"{case}in|{name}"]
        for name in ("boxes", "scores", "iou_threshold", "sigma", "min_score")
    )
    with jax.enable_x64(True):
        indices, found_scores, found = jax.jit(
            functools.partial(
                soft_nms,
                decay=decay,
                max_detections=30,
                iou_threshold=float(iou),
                sigma=float(sigma),
                min_score=float(least),
            )
        )(boxes, scores, np.zeros(30, np.int32), np.ones(30, bool))
    expected = golden[f"{case}out|keep"]
    assert 0 < len(expected) < 30
    np.testing.assert_array_equal(np.asarray(indices)[np.asarray(found)], expected)
    np.testing.assert_allclose(
        np.asarray(found_scores)[np.asarray(found)], golden[f"{case}out|scores"], rtol=1e-12
    )


# IoU of boxes 0 and 1: 80 / 100 in one class; box 2 is box 0 in another class; box 3 has with box 0
# an IoU of 50 / 100 and with box 1 one of 30 / 100 (rows 2 to 5 of 0 to 10, in all).
BOXES = [[0, 0, 10, 10], [0, 2, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5]]
SCORES, LABELS = [0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1]


def test_linear_by_hand():
    # Box 0 leaves of box 1 .8 (1 - .8) = .16 and of box 3 .6 (1 - .5) = .3, which lowers nothing:
    # its IoU with box 1 is .3, below .5.
    options = {"decay": "linear", "iou_threshold": 0.5, "max_detections": 6}
    indices, scores = picked(BOXES, SCORES, LABELS, [1] * 4, **options)
    assert indices == [0, 2, 3, 1]
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.3, 0.16], rtol=1e-6)
    # From .3 on box 3 lowers box 1 to .16 * .7 = .112, which is less than .15.
    options |= {"iou_threshold": 0.3}
    _, scores = picked(BOXES, SCORES, LABELS, [1] * 4, **options)
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.3, 0.112], rtol=1e-6)
    options |= {"min_score": 0.15}
    assert picked(BOXES, SCORES, LABELS, [1] * 4, **options)[0] == [0, 2, 3]


def test_gaussian_by_hand():
    # exp(-.64 / .5) of .8 is .2224, exp(-.25 / .5) of .6 is .3639; then exp(-.09 / .5) of .2224.
    indices, scores = picked(BOXES, SCORES, LABELS, [1] * 4, decay="gaussian", max_detections=6)
    assert indices == [0, 2, 3, 1]
    np.testing.assert_allclose(
        scores, [0.9, 0.7, 0.6 * np.exp(-0.5), 0.8 * np.exp(-1.28 - 0.18)], rtol=1e-6
    )


def test_what_is_no_box_is_not_picked_and_lowers_nothing():
    options = {"decay": "gaussian", "max_detections": 6}
    assert picked(BOXES, SCORES, LABELS, [0] * 4, **options)[0] == []
    indices, scores = picked(BOXES, SCORES, LABELS, [0, 1, 1, 0], **options)
    assert indices == [1, 2]
    np.testing.assert_allclose(scores, [0.8, 0.7], rtol=1e-6)
    boxes = [[np.nan] * 4, *BOXES[1:]]
    assert picked(boxes, SCORES, LABELS, [1] * 4, **options)[0] == [1, 2, 3]
    assert picked(BOXES, [np.nan, 0.8, 0.7, 0.6], LABELS, [1] * 4, **options)[0] == [1, 2, 3]


def test_the_first_are_those_of_all():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (200, 2))], axis=1)
    scores, labels = random.uniform(0, 1, 200), random.integers(0, 3, 200)
    options = {"decay": "linear", "min_score": 0.01}
    few = picked(boxes, scores, labels, [1] * 200, max_detections=20, **options)
    many = picked(boxes, scores, labels, [1] * 200, max_detections=200, **options)
    assert len(many[0]) > 50 and few[0] == many[0][:20]
    assert (np.diff(many[1]) <= 0).all()


def test_another_decay_is_refused():
    with pytest.raises(ValueError, match="decay is 'hard'; it must be 'linear' or 'gaussian'"):
        soft_nms(BOXES, SCORES, LABELS, [True] * 4, decay="hard", max_detections=1)
