"""Every public function inside `jax.shard_map` with its default check, forward and backward.

Each of eight devices holds one image. What a function gives there is what it gives of that image
alone, and the gradient of the mean over the devices is the mean of the gradients of the images.
"""

import functools
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from ioub_jax import (
    assigners,
    box_fusion,
    boxes,
    losses,
    matching,
    nms,
    objective,
    postprocess,
    ranking,
    soft_nms,
    wasserstein,
)

DEVICES, ANCHORS, CLASSES, SLOTS = 8, 6, 3, 2
RANDOM = np.random.default_rng(0)


def _random_boxes(*shape):
    corners = RANDOM.uniform(0, 40, (*shape, 2))
    sides = RANDOM.uniform(8, 30, (*shape, 2))
    return np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)


ANCHOR_BOXES = jnp.asarray(_random_boxes(ANCHORS))
SIZES = (4, 2)  # of two levels
# One row an image. A factor `w`, the same on every device, goes into all that has a gradient.
IMAGES = {
    "boxes": _random_boxes(DEVICES, ANCHORS),
    "others": _random_boxes(DEVICES, ANCHORS),
    "logits": RANDOM.normal(size=(DEVICES, ANCHORS, CLASSES)).astype(np.float32),
    "deltas": RANDOM.normal(size=(DEVICES, ANCHORS, 4)).astype(np.float32),
    "targets": RANDOM.normal(size=(DEVICES, ANCHORS, 4)).astype(np.float32),
    "ious": RANDOM.uniform(0.1, 1.0, (DEVICES, ANCHORS)).astype(np.float32),
    "labels": RANDOM.permuted(np.tile([-2, -1, -1, 0, 1, 1], (DEVICES, 1)), axis=1),
    "gt_index": RANDOM.integers(0, SLOTS, (DEVICES, ANCHORS)),
    "gt_boxes": _random_boxes(DEVICES, SLOTS),
    "gt_labels": RANDOM.integers(0, CLASSES, (DEVICES, SLOTS)),
    "valid": np.ones((DEVICES, SLOTS), bool),
    "ignored": RANDOM.random((DEVICES, SLOTS)) < 0.3,
    "size": np.full((DEVICES, 2), 60.0, np.float32),
}


def _levels(x):
    return tuple(jnp.split(x, [SIZES[0]], axis=-2))


def _matched(x, rule="authors"):
    return matching.match(
        ANCHOR_BOXES, x["gt_boxes"], x["gt_labels"], x["valid"], x["ignored"], low_quality=rule
    )


def _assigned(assigner, x, *predicted, **options):
    truth = (x[name] for name in ("gt_boxes", "gt_labels", "valid", "ignored"))
    return assigner(_levels(ANCHOR_BOXES), *truth, *predicted, **options)


def _options(name="focal", **options):
    pisa = options.get("isr_p", False)
    localization = {"carl_weight": 1.0, "lambda_": 0.0} if pisa else {"lambda_": 1.5}
    return objective.ObjectiveOptions(
        objective.ClassificationOptions(name=name, **options),
        objective.LocalizationOptions(**localization),
        "positives",
    )


def _of_predictions(function, x, options, **more):
    matches = matching.Matches(x["labels"], x["gt_index"], x["ious"])
    predictions = _levels(x["logits"]), _levels(x["deltas"]), _levels(ANCHOR_BOXES)
    return function(*predictions, matches, x["boxes"], options=options, **more)


def _objective(x, options):
    given = {"w_loc": jnp.float32(1.2), "moving_average": jnp.float32(3.0)}
    return _of_predictions(objective.detection_objective, x, options, **given)


def _weights(name, x, *more):
    options = _options()
    scalars = _of_predictions(objective.per_anchor_scalars, x, options)
    return getattr(objective, name)(scalars, *more)


def _carl(x):
    # What the sigmoids are made of is not public; a softmax takes the logits.
    options = _options("softmax", eta=0.0)
    scalars = _of_predictions(objective.per_anchor_scalars, x, options)
    return objective.carl_weights(_levels(x["logits"]), scalars, list(SIZES), options)


def _detect(function, x, **more):
    levels = _levels(x["logits"]), _levels(x["deltas"]), _levels(ANCHOR_BOXES)
    return function(*levels, x["size"], score_threshold=0.1, **more)


def _suppressed(x, method="nms"):
    found = _detect(postprocess.candidates, x)
    return postprocess.suppress(found, nms_iou=0.3, max_detections=4, method=method)


def _of_boxes(function, x, **options):
    """Of scores that are the same on every device, of boxes that are not."""
    scores = jnp.arange(ANCHORS, dtype=jnp.float32)
    labels, valid = x["labels"][0], np.ones(ANCHORS, bool)
    return function(x["boxes"][0], scores, labels, valid, max_detections=4, **options)


