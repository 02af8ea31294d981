"""The objective against a plain loop over anchors, for every scope and normalizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax import boxes, losses, objective
from ioub_jax.box_codecs import DeltaCodec
from ioub_jax.matching import Matches
from tests.every_day import one_of_a_kind

SIZES, IMAGES, CLASSES = (6, 3), 3, 2
#: Losses of which every test is for every day; those of the others are slow tests.
EVERY_DAY = ("smooth_l1", "giou", "siou", "wiou_v3", "focal", "softmax", "quality_focal", "isr_p")


def case(seed, *, positives=True, columns=CLASSES, background=1):
    """Random predictions and matches of three images with two levels; image 0 has no positive.

    Args:
      seed: of the random numbers.
      positives: whether there are any.
      columns: of the logits.
      background: how often background is drawn for once each other label.
    """
    rng = np.random.default_rng(seed)
    anchors = []
    for size in SIZES:
        corner = rng.uniform(0, 50, (size, 2))
        anchors.append(np.concatenate([corner, corner + rng.uniform(8, 30, (size, 2))], 1))
    every = np.concatenate(anchors)
    labels = rng.choice([-2, *[-1] * background, 0, 1], (IMAGES, sum(SIZES))).astype(np.int32)
    labels[0] = np.where(labels[0] >= 0, -1, labels[0])
    if not positives:
        labels = np.where(labels >= 0, -1, labels)
    targets = every + rng.uniform(-4, 4, (IMAGES, *every.shape))
    logits = [rng.normal(0, 2, (IMAGES, size, columns)) for size in SIZES]
    deltas = [rng.normal(0, 0.2, (IMAGES, size, 4)) for size in SIZES]

    def single(arrays):
        return tuple(jnp.asarray(array, jnp.float32) for array in arrays)

    gt_index = rng.integers(0, 3, labels.shape).astype(np.int32)
    matches = Matches(jnp.asarray(labels), jnp.asarray(gt_index), jnp.zeros(labels.shape))
    return single(logits), single(deltas), single(anchors), matches, *single([targets])


@jax.jit
def _decode_and_encode(deltas, anchors, targets):
    decoded = boxes.decode(deltas, anchors)
    return boxes.aligned_iou(decoded, targets), boxes.encode(targets, anchors)


def reference(arguments, w_loc, options):
    """Loss and weights by loops, in float64."""
    logits, deltas, anchors, matches, targets = arguments
    labels = np.asarray(matches.labels)
    scores = np.concatenate(logits, 1).astype(np.float64)
    deltas = np.concatenate(deltas, 1)
    ious, encoded = (
        np.asarray(array, np.float64)
        for array in _decode_and_encode(deltas, np.concatenate(anchors)[None], targets)
    )
    level = np.repeat(np.arange(len(SIZES)), SIZES)

    def focal(z, target):
        p = 1 / (1 + np.exp(-z))
        if target:
            return -0.25 * (1 - p) ** 2 * np.log(p)
        return -0.75 * p**2 * np.log(1 - p)

    entries = [
        (image, anchor)
        for image in range(IMAGES)
        for anchor in range(sum(SIZES))
        if labels[image, anchor] >= 0
    ]
    scope_of = {
        "batch": lambda image, anchor: 0,
        "level": lambda image, anchor: level[anchor],
        "image": lambda image, anchor: image,
    }[options.classification.normalizer_scope]
    classification, localization = np.zeros(IMAGES), np.zeros(IMAGES)
    for image in range(IMAGES):
        for anchor in range(sum(SIZES)):
            label = labels[image, anchor]
            if label == -2:
                continue
            for c in range(CLASSES):
                value = focal(scores[image, anchor, c], c == label)
                if c == label:
                    same = [e for e in entries if scope_of(*e) == scope_of(image, anchor)]
                    plain = [focal(scores[i, a, labels[i, a]], True) for i, a in same]
                    powers = [ious[e] ** options.classification.eta for e in same]
                    ratio = sum(plain) / sum(np.multiply(powers, plain))
                    value *= ious[image, anchor] ** options.classification.eta * ratio
                classification[image] += value
    for image, anchor in entries:
        difference = np.abs(deltas[image, anchor] - encoded[image, anchor])
        beta = options.localization.linear_from
        smooth = np.where(
            difference < beta, 0.5 * difference**2 / beta, difference - 0.5 * beta
        ).sum()
        localization[image] += w_loc * ious[image, anchor] ** options.localization.lambda_ * smooth
    counts = (labels >= 0).sum(axis=1)
    scales = {
        "positives": np.full(IMAGES, 1 / max(counts.sum(), 1)),
        "positives_at_least_one_per_image": np.full(IMAGES, 1 / np.maximum(counts, 1).sum()),
        "per_image": 1 / (IMAGES * np.maximum(counts, 1)),
        # From 100: .9 * 100 + .1 * positives.
        "moving_average": np.full(IMAGES, 1 / (90 + 0.1 * max(counts.sum(), 1))),
    }[options.normalizer]
    return (scales * classification).sum(), (scales * localization).sum()


def options_of(scope="level", normalizer="positives", **localization):
    return objective.ObjectiveOptions(
        objective.ClassificationOptions(normalizer_scope=scope),
        objective.LocalizationOptions(**localization),
        normalizer,
    )


def evaluate(arguments, options, w_loc=1.7):
    run = jax.jit(objective.detection_objective, static_argnames=("options", "image_size"))
    return run(
        *arguments,
        image_size=(64, 64),
        w_loc=jnp.float32(w_loc),
        moving_average=jnp.float32(100.0),
        options=options,
    )


@pytest.mark.parametrize("normalizer", objective.NORMALIZERS)
@pytest.mark.parametrize("scope", objective.NORMALIZER_SCOPES)
def test_equals_the_formula_written_as_loops(scope, normalizer):
    options = options_of(scope, normalizer)
    arguments = case(3)
    result = evaluate(arguments, options)
    classification, localization = reference(arguments, 1.7, options)
    np.testing.assert_allclose(result.metrics["loss_classification"], classification, rtol=1e-5)
    np.testing.assert_allclose(result.metrics["loss_localization"], localization, rtol=1e-5)
    np.testing.assert_allclose(result.loss, classification + localization, rtol=1e-5)


@pytest.mark.parametrize("normalizer", objective.NORMALIZERS)
def test_images_without_a_loss_do_not_count(normalizer):
    """Evaluations fill their last batch with images whose anchors are all ignored."""
    logits, deltas, anchors, matches, targets = case(3)
    options = options_of(normalizer=normalizer)
    alone = evaluate((logits, deltas, anchors, matches, targets), options)

    def filled(array):
        return jnp.concatenate([array, array[:1]])

    with_filler = jax.tree.map(filled, (logits, deltas, matches, targets))
    labels = with_filler[2].labels.at[-1].set(-2)
    logits, deltas, matches, targets = with_filler
    matches = matches._replace(labels=labels)
    found = evaluate((logits, deltas, anchors, matches, targets), options)
    np.testing.assert_allclose(found.loss, alone.loss, rtol=1e-6)


@pytest.mark.parametrize(
    "classification",
    [
        {},
        pytest.param({"name": "quality_focal", "eta": 0.0}, marks=pytest.mark.slow),
        pytest.param({"name": "varifocal", "eta": 0.0}, marks=pytest.mark.slow),
        pytest.param({"eta": 0.0, "isr_p": True}, marks=pytest.mark.slow),
        {"name": "softmax"},
    ],
)
def test_the_anchors_of_a_location_may_stand_behind_each_other(classification):
    logits, deltas, *rest = case(3)
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(**classification),
        objective.LocalizationOptions(lambda_=0.0, carl_weight=0.5),
    )

    def value_and_gradients(logits, deltas):
        def loss_of(predictions):
            return evaluate((*predictions, *rest), options).loss

        return jax.value_and_grad(loss_of)((logits, deltas))

    # Three anchors at each location of one row.
    as_maps = [
        tuple(level.reshape(IMAGES, 1, level.shape[1] // 3, -1) for level in levels)
        for levels in (logits, deltas)
    ]
    expected, gradients = value_and_gradients(logits, deltas)
    found, gradients_of_maps = value_and_gradients(*as_maps)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for first, second in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(gradients_of_maps), strict=True
    ):
        np.testing.assert_allclose(second.reshape(first.shape), first, rtol=1e-5, atol=1e-8)


_scalars = jax.jit(objective.per_anchor_scalars, static_argnames="options")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weights_change_no_sum_of_the_positive_classification_loss(seed):
    scalars = _scalars(*case(seed), options_of("batch"))
    for scope in objective.NORMALIZER_SCOPES:
        chosen = objective.ClassificationOptions(normalizer_scope=scope)
        weights = objective.classification_weights(scalars, list(SIZES), chosen)
        weighted = np.sum(weights * scalars.classification)
        np.testing.assert_allclose(weighted, np.sum(scalars.classification), rtol=1e-5)
        assert np.all(np.asarray(weights)[~np.asarray(scalars.positive)] == 1)


def test_measured_w_loc_keeps_the_sum_of_the_localization_loss():
    arguments = case(4)
    plain = evaluate(arguments, options_of(lambda_=0.0), w_loc=1.0)
    metrics = evaluate(arguments, options_of()).metrics
    w_loc = metrics["calibration_plain"] / metrics["calibration_balanced"]
    balanced = evaluate(arguments, options_of(), w_loc=w_loc)
    np.testing.assert_allclose(
        balanced.metrics["loss_localization"], plain.metrics["loss_localization"], rtol=1e-6
    )
    dynamic = evaluate(arguments, options_of(dynamic=True), w_loc=99.0)
    np.testing.assert_allclose(
        dynamic.metrics["loss_localization"], plain.metrics["loss_localization"], rtol=1e-6
    )


def test_the_control_arm_measures_with_another_lambda_than_it_weighs():
    arguments = case(4)
    metrics = evaluate(arguments, options_of()).metrics
    control = evaluate(arguments, options_of(lambda_=0.0, calibration_lambda=1.5)).metrics
    np.testing.assert_allclose(metrics["calibration_balanced"], control["calibration_balanced"])
    expected = 1.7 * evaluate(arguments, options_of(lambda_=0.0), 1.0).metrics["loss_localization"]
    np.testing.assert_allclose(control["loss_localization"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "power"),
    [
        # The gradients of every loss by itself are tested with the losses.
        *(
            pytest.param(name, 1.0, marks=() if name in EVERY_DAY else pytest.mark.slow)
            for name in objective.LOCALIZATION_LOSSES
        ),
        ("ciou", 3.0),
    ],
)
def test_every_localization_loss_has_finite_gradients(name, power):
    options = options_of(name=name, power=power)

    @jax.jit
    def value_and_gradient(deltas, arguments):
        def loss(deltas):
            return evaluate((arguments[0], deltas, *arguments[2:]), options).loss

        return jax.value_and_grad(loss)(deltas)

    arguments = case(5)
    without = case(5, positives=False)
    for scale in (0.0, 1.0, 1e4, 1e20):
        deltas = tuple(scale * level for level in arguments[1])
        value, gradient = value_and_gradient(deltas, arguments)
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(level)) for level in gradient)
        # Boxes that are 1e5 pixels away have a gradient of nearly 0.
        if scale <= 1.0:
            assert any(np.any(np.asarray(level) != 0) for level in gradient)
        value, gradient = value_and_gradient(deltas, without)
        assert np.isfinite(value)
        assert all(np.all(np.asarray(level) == 0) for level in gradient)


def test_power_is_that_of_alpha_iou():
    arguments = case(5)
    ious = _scalars(*arguments, options_of(name="iou")).ious
    positive = np.asarray(arguments[3].labels) >= 0
    loss = evaluate(arguments, options_of(name="iou", power=3.0, lambda_=0.0), w_loc=1.0)
    expected = np.sum(1 - np.asarray(ious, np.float64)[positive] ** 3) / positive.sum()
    np.testing.assert_allclose(loss.metrics["loss_localization"], expected, rtol=1e-5)


def classification_options(name, **chosen):
    eta = 1.5 if name in ("focal", "softmax") else 0.0
    return objective.ClassificationOptions(**{"name": name, "eta": eta, **chosen})


@pytest.mark.parametrize(
    "name", one_of_a_kind((*objective.CLASSIFICATION_LOSSES, "isr_p"), *EVERY_DAY)
)
def test_no_gradient_reaches_a_box_through_the_classification_loss(name):
    arguments = case(6, columns=CLASSES + (name == "softmax"))
    chosen = (
        objective.ClassificationOptions(isr_p=True, eta=0.0)
        if name == "isr_p"
        else classification_options(name)
    )
    options = objective.ObjectiveOptions(chosen, objective.LocalizationOptions(weight=0.0))
    gradient = jax.grad(
        lambda deltas: evaluate((arguments[0], deltas, *arguments[2:]), options).loss
    )(arguments[1])
    assert all(np.all(np.asarray(level) == 0) for level in gradient)


# ------------------------------------------------------------------ softmax


def softmax_reference(arguments, options):
    """SSD's classification loss of each image and the weight of each logit's gradient, by loops."""
    logits, labels = np.concatenate(arguments[0], 1), np.asarray(arguments[3].labels)
    logits = logits.astype(np.float64)
    ious = np.asarray(_scalars(*arguments, options).ious, np.float64)
    level = np.repeat(np.arange(len(SIZES)), SIZES)
    shifted = logits - logits.max(-1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    # Column 0 is the background.
    entropy = -np.take_along_axis(log_softmax, np.maximum(labels + 1, 0)[..., None], 2)[..., 0]
    chosen = options.classification
    counts = np.zeros(labels.shape)
    for image, anchor in np.argwhere(labels >= 0):
        scope = {
            "batch": labels >= 0,
            "level": (labels >= 0) & (level == level[anchor])[None],
            "image": (labels >= 0) & (np.arange(IMAGES) == image)[:, None],
        }[chosen.normalizer_scope]
        powers = ious**chosen.eta
        ratio = entropy[scope].sum() / (powers * entropy)[scope].sum()
        counts[image, anchor] = powers[image, anchor] * ratio
    for image in range(IMAGES):
        wanted = chosen.negatives_per_positive * np.sum(labels[image] >= 0)
        negatives = np.flatnonzero(labels[image] == -1)
        hardest = negatives[np.argsort(-entropy[image, negatives])][:wanted]
        counts[image, hardest] = 1.0
    total = np.maximum(np.sum(labels >= 0), 1)
    return np.sum(counts * entropy) / total, counts / total


@pytest.mark.parametrize(
    ("eta", "scope", "negatives_per_positive"),
    [(0.0, "image", 3), (1.5, "image", 1), (1.5, "batch", 3), (1.5, "level", 3)],
)
def test_softmax_equals_the_formula_written_as_loops(eta, scope, negatives_per_positive):
    chosen = objective.ClassificationOptions(
        name="softmax",
        eta=eta,
        normalizer_scope=scope,
        negatives_per_positive=negatives_per_positive,
    )
    options = objective.ObjectiveOptions(chosen)
    arguments = case(7, columns=CLASSES + 1, background=6)
    expected, counts = softmax_reference(arguments, options)
    positives = np.sum(np.asarray(arguments[3].labels) >= 0)
    negatives = np.sum(np.asarray(arguments[3].labels) == -1)
    assert 0 < positives < negatives

    def loss(logits):
        result = evaluate((logits, *arguments[1:]), options)
        return result.metrics["loss_classification"]

    value, gradient = jax.value_and_grad(loss)(arguments[0])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # Weights are constants, so the gradient is that of each anchor's cross entropy, p - one-hot.
    probabilities = np.asarray(jax.nn.softmax(np.concatenate(arguments[0], 1), axis=-1))
    one_hot = np.asarray(arguments[3].labels)[..., None] + 1 == np.arange(CLASSES + 1)
    np.testing.assert_allclose(
        np.concatenate(gradient, 1), counts[..., None] * (probabilities - one_hot), atol=2e-6
    )


def test_ssd_loss_by_hand():
    # Five anchors, one class: a positive, three backgrounds and an ignored one.
    logits = np.array([[[0, 0], [0, 2], [0, 0], [0, -3], [0, 9]]], np.float32)
    anchors = np.array([[0, 0, 8, 8]] * 5, np.float32)
    targets = anchors[None] + np.array([4, 0, 4, 0], np.float32)
    labels = np.array([[0, -1, -1, -1, -2]], np.int32)
    arguments = (
        (jnp.asarray(logits),),
        (jnp.zeros((1, 5, 4)),),
        (jnp.asarray(anchors),),
        Matches(jnp.asarray(labels), jnp.zeros_like(labels), jnp.zeros(labels.shape)),
        jnp.asarray(targets),
    )
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(name="softmax", eta=0.0, negatives_per_positive=2),
        objective.LocalizationOptions(lambda_=0.0, beta=1.0),
        codec=DeltaCodec((10.0, 10.0, 5.0, 5.0)),
    )
    metrics = evaluate(arguments, options, w_loc=1.0).metrics
    # The positive costs ln 2, the two hardest backgrounds ln(1 + e^2) and ln 2.
    expected = np.log(2) + np.log1p(np.exp(2)) + np.log(2)
    np.testing.assert_allclose(metrics["loss_classification"], expected, rtol=1e-6)
    # 4 px are 0.5 of the anchor's width, times 10 is 5: 5 - 0.5.
    np.testing.assert_allclose(metrics["loss_localization"], 4.5, rtol=1e-6)


# ------------------------------------------------------------------ PISA


@pytest.mark.parametrize("name", ["focal", "softmax"])
def test_isr_p_weighs_all_entries_of_an_anchor(name):
    columns = CLASSES + (name == "softmax")
    arguments = case(8, columns=columns)

    def gradient_and_value(isr_p):
        chosen = objective.ClassificationOptions(
            name=name, eta=0.0, isr_p=isr_p, isr_p_k=1.0, isr_p_bias=0.2
        )
        options = objective.ObjectiveOptions(chosen, objective.LocalizationOptions(weight=0.0))
        scalars = _scalars(*arguments, options)
        value, gradient = jax.value_and_grad(
            lambda logits: evaluate((logits, *arguments[1:]), options).loss
        )(arguments[0])
        return value, np.concatenate(gradient, 1), scalars

    plain, plain_gradient, _ = gradient_and_value(False)
    value, gradient, scalars = gradient_and_value(True)
    # The sum over the positives stays what it was.
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    weights = np.asarray(
        losses.isr_p_weights(
            scalars.classification,
            scalars.ious,
            arguments[3].labels,
            arguments[3].gt_index,
            k=1.0,
            bias=0.2,
        )
    )
    assert np.ptp(weights[np.asarray(arguments[3].labels) >= 0]) > 0.1
    np.testing.assert_allclose(gradient, weights[..., None] * plain_gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["focal", "softmax"])
def test_carl_is_added_and_teaches_the_scores(name):
    arguments = case(9, columns=CLASSES + (name == "softmax"))
    chosen = objective.ClassificationOptions(name=name, eta=0.0, weight=0.0)
    options = objective.ObjectiveOptions(
        chosen, objective.LocalizationOptions(lambda_=0.0, weight=0.0, carl_weight=2.0)
    )
    labels = np.asarray(arguments[3].labels)
    positive = labels >= 0
    logits = np.concatenate(arguments[0], 1).astype(np.float64)
    if name == "softmax":
        scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        scores = scores[..., 1:]
    else:
        scores = 1 / (1 + np.exp(-logits))
    matched = np.take_along_axis(scores, np.maximum(labels, 0)[..., None], 2)[..., 0][positive]
    plain = np.asarray(_scalars(*arguments, options).localization, np.float64)[positive]
    # v = 0.2 + 0.8 score, and weights of mean 1.
    base = 0.2 + 0.8 * matched
    expected = 2.0 * np.sum(base / base.mean() * plain) / positive.sum()
    result, gradient = jax.value_and_grad(
        lambda logits: evaluate((logits, *arguments[1:]), options, w_loc=1.0).loss
    )(arguments[0])
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    gradient = np.concatenate(gradient, 1)
    assert np.all(gradient[~positive] == 0)
    # dL/dv_i = (l_i - the weighted mean) / sum v: what fits better than that gets a higher score.
    better = plain < np.sum(base * plain) / base.sum()
    matched_column = np.maximum(labels, 0) + (name == "softmax")
    of_matched = np.take_along_axis(gradient, matched_column[..., None], 2)[..., 0][positive]
    np.testing.assert_array_equal(of_matched < 0, better)
    if name == "focal":
        others = np.arange(CLASSES) != labels[..., None]
        assert np.all(gradient[others] == 0)


def test_without_carl_there_is_no_such_metric():
    assert "loss_carl" not in evaluate(case(9), options_of()).metrics


def test_metrics_of_the_positives():
    arguments = case(3)
    metrics = evaluate(arguments, options_of()).metrics
    positive = np.asarray(arguments[3].labels) >= 0
    every = np.concatenate(arguments[2])[None]
    ious, _ = _decode_and_encode(np.concatenate(arguments[1], 1), every, arguments[4])
    assert float(metrics["positives_per_image"]) == pytest.approx(positive.sum() / IMAGES)
    assert float(metrics["mean_positive_iou"]) == pytest.approx(
        np.asarray(ious)[positive].mean(), rel=1e-5
    )
    assert float(metrics["loss_normalizer"]) == positive.sum()


def test_no_maximum_hides_what_is_not_a_number():
    # A maximum of many numbers on a CPU passes NaN over, so many anchors.
    logits, deltas, anchors, matches, targets = case(0)
    many = 20_000

    def repeated(array):
        return jnp.tile(array, (1, many, *[1] * (array.ndim - 2)))

    matches = Matches(*(repeated(array) for array in matches))
    logits = tuple(repeated(level).at[1].set(jnp.nan) for level in logits)
    anchors = tuple(jnp.tile(level, (many, 1)) for level in anchors)
    arguments = logits, tuple(map(repeated, deltas)), anchors, matches, repeated(targets)
    metrics = evaluate(arguments, options_of("batch")).metrics
    assert np.isnan(metrics["loss"])
    assert np.isnan(metrics["largest_classification_weight"])
    assert np.isnan(metrics["mean_classification_weight"])
