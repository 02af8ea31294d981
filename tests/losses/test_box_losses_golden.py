"""Losses on boxes against their authors' code, in float64 (tests/golden/README.md)."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses, wasserstein

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "modern_box_losses.npz"
with np.load(GOLDEN) as _file:
    VALUES = dict(_file)

# What the code bases add to denominators, 1e-10..1e-7, is up to 5e-8 of a loss here; two add 1e-7
# to their result, and mmdetection's IoU is at least 1e-6.
ADDED = {"acyolo_focaler_siou": 2e-7, "zscript_siou": 2e-7, "mmdet3_iou_linear": 1.1e-6}
PAIRS = ("generic_0", "generic_1", "edge")


def kind(name, **options):
    return functools.partial(losses.iou_loss, kind=name, **options)


def wise(mean, **options):
    """As the authors evaluate: with a mean that stays what it is."""
    return lambda boxes, targets: losses.wise_iou_loss(
        boxes, targets, mean, momentum=0.0, **options
    )[0]


#: Code bases with GIoU, DIoU and CIoU as in their papers.
OF_ALL_THREE = ("tv", "yolov6", "ultra", "paddle", "wiou_repo")
#: Family -> what of ours it is.
SAME = {
    "mmdet3_iou_linear": kind("iou"),
    "mmdet3_iou_square": kind("iou", power=2.0),
    "paddle_iou_square": kind("iou", power=2.0),
    **{f"{code}_giou": kind("giou") for code in ("mmdet3", "mmyolo", *OF_ALL_THREE)},
    **{f"{code}_diou": kind("diou") for code in ("mmdet3", "d2", *OF_ALL_THREE)},
    **{f"{code}_ciou": kind("ciou") for code in ("mmyolo", "d2", "paddle_bboxiou", *OF_ALL_THREE)},
    **{f"{code}_siou": kind("siou") for code in ("yolov6", "mmyolo", "paddle", "zscript")},
    "mmdet3_siou_neg_gamma": kind("siou"),
    "zscript_eiou": kind("eiou"),
    "acyolo_eiou": kind("eiou"),
    "zscript_focal_eiou": kind("focal_eiou"),
    "acyolo_mpdiou": kind("mpdiou", image_size=(480, 640)),
    "wiou_v1": kind("wiou_v1"),
    **{
        f"wiou_v{version}_{mean}": wise(mean, version=version)
        for version in (2, 3)
        for mean in (0.35, 0.8)
    },
    "aod_wiou_v3_0.35": wise(0.35, alpha=1.9, delta=3.0),
    **{
        f"inner_{name}_{ratio}": kind(name, inner=ratio)
        for name in ("ciou", "siou")
        for ratio in (0.7, 1.2)
    },
    **{f"acyolo_inner_iou_{ratio}": kind("iou", inner=ratio) for ratio in (0.7, 1.2)},
    **{
        f"acyolo_focaler_{name}": kind(name, focaler=(0.0, 0.95))
        for name in ("iou", "giou", "eiou", "siou")
    },
    **{f"shape_iou_{scale}": kind("shape_iou", scale=scale) for scale in (0.0, 0.7, 1.0)},
    "piou_v1": kind("piou"),
    "piou_v2": kind("piou2"),
    "nwd": losses.normalized_wasserstein_distance,
    **{f"alpha_{name}_3": kind(name, power=3.0) for name in ("iou", "giou", "diou", "ciou")},
}
#: What others do under one of these names -> what of ours has the name. docs/losses.md says so.
OTHER = {
    "mmdet3_siou": kind("siou"),
    "wiou_repo_misnamed_eiou": kind("eiou"),
    "acyolo_inner_ciou_0.7": kind("ciou", inner=0.7),
    "acyolo_focaler_ciou": kind("ciou", focaler=(0.0, 0.95)),
    "mmdet3_ciou": kind("ciou"),
}
#: Equal values, other gradients: what no gradient flows through is not the same.
OTHER_GRADIENT = {"zscript_wiou_v1": kind("wiou_v1"), "mmdet2_ciou": kind("ciou")}


@pytest.fixture(scope="module")
def found():
    """Losses and gradients of all families, of all pairs of boxes in one array."""
    pairs = [
        np.concatenate([VALUES[f"pairs/{name}|in|{side}"] for name in PAIRS])
        for side in ("pred", "target")
    ]

    @jax.jit
    def of_all(boxes, targets):
        results = {}
        for family, loss in (SAME | OTHER | OTHER_GRADIENT).items():
            values, pull_back = jax.vjp(functools.partial(_of_targets, loss, targets), boxes)
            results[family] = values, pull_back(jnp.ones_like(values))[0]
        return results

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        results = jax.device_get(of_all(*pairs))
    ends = np.cumsum([len(VALUES[f"pairs/{name}|in|pred"]) for name in PAIRS])
    return {
        (family, name): tuple(
            values[end - len(VALUES[f"pairs/{name}|in|pred"]) : end] for values in both
        )
        for family, both in results.items()
        for name, end in zip(PAIRS, ends, strict=True)
    }


def _of_targets(loss, targets, boxes):
    return loss(boxes, targets)


def relative_gradient(found, expected):
    """The largest difference in each box, over its largest coordinate."""
    return np.max(np.abs(found - expected) / np.abs(expected).max(axis=1, keepdims=True))


@pytest.mark.parametrize("family", SAME)
def test_value_and_gradient(found, family):
    for name in ("generic_0", "generic_1"):
        values, gradient = found[family, name]
        assert values.dtype == np.float64
        expected = VALUES[f"{family}/{name}|out|loss"]
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=ADDED.get(family, 5e-8))
        # Its sum is that of 21 pairs, of which 7 do not meet and have losses near 1.
        np.testing.assert_allclose(np.sum(values), VALUES[f"{family}/{name}|value"], rtol=1e-6)
        expected = VALUES[f"{family}/{name}|grad|pred"]
        # focaler: the gradient of a box nearly its target is 1e-3 of that code's eps.
        bound = 1e-4 if family in ("acyolo_focaler_giou", "acyolo_focaler_siou") else 1e-6
        absolute = 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=absolute)
        moved = np.abs(expected).max(axis=1) > 0
        assert np.all(gradient[~moved] == 0)
        assert relative_gradient(gradient[moved], expected[moved]) < bound


@pytest.mark.parametrize("family", SAME)
def test_at_kinks(found, family):
    values, gradient = found[family, "edge"]
    expected = VALUES[f"{family}/edge|out|loss"]
    defined = np.isfinite(expected)  # Paddle's SIoU is NaN where centers coincide
    assert defined.sum() >= 4
    np.testing.assert_allclose(
        values[defined], expected[defined], rtol=1e-6, atol=ADDED.get(family, 5e-8)
    )
    assert np.isfinite(values).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("family", OTHER)
def test_what_others_do_under_a_name_is_not_ours(found, family):
    values, _ = found[family, "generic_0"]
    assert np.max(np.abs(values - VALUES[f"{family}/generic_0|out|loss"])) > 1e-5


@pytest.mark.parametrize("family", OTHER_GRADIENT)
def test_what_others_let_gradients_through_is_not_ours(found, family):
    values, gradient = found[family, "generic_0"]
    np.testing.assert_allclose(values, VALUES[f"{family}/generic_0|out|loss"], rtol=1e-6, atol=5e-8)
    expected = VALUES[f"{family}/generic_0|grad|pred"]
    assert np.max(np.abs(gradient - expected)) > 5e-4 * np.abs(expected).max()


@pytest.mark.parametrize("case", [0, 1])
def test_wise_iou_as_it_trains(case):
    """The mean takes the batch in before it is used."""
    given = {
        name: VALUES[f"wiou_v3_train/{case}|in|{name}"]
        for name in ("pred", "target", "iou_mean", "momentum")
    }
    assert float(given["momentum"]) == 0.01  # ours

    @jax.jit
    def total(boxes, targets, mean):
        loss, mean = losses.wise_iou_loss(boxes, targets, mean)
        return jnp.sum(loss), mean

    with jax.enable_x64(True):
        by_boxes = jax.value_and_grad(total, has_aux=True)
        (value, mean), gradient = by_boxes(given["pred"], given["target"], given["iou_mean"])
    np.testing.assert_allclose(value, VALUES[f"wiou_v3_train/{case}|value"], rtol=1e-6)
    np.testing.assert_allclose(mean, VALUES[f"wiou_v3_train/{case}|out|iou_mean"], rtol=1e-6)
    expected = VALUES[f"wiou_v3_train/{case}|grad|pred"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("case", [0, 1])
def test_pairwise_similarity(case):
    a, b, expected = (
        VALUES[f"nwd_matrix/{case}|{name}"] for name in ("in|a", "in|b", "out|similarity")
    )
    with jax.enable_x64(True):
        found = wasserstein.pairwise_similarity(a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_every_family_is_compared():
    families = {key.split("/")[0] for key in VALUES} - {"pairs", "wiou_v3_train", "nwd_matrix"}
    assert families == set(SAME | OTHER | OTHER_GRADIENT)