def _two(function, *names, **options):
    return lambda x: function(*(x[name] for name in names), **options)


#: module -> its public functions -> how they are called with what one device holds.
CASES = {
    boxes: {
        "at_least_float32": lambda x: boxes.at_least_float32(x["boxes"], x["ious"]),
        "as_int32": _two(boxes.as_int32, "labels"),
        "area": _two(boxes.area, "boxes"),
        "edges": _two(boxes.edges, "boxes"),
        "align": lambda x: boxes.align(x["boxes"], x["ious"][..., None]),
        "for_pairs": _two(boxes.for_pairs, "boxes", "others"),
        "divide_or_zero": _two(boxes.divide_or_zero, "ious", "ious"),
        "clip": lambda x: boxes.clip(x["boxes"], 30.0, x["size"][:, :1]),
        "encode": lambda x: boxes.encode(x["boxes"], ANCHOR_BOXES),
        "decode": lambda x: boxes.decode(x["deltas"], ANCHOR_BOXES),
        **{
            name: _two(getattr(boxes, name), "boxes", "others")
            for name in (
                *("aligned_iou", "pairwise_iou", "pairwise_intersection_over_first_area"),
                "pairwise_intersection",
                *("hull_penalty", "center_distance_penalty", "aspect_ratio_penalty"),
                *("generalized_iou", "distance_iou", "complete_iou"),
            )
        },
    },
    wasserstein: {
        name: _two(getattr(wasserstein, name), "boxes", "others")
        for name in ("aligned_similarity", "pairwise_similarity")
    },
    losses: {
        **{
            f"iou_loss, {kind}": _two(losses.iou_loss, "boxes", "others", kind=kind, **options)
            for kind, options in {
                **{kind: {} for kind in ("eiou", "focal_eiou", "siou", "wiou_v1", "piou", "piou2")},
                "mpdiou": {"image_size": (60, 60)},
                "shape_iou": {"scale": 0.7, "inner": 0.8, "focaler": (0.0, 0.95)},
            }.items()
        },
        "normalized_wasserstein_distance": _two(
            losses.normalized_wasserstein_distance, "boxes", "others"
        ),
        "wise_iou_loss": lambda x: losses.wise_iou_loss(
            x["boxes"], x["others"], jnp.mean(x["ious"])
        ),
        "wise_iou_weights": lambda x: losses.wise_iou_weights(
            x["ious"], jnp.mean(x["ious"]), version=2, where=x["labels"] >= 0
        ),
        "iou_balanced_iou_loss": _two(losses.iou_balanced_iou_loss, "boxes", "others"),
        **{
            name: _two(getattr(losses, name), "logits", "labels")
            for name in (
                *("sigmoid_focal_loss", "sigmoid_focal_loss_of_matched_class"),
                "softmax_cross_entropy",
            )
        },
        **{
            name: _two(getattr(losses, name), "logits", "labels", "ious")
            for name in (
                *("quality_focal_loss", "varifocal_loss"),
                *("matchability_aware_loss", "iou_aware_bce_loss"),
                *("rank_and_sort_loss", "bucketed_rank_and_sort_loss", "average_lrp_loss"),
                *("iou_balanced_sigmoid_focal_loss", "iou_balanced_softmax_cross_entropy"),
            )
        },
        "weights_of_classes": lambda x: losses.weights_of_classes(
            x["labels"], jnp.arange(1.0, CLASSES + 1)
        ),
        "ghm_c_loss": _two(losses.ghm_c_loss, "logits", "labels", momentum=0.5),
        "ghm_r_loss": _two(losses.ghm_r_loss, "deltas", "targets", momentum=0.5),
        **{
            f"correlation_loss, {kind}": lambda x, kind=kind: losses.correlation_loss(
                jax.nn.sigmoid(x["logits"][..., 0]), x["ious"], kind=kind, where=x["labels"] >= 0
            )
            for kind in ("concordance", "pearson", "spearman")
        },
        "distribution_focal_loss": _two(losses.distribution_focal_loss, "logits", "ious"),
        "decode_distribution": _two(losses.decode_distribution, "logits"),
        "smooth_l1_loss": _two(losses.smooth_l1_loss, "deltas", "targets", beta=0.1),
        "balanced_l1_loss": _two(losses.balanced_l1_loss, "deltas", "targets"),
        "iou_loss": _two(losses.iou_loss, "boxes", "others", kind="ciou", power=2.0),
        "iou_balanced_smooth_l1_loss": _two(
            losses.iou_balanced_smooth_l1_loss, "deltas", "targets", "ious"
        ),
        "iou_balanced_localization_weights": _two(losses.iou_balanced_localization_weights, "ious"),
        "iou_balanced_classification_weights": lambda x: losses.iou_balanced_classification_weights(
            x["ious"], x["ious"], x["labels"] >= 0
        ),
        "calibrate_w_loc": lambda x: losses.calibrate_w_loc(x["ious"], x["ious"], x["labels"] >= 0),
        "carl_weights": lambda x: losses.carl_weights(x["ious"], x["labels"] >= 0),
        "hard_negative_mask": _two(losses.hard_negative_mask, "ious", "labels"),
        "isr_p_weights": _two(losses.isr_p_weights, "ious", "ious", "labels", "gt_index"),
    },
    matching: {
        **{
            f"match, {rule}": functools.partial(_matched, rule=rule)
            for rule in ("authors", "torchvision", "ssd", "none")
        },
        "match, nwd": lambda x: matching.match(
            ANCHOR_BOXES,
            *(x[name] for name in ("gt_boxes", "gt_labels", "valid", "ignored")),
            similarity="nwd",
        ),
        # Only one of the arguments differs between devices.
        "match, anchors": lambda x: matching.match(
            x["boxes"][0],
            *(jnp.asarray(IMAGES[f"gt_{name}"][:1]) for name in ("boxes", "labels")),
            *(jnp.asarray(IMAGES[name][:1]) for name in ("valid", "ignored")),
        ),
        "match, ignored": lambda x: matching.match(
            ANCHOR_BOXES,
            *(jnp.asarray(IMAGES[f"gt_{name}"][:1]) for name in ("boxes", "labels")),
            jnp.asarray(IMAGES["valid"][:1]),
            x["ignored"],
        ),
        "gather_boxes": _two(matching.gather_boxes, "gt_boxes", "gt_index"),
    },
    assigners: {
        "atss": lambda x: _assigned(assigners.atss, x),
        **{
            f"fcos, {rule}": lambda x, rule=rule: _assigned(assigners.fcos, x, rule=rule)
            for rule in ("authors", "torchvision")
        },
        **{
            f"task_aligned, {rule}": lambda x, rule=rule: _assigned(
                assigners.task_aligned, x, *map(_levels, (x["logits"], x["boxes"])), rule=rule
            )
            for rule in ("tood", "yolo", "libreyolo")
        },
        **{
            f"sim_ota, {rule}": lambda x, rule=rule: _assigned(
                assigners.sim_ota,
                x,
                *map(_levels, (x["logits"], x["boxes"])),
                objectness=_levels(x["ious"][..., None]),
                rule=rule,
            )
            for rule in ("yolox", "mmdetection")
        },
        # Only one of the arguments differs between devices.
        "atss, anchors": lambda x: assigners.atss(
            _levels(x["boxes"][0]),
            *(jnp.asarray(IMAGES[f"gt_{name}"][:1]) for name in ("boxes", "labels")),
            *(jnp.asarray(IMAGES[name][:1]) for name in ("valid", "ignored")),
        ),
        "fcos, ignored": lambda x: assigners.fcos(
            _levels(ANCHOR_BOXES),
            *(jnp.asarray(IMAGES[f"gt_{name}"][:1]) for name in ("boxes", "labels")),
            jnp.asarray(IMAGES["valid"][:1]),
            x["ignored"],
        ),
        "task_aligned, logits": lambda x: assigners.task_aligned(
            _levels(ANCHOR_BOXES),
            *(jnp.asarray(IMAGES[f"gt_{name}"][:1]) for name in ("boxes", "labels")),
            *(jnp.asarray(IMAGES[name][:1]) for name in ("valid", "ignored")),
            _levels(x["logits"]),
            _levels(jnp.asarray(IMAGES["boxes"][:1])),
        ),
    },
    objective: {
        "detection_objective, eq. 1-4": lambda x: _objective(x, _options()),
        "detection_objective, softmax": lambda x: _objective(x, _options("softmax")),
        "detection_objective, PISA": lambda x: _objective(x, _options(isr_p=True, eta=0.0)),
        "per_anchor_scalars": lambda x: _of_predictions(
            objective.per_anchor_scalars, x, _options()
        ),
        "classification_weights": lambda x: _weights(
            "classification_weights", x, list(SIZES), _options().classification
        ),
        "localization_weights": lambda x: _weights(
            "localization_weights", x, jnp.float32(1.2), _options().localization
        ),
        "carl_weights": _carl,
    },
    postprocess: {
        "candidates": lambda x: _detect(postprocess.candidates, x),
        "candidates_softmax": lambda x: _detect(postprocess.candidates_softmax, x),
        "suppress": _suppressed,
        **{
            f"suppress, {method}": functools.partial(_suppressed, method=method)
            for method in postprocess.SUPPRESSIONS[1:]
        },
    },
    nms: {
        "class_wise_nms": functools.partial(_of_boxes, nms.class_wise_nms, iou_threshold=0.1),
    },
    soft_nms: {
        f"soft_nms, {decay}": functools.partial(_of_boxes, soft_nms.soft_nms, decay=decay)
        for decay in soft_nms.DECAYS
    },
    box_fusion: {
        f"weighted_box_fusion, {confidence}": functools.partial(
            _of_boxes, box_fusion.weighted_box_fusion, iou_threshold=0.1, confidence=confidence
        )
        for confidence in box_fusion.CONFIDENCES
    },
    ranking: {
        "highest": lambda x: ranking.highest(x["ious"], 3),
        "with_nan_last": lambda x: ranking.with_nan_last(x["ious"], 0.0),
        "few_highest": lambda x: ranking.few_highest(x["ious"], 3),
        "in_groups": lambda x: jnp.max(ranking.in_groups(x["ious"]), axis=-1),
        "positions_in_groups": _two(ranking.positions_in_groups, "gt_index"),
        "highest_in_passes": lambda x: ranking.highest_in_passes(
            x["ious"], jnp.broadcast_to(jnp.arange(ANCHORS)[None], x["ious"].shape), 3
        ),
    },
}


