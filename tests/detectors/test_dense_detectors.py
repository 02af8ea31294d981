"""The families that came after RetinaNet: what each is made of, and that each learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ioub_jax import detectors
from ioub_jax.anchors import place
from ioub_jax.box_codecs import DeltaCodec, DistanceCodec
from ioub_jax.configs import defaults
from ioub_jax.detectors import Carried
from ioub_jax.errors import ConfigError

DENSE = ("fcos", "atss", "gfl", "iou_aware_retinanet")
CANVAS = (64, 64)


def config_of(family, arm="baseline", **changes):
    config = defaults.of_family(family, arm)
    defaults.make_small(config.model, width=8, channels=16)
    for name, value in changes.items():
        *path, last = name.split("__")
        functools.reduce(lambda node, part: node[part], path, config)[last] = value
    return config


def batch():
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0, :2] = [[4, 4, 36, 44], [30, 20, 62, 60]]
    boxes[1, :1] = [[10, 16, 58, 40]]
    valid = boxes[..., 2] > 0
    nothing = np.zeros(valid.shape, bool)
    images = np.full((2, *CANVAS, 3), 80, np.uint8)
    for image, boxes_of_image in zip(images, boxes.astype(int), strict=True):
        for color, (left, top, right, bottom) in enumerate(boxes_of_image):
            image[top:bottom, left:right, color] = 220
    return {
        "image": images,
        "boxes": boxes,
        "labels": np.array([[0, 1, -1], [2, -1, -1]], np.int32),
        "valid": valid,
        "crowd": nothing,
        "difficult": nothing,
        "ignored": nothing,
        "image_size": np.array([CANVAS] * 2, np.int32),
    }


def anchors_of(detector):
    return tuple(map(jnp.asarray, place(detector.levels(CANVAS))))


@pytest.mark.parametrize(
    ("family", "codec", "others"),
    [
        ("fcos", DistanceCodec(1.0), {"quality"}),
        ("atss", DeltaCodec((10.0, 10.0, 5.0, 5.0)), {"quality"}),
        ("gfl", DistanceCodec(8.0), {"distribution"}),
        ("iou_aware_retinanet", DeltaCodec((1.0, 1.0, 1.0, 1.0)), {"quality"}),
    ],
)
def test_what_a_family_is_made_of(family, codec, others):
    detector = detectors.create(config_of(family), 3)
    assert detector.objective.losses.codec == codec
    variables = jax.eval_shape(
        lambda: detector.network.init(jax.random.key(0), batch()["image"], train=False)
    )
    found = jax.eval_shape(
        lambda v: detector.network.apply(v, batch()["image"], train=False).per_anchor(), variables
    )
    assert set(found.others) == others
    anchors = [len(level) for level in anchors_of(detector)]
    assert [level.shape[1] for level in found.deltas] == anchors
    per_location = 9 if family == "iou_aware_retinanet" else 1
    assert anchors[0] == 64 * per_location


@pytest.mark.slow  # half a minute of compilation each
@pytest.mark.parametrize("family", DENSE)
def test_a_few_steps_on_one_batch_lower_the_loss_and_raise_the_ious(family):
    detector = detectors.create(config_of(family, "both", anchors__base_scale=scale(family)), 3)
    given, anchors = jax.tree.map(jnp.asarray, batch()), anchors_of(detector)
    variables = detector.network.init(jax.random.key(0), given["image"], train=False)
    optimizer = optax.adam(2e-3)
    carried = Carried(jnp.float32(1.0), jnp.float32(1.0))

    def loss_of(params, stats):
        predictions, updates = detector.network.apply(
            {"params": params, "batch_stats": stats},
            given["image"],
            train=True,
            mutable=["batch_stats"],
        )
        found = detector.objective(predictions, given, anchors, carried)
        return found.loss, (found.metrics, updates["batch_stats"])

    @jax.jit
    def train(params, stats):
        def step(carry, _):
            params, stats, state = carry
            (_, (metrics, stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
                params, stats
            )
            updates, state = optimizer.update(gradients, state)
            told = metrics["loss"], metrics["mean_positive_iou"]
            return (optax.apply_updates(params, updates), stats, state), told

        return jax.lax.scan(step, (params, stats, optimizer.init(params)), length=50)[1]

    losses, ious = train(variables["params"], variables["batch_stats"])
    assert np.isfinite(losses).all()
    assert losses[-5:].mean() < 0.7 * losses[:5].mean()
    assert ious[-5:].mean() > ious[:5].mean() + 0.1


def scale(family):
    """Anchors for objects as small as those of the batch."""
    return {"fcos": 1.0, "iou_aware_retinanet": 2.0}.get(family, 4.0)


def test_both_losses_are_had_where_they_mean_something():
    for family in DENSE:
        losses = detectors.create(config_of(family, "both"), 3).objective.losses
        assert (losses.classification.eta, losses.localization.lambda_) == (1.5, 1.5)
        assert losses.classification.name == "focal"
    published = detectors.create(config_of("gfl", "loc"), 3).objective.losses
    assert published.classification.name == "quality_focal"
    with pytest.raises(ConfigError, match="already follows the IoU; set"):
        detectors.create(config_of("gfl", "cls", loss__classification__name="quality_focal"), 3)
    with pytest.raises(ConfigError, match="choose another one for this detector"):
        detectors.create(config_of("atss", loss__classification__name="softmax"), 3)


def test_any_of_the_assigners_can_be_had():
    for name in ("iou", "atss", "fcos"):
        detector = detectors.create(config_of("atss", matcher__name=name), 3)
        matches, _ = jax.jit(detector.objective.match)(batch(), anchors_of(detector))
        assert (np.asarray(matches.labels) >= 0).any()
    with pytest.raises(ConfigError, match="name is 'simota'; it must be one of iou"):
        detectors.create(config_of("atss", matcher__name="simota"), 3)


@pytest.mark.parametrize(
    ("family", "anchors"),
    [
        ("fcos", {}),
        ("atss", {}),
        ("atss", {"anchors__stride_from_grid": True}),
        ("fcos", {"anchors__base_scale": 2.0, "anchors__stride_from_grid": True}),
    ],
)
def test_points_are_those_of_their_level_whatever_the_anchors_size(family, anchors):
    """The strides of FCOS' assigner are those of the levels, not the sizes of the anchors."""
    expected = detectors.create(config_of("fcos"), 3)
    wanted, _ = expected.objective.match(batch(), anchors_of(expected))
    detector = detectors.create(config_of(family, matcher__name="fcos", **anchors), 3)
    found, _ = detector.objective.match(batch(), anchors_of(detector))
    np.testing.assert_array_equal(np.asarray(found.labels) >= 0, np.asarray(wanted.labels) >= 0)


