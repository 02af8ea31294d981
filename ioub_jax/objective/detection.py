"""The objective of a single-stage detector: weighted, summed and normalized losses."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.losses.sigmoids import IGNORED
from ioub_jax.matching import Matches
from ioub_jax.objective.box_quality import (
    Others,
    distribution_loss,
    instance_weights,
    quality_loss,
)
from ioub_jax.objective.entries import Sigmoids, repeat_for_entries, split_levels
from ioub_jax.objective.histograms import positive_histograms
from ioub_jax.objective.options import (
    RANKING_LOSSES,
    ClassificationOptions,
    ObjectiveOptions,
)
from ioub_jax.objective.per_anchor import (
    Labeled,
    PerAnchor,
    iou_target_loss,
    labeled,
    scalars_of,
    with_int32,
)
from ioub_jax.objective.together import ghm_sums, ranked_sums
from ioub_jax.objective.weights import (
    carl_weights,
    classification_weights,
    localization_weights,
    matched_scores,
    with_wise_weights,
)


class Objective(NamedTuple):
    """Loss, metrics and state of one batch.

    Attributes:
      loss: the scalar to minimize.
      metrics: values to watch, by name: scalars, and histograms (`objective.histograms`).
      moving_average: the moving average of the positives in a global batch.
      loss_state: the state of a loss for the next batch, by name; most losses have none.
    """

    loss: jax.Array
    metrics: dict[str, jax.Array]
    moving_average: jax.Array
    loss_state: Mapping[str, jax.Array] = {}


def detection_objective(
    logits: tuple[jax.Array, ...],
    deltas: tuple[jax.Array, ...],
    anchors: tuple[jax.Array, ...],
    matches: Matches,
    targets: jax.Array,
    *,
    w_loc: jax.Array,
    moving_average: jax.Array,
    options: ObjectiveOptions,
    loss_state: Mapping[str, jax.Array] | None = None,
    image_size: tuple[int, int] | None = None,
    others: Others | None = None,
) -> Objective:
    """The objective of a single-stage detector (arXiv 1908.05641, eq. 1-5).

    Args:
      logits: one `[B, ..., A * C]` for each level: the C logits of each of the A anchors of a
        location, one anchor after another, as a convolution outputs them; or `[B, N_l, C]` with
        A = 1. For 'softmax' there are C + 1 logits, with the background first.
      deltas: one `[B, ..., A * 4]` for each level, likewise.
      anchors: one `[N_l, 4]` for each level, in pixels of the network's input.
      matches: the match of every anchor, `[B, N]`.
      targets: `[B, N, 4]`, the matched box of every anchor; any values if there is none.
      w_loc: the constant of eq. 4, a scalar.
      moving_average: the moving average of the positives in earlier batches, a scalar (for the
        normalizer of that name).
      options: the choice of losses, weights and normalizers.
      loss_state: the state of the previous batch; None for `options.localization.initial_state`, as
        for the first batch.
      image_size: height and width of the network's input in pixels, which only 'mpdiou' needs.
      others: as `Predictions.others`. `quality` has one array of logits `[B, ..., A]` for each
        level, if `options.quality` has a target. `distribution` has one array of logits
        `[B, ..., A * 4 * (R + 1)]` for each level, and a loss whenever it is given.

    Returns:
      An `Objective`. Its metrics `calibration_plain` and `calibration_balanced` are the sums whose
      ratio over the first batches is `w_loc`; `loss_quality`, `loss_distribution`, `loss_carl` and
      `loss_correlation` exist if these losses are configured.
    """
    sizes = [level.shape[0] for level in anchors]
    matches = with_int32(matches)
    with_labels = labeled(logits, anchors, matches, options.classification)
    scalars = scalars_of(with_labels, deltas, anchors, matches, targets, options, image_size)
    scalars, loss_state = with_wise_weights(scalars, loss_state, options.localization)
    class_weights = classification_weights(scalars, sizes, options.classification)
    instances = instance_weights(with_labels, scalars, anchors, targets, options)
    # The plain loss whose sum the IoU-balanced weights keep is the one with the instance weights.
    of_boxes = scalars
    if instances is not None:
        of_boxes = scalars._replace(localization=instances * scalars.localization)
    box_weights = localization_weights(of_boxes, w_loc, options.localization)

    positives = jnp.sum(scalars.positive, axis=1, dtype=jnp.float32)
    are_counted = jnp.any(matches.labels != IGNORED, axis=1)
    scales, moving_average = _image_scales(
        positives, are_counted, options.normalizer, moving_average
    )
    classification_sums = _classification_sums(
        with_labels, scalars, class_weights, sizes, options.classification
    )
    # GHM is already divided by its number of examples.
    of_images = jnp.ones_like(scales) if options.classification.name == "ghm_c" else scales
    classification = options.classification.weight * jnp.sum(of_images * classification_sums)
    box_scales = scales
    if instances is not None:
        box_scales = jnp.broadcast_to(1.0 / jnp.maximum(jnp.sum(instances), 1.0), scales.shape)
    localization_sums = jnp.sum(box_weights * of_boxes.localization, axis=1)
    localization = options.localization.weight * jnp.sum(box_scales * localization_sums)
    terms = {"loss_classification": classification, "loss_localization": localization}
    if options.quality.target != "none":
        qualities = quality_loss(others or {}, scalars, anchors, targets, options)
        of_quality = jnp.sum(scales * jnp.sum(qualities, axis=1))
        terms["loss_quality"] = options.quality.weight * of_quality
    if others and "distribution" in others:
        values = distribution_loss(others["distribution"], scalars, anchors, targets, options)
        values = values if instances is None else instances * values
        of_bins = jnp.sum(box_scales * jnp.sum(values, axis=1))
        terms["loss_distribution"] = options.distribution_weight * of_bins
    terms |= _published_additions(with_labels, scalars, sizes, scales, options)
    loss = sum(terms.values(), start=jnp.float32(0.0))
    metrics = {
        "loss": loss,
        **terms,
        **_statistics(of_boxes, class_weights, options),
        **positive_histograms(scalars, class_weights, box_weights),
        "w_loc": w_loc,
        # For 'per_image', this is the harmonic mean of the normalizers of the images.
        "loss_normalizer": 1.0 / jnp.mean(scales),
    }
    return Objective(loss, metrics, moving_average, loss_state)


def _published_additions(
    logits: Labeled,
    scalars: PerAnchor,
    sizes: list[int],
    scales: jax.Array,
    options: ObjectiveOptions,
) -> dict[str, jax.Array]:
    """Returns CARL and the correlation loss, if they are configured."""
    terms = {}
    if options.localization.carl_weight != 0:
        weights = carl_weights(logits, scalars, sizes, options)
        carl_sums = jnp.sum(weights * scalars.localization, axis=1)
        terms["loss_carl"] = options.localization.carl_weight * jnp.sum(scales * carl_sums)
    if options.classification.correlation_weight != 0:
        terms["loss_correlation"] = _correlation(logits, scalars, sizes, options.classification)
    return terms


def _classification_sums(
    logits: Labeled,
    scalars: PerAnchor,
    weights: jax.Array,
    sizes: list[int],
    options: ClassificationOptions,
) -> jax.Array:
    """Returns the weighted classification loss of each image, `[B]`."""
    if options.name in RANKING_LOSSES:
        return ranked_sums(logits, scalars, sizes, options)
    if options.name == "ghm_c":
        return ghm_sums(logits, options)
    if options.class_weights is not None:
        of_classes = jnp.asarray(options.class_weights, jnp.float32)
        weights = weights * losses.weights_of_classes(scalars.labels, of_classes)
    if options.weighs_whole_anchors:
        values = weights * scalars.classification
        if options.name == "softmax":
            # The plain loss selects the hard negatives, whose weights are 1.
            mined = losses.hard_negative_mask(
                scalars.classification, scalars.labels, ratio=options.negatives_per_positive
            )
            values = jnp.where(scalars.positive | mined, values, 0.0)
        return jnp.sum(values, axis=1)
    # For the gradient, only the logit and the label of an entry are kept in memory.
    level_sums = jax.checkpoint(functools.partial(_level_sums, options))
    levels = zip(logits, split_levels(scalars.ious, sizes), strict=True)
    nothing = jnp.zeros(scalars.labels.shape[0], jnp.float32)
    plain = sum((level_sums(*level) for level in levels), start=nothing)
    if options.eta == 0 and options.class_weights is None:
        return plain
    # Only the entry of a positive's matched class has a weight; the plain sum includes it with 1.
    return plain + jnp.sum((weights - 1.0) * scalars.classification, axis=1)


def _correlation(
    logits: Labeled, scalars: PerAnchor, sizes: list[int], options: ClassificationOptions
) -> jax.Array:
    """Returns the weighted correlation loss of the batch's positives; 0 for fewer than two."""
    return options.correlation_weight * losses.correlation_loss(
        matched_scores(logits, scalars, sizes, options),
        scalars.ious,
        kind=options.correlation_kind,
        where=scalars.positive,
    )