def _result(case, factor, images):
    """What a case gives, and the sum of all its numbers, with a factor before what is floating."""
    scaled = {
        name: factor * array if array.dtype == jnp.float32 else array
        for name, array in images.items()
    }
    given = case(scaled)
    floats = [x for x in jax.tree.leaves(given) if jnp.issubdtype(x.dtype, jnp.floating)]
    return sum((jnp.sum(x) for x in floats), start=0.0 * factor), given


def _on_devices(cases):
    """All cases in one program: their results, and the gradients of their means by the factor."""
    mesh = jax.make_mesh((DEVICES,), ("images",), axis_types=(jax.sharding.AxisType.Auto,))
    split, same = PartitionSpec("images"), PartitionSpec()

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(same, split), out_specs=(split, same))
    def on_devices(factor, images):
        def loss(factor, case):
            total, given = _result(case, factor, images)
            return jax.lax.pmean(total, "images"), jax.tree.map(lambda x: x[None], given)

        by_factor = jax.grad(loss, has_aux=True)
        found = {name: by_factor(factor, case) for name, case in cases.items()}
        return tuple({name: each[i] for name, each in found.items()} for i in (1, 0))

    return on_devices


@pytest.mark.parametrize("module", CASES, ids=lambda module: module.__name__)
def test_each_device_has_its_own_and_the_gradient_is_the_mean(module):
    on_devices, factor = _on_devices(CASES[module]), jnp.float32(0.9)
    found, gradients = jax.device_get(on_devices(factor, IMAGES))
    alone = []
    for image in range(DEVICES):
        everywhere = {name: np.stack([x[image]] * DEVICES) for name, x in IMAGES.items()}
        of_image, gradient = jax.device_get(on_devices(factor, everywhere))
        jax.tree.map(
            lambda mixed, same, image=image: np.testing.assert_array_equal(mixed[image], same[0]),
            *(found, of_image),
        )
        alone.append(gradient)
    for name, gradient in gradients.items():
        mean = np.mean([of_image[name] for of_image in alone])
        np.testing.assert_allclose(gradient, mean, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_documented_gradient_is_that_of_the_whole_batch():
    document = (pathlib.Path(__file__).parents[1] / "docs" / "losses.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    documented = {"mesh": mesh, "anchors": ANCHOR_BOXES}
    exec(program, documented)
    batch = [IMAGES[name] for name in ("logits", "gt_boxes", "gt_labels", "valid", "ignored")]

    def mean_loss(weight):
        loss, positives = documented["sums"](weight, *batch)
        return loss / positives

    weight = jnp.eye(CLASSES)
    expected = jax.jit(jax.grad(mean_loss))(weight)
    found = documented["gradient"](weight, *batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    # Without a psum: the sum of what each device gives.
    def local(weight, *batch):
        return documented["sums"](weight, *batch)[0]

    specs = (PartitionSpec(), *[PartitionSpec("data")] * len(batch))
    of_local = jax.shard_map(jax.grad(local), mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    _, positives = documented["sums"](weight, *batch)
    np.testing.assert_allclose(
        jax.jit(of_local)(weight, *batch), positives * expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("module", CASES, ids=lambda module: module.__name__)
def test_every_public_function_is_tried(module):
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if not name.startswith("_")
        and inspect.isfunction(value) and value.__module__ == module.__name__
    ]  # fmt: skip
    functions = {name for name in names if inspect.isfunction(getattr(module, name))}
    # These only say whether options can be had; the last is of numbers on the host.
    apart = {"check_ground_truth", "check_options", "check_similarity", "check_suppression"}
    apart |= {"effective_number_weights"}
    assert functions - apart == {name.split(",")[0] for name in CASES[module]}