TWO_RANGES = ((0.0, 64.0), (64.0, 1e8))


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("retinanet", {"matcher__name": "fcos"}, "assigns points, but a location has 9 anchors"),
        ("fcos", {"matcher__name": "iou"}, "matcher.name is 'iou', but boxes are distances"),
        ("fcos", {"matcher__name": "atss"}, "an anchor has a side of 1 strides; set --config.anch"),
        ("fcos", {"matcher__size_ranges": TWO_RANGES}, "matcher.size_ranges has 2 entries; it mus"),
        ("atss", {"matcher__size_ranges": TWO_RANGES}, "matcher.name is 'atss', which has none"),
        ("atss", {"matcher__similarity": "nwd"}, "matcher.similarity is 'nwd', but matcher.name i"),
        ("fcos", {"matcher__topk": 5}, "matcher.topk is 5, but matcher.name is 'fcos'"),
        ("atss", {"matcher__foreground_iou": 0.6}, "matcher.foreground_iou is 0.6, but matcher.n"),
        ("fcos", {"matcher__low_quality": "none"}, "matcher.low_quality is 'none', but matcher.n"),
        ("retinanet", {"matcher__nwd_constant": 30.0}, "matcher.nwd_constant is 30.0, but matche"),
        ("gfl", {"anchors__scales_per_octave": 3}, "but a location has 3 anchors; set anchors.sc"),
        ("gfl", {"loss__localization__w_loc": 2.3}, "loss.localization.w_loc is 2.3, but loss.loc"),
        *(
            ("retinanet", {"model__name": name}, "has the keys of another detector; start from")
            for name in ("fcos", "atss", "gfl", "iou_aware_retinanet")
        ),
        *(
            (name, {"model__name": other}, "has the keys of another detector; start from")
            for name in ("fcos", "gfl", "atss", "iou_aware_retinanet")
            for other in ("retinanet", "fcos", "gfl", "atss", "iou_aware_retinanet")
            # ATSS and IoU-aware RetinaNet have the same keys.
            if name != other and {name, other} != {"atss", "iou_aware_retinanet"}
        ),
    ],
)
def test_what_does_not_go_together_is_refused(family, changes, words):
    with pytest.raises(ConfigError, match=words):
        detectors.create(config_of(family, **changes), 3)


def test_the_ranges_of_an_fcos_say_which_level_finds_a_box():
    detector = detectors.create(config_of("fcos", "baseline"), 3)
    anchors = anchors_of(detector)
    matches, _ = jax.jit(detector.objective.match)(batch(), anchors)
    first = np.asarray(matches.labels)[:, : len(anchors[0])]
    assert (first >= 0).any() and not (np.asarray(matches.labels)[:, len(anchors[0]) :] >= 0).any()
    ranges = ((0.0, 8.0), (8.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 1e8))
    detector = detectors.create(config_of("fcos", matcher__size_ranges=ranges), 3)
    matches, _ = jax.jit(detector.objective.match)(batch(), anchors)
    labels = np.asarray(matches.labels)
    assert not (labels[:, : len(anchors[0])] >= 0).any()
    assert (labels[:, len(anchors[0]) :] >= 0).any()


def test_the_anchors_of_a_location_are_candidates_together():
    """As in the authors' code, which takes topk times the anchors of a location."""
    nine = detectors.create(config_of("retinanet", matcher__name="atss"), 3)
    assert nine.objective.rules.topk == 9 * 9
    assert detectors.create(config_of("atss"), 3).objective.rules.topk == 9