def _level_sums(options: ClassificationOptions, sigmoids: Sigmoids, ious: jax.Array) -> jax.Array:
    """Returns the plain loss of one level's sigmoids, summed over anchors and classes: `[B]`."""
    logits, labels = sigmoids.logits[..., None], sigmoids.labels
    if options.name == "focal":
        values = losses.sigmoid_focal_loss(logits, labels, **options.hyper_parameters)
    else:
        values = iou_target_loss(options)(logits, labels, repeat_for_entries(ious, labels.shape))
    return jnp.sum(values, axis=tuple(range(1, values.ndim)), dtype=jnp.float32)


def _image_scales(
    positives: jax.Array, are_counted: jax.Array, normalizer: str, moving_average: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the factor for the sums of each image, `[B]`, and the new moving average.

    Images whose anchors are all ignored, such as those that fill a last batch, do not count.
    """
    images = jnp.maximum(jnp.sum(are_counted, dtype=jnp.float32), 1.0)
    total = jnp.maximum(jnp.sum(positives), 1.0)
    # The decay and the initial value (100, in the training state) are those of detectron2.
    moving_average = 0.9 * moving_average + 0.1 * total
    if normalizer == "per_image":
        return 1.0 / (images * jnp.maximum(positives, 1.0)), moving_average
    if normalizer == "positives_at_least_one_per_image":
        at_least_one = jnp.sum(jnp.where(are_counted, jnp.maximum(positives, 1.0), 0.0))
        total = jnp.maximum(at_least_one, 1.0)
    elif normalizer == "moving_average":
        total = moving_average
    return jnp.broadcast_to(1.0 / total, positives.shape), moving_average


def _statistics(
    scalars: PerAnchor, class_weights: jax.Array, options: ObjectiveOptions
) -> dict[str, jax.Array]:
    """Returns statistics of the positives to watch; no gradient flows through them."""
    scalars, class_weights = jax.lax.stop_gradient((scalars, class_weights))
    positive = scalars.positive
    count = jnp.maximum(jnp.sum(positive, dtype=jnp.float32), 1.0)
    weight_sum = jnp.sum(jnp.where(positive, class_weights, 0.0))
    largest_weight = jnp.max(jnp.where(positive, class_weights, 1.0))
    balanced = scalars.localization * losses.iou_balanced_localization_weights(
        scalars.ious, lambda_=options.calibration_lambda
    )
    return {
        "positives_per_image": jnp.mean(jnp.sum(positive, axis=1, dtype=jnp.float32)),
        "mean_positive_iou": jnp.sum(scalars.ious) / count,
        # Above 1 if the normalizer of eq. 2 raises the weights of the best boxes.
        # On CPUs, a maximum ignores NaN, but a sum does not.
        "largest_classification_weight": jnp.where(jnp.isnan(weight_sum), jnp.nan, largest_weight),
        "mean_classification_weight": weight_sum / count,
        "calibration_plain": jnp.sum(scalars.localization),
        "calibration_balanced": jnp.sum(jnp.where(positive, balanced, 0.0)),
    }
