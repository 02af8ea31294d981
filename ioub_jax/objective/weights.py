"""Weights of anchors: IoU-balanced weights and those of PISA."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.objective.entries import Sigmoids, split_levels
from ioub_jax.objective.options import ClassificationOptions, LocalizationOptions, ObjectiveOptions
from ioub_jax.objective.per_anchor import Labeled, PerAnchor, matched_logits


def classification_weights(
    scalars: PerAnchor, level_sizes: list[int], options: ClassificationOptions
) -> jax.Array:
    """Weights `[B, N]` of the positives' classification loss; 1 where not positive.

    The IoU-balanced weights are eq. 2 of arXiv 1908.05641 over the scope that
    `options.normalizer_scope` names. The weights of ISR-P are those of PISA (arXiv 1904.04821) over
    the whole batch, whose anchors are sorted.

    Args:
      scalars: the scalars of every anchor.
      level_sizes: the number of anchors of each level.
      options: the choice of weights.

    Returns:
      `[B, N]` float32, under `stop_gradient`.
    """
    if options.isr_p:
        return losses.isr_p_weights(
            scalars.classification,
            scalars.ious,
            scalars.labels,
            scalars.gt_index,
            k=options.isr_p_k,
            bias=options.isr_p_bias,
        )
    if options.eta == 0:
        return jnp.ones_like(scalars.classification)
    axis = -1 if options.normalizer_scope == "image" else None
    scopes = level_sizes if options.normalizer_scope == "level" else [scalars.labels.shape[1]]
    weights = [
        losses.iou_balanced_classification_weights(loss, ious, positive, eta=options.eta, axis=axis)
        for loss, ious, positive in zip(
            split_levels(scalars.classification, scopes),
            split_levels(scalars.ious, scopes),
            split_levels(scalars.positive, scopes),
            strict=True,
        )
    ]
    return jnp.concatenate(weights, axis=1)


def localization_weights(
    scalars: PerAnchor, w_loc: jax.Array, options: LocalizationOptions
) -> jax.Array:
    """IoU-balanced weights `[B, N]` of the localization loss (eq. 4, or eq. 5 if dynamic)."""
    if options.dynamic and options.lambda_ == 0:
        return jnp.ones_like(scalars.localization)
    if options.dynamic:
        return losses.iou_balanced_classification_weights(
            scalars.localization, scalars.ious, scalars.positive, eta=options.lambda_
        )
    return losses.iou_balanced_localization_weights(
        scalars.ious, lambda_=options.lambda_, w_loc=w_loc
    )


def with_wise_weights(
    scalars: PerAnchor, state: Mapping[str, jax.Array] | None, options: LocalizationOptions
) -> tuple[PerAnchor, Mapping[str, jax.Array]]:
    """The scalars with the localization loss of Wise-IoU v2 or v3, and the next state.

    The weights of these losses need the mean of 1 - IoU over the positives of all batches so far,
    so they are applied when the positives of all levels are known. Other losses are unchanged and
    have no state.

    Args:
      scalars: the scalars of every anchor.
      state: the state of the previous batch; None before the first one.
      options: the localization loss.
    """
    initial = {name: jnp.float32(value) for name, value in options.initial_state.items()}
    if not initial:
        return scalars, {}
    weights, mean = losses.wise_iou_weights(
        scalars.ious,
        (state or initial)["wiou_mean"],
        version=int(options.name[-1]),
        momentum=options.wiou_momentum,
        gamma=options.gamma,
        alpha=options.wiou_alpha,
        delta=options.wiou_delta,
        where=scalars.positive,
    )
    return scalars._replace(localization=weights * scalars.localization), {"wiou_mean": mean}


def matched_scores(
    logits: Labeled,
    scalars: PerAnchor,
    level_sizes: list[int],
    options: ClassificationOptions,
) -> jax.Array:
    """Scores `[B, N]` of the positives' classes, with a gradient; arguments as `carl_weights`."""
    if options.name == "softmax":
        # The cross entropy of a positive is the negative logarithm of its score.
        return jnp.exp(-scalars.classification)
    levels = zip(logits, level_sizes, strict=True)
    matched = [matched_logits(level, n) for level, n in levels if isinstance(level, Sigmoids)]
    return jax.nn.sigmoid(jnp.concatenate(matched, axis=1))


def carl_weights(
    logits: Labeled,
    scalars: PerAnchor,
    level_sizes: list[int],
    options: ObjectiveOptions,
) -> jax.Array:
    """PISA's weights `[B, N]` of the localization loss (CARL), differentiable in the logits.

    They have mean 1 over the positives of the batch. With sigmoids, the logits are read once more.

    Args:
      logits: the logits of the levels, with their labels.
      scalars: the scalars of every anchor.
      level_sizes: the number of anchors of each level.
      options: the options; `classification.name` defines the score.

    Returns:
      `[B, N]` float32; 1 where not positive.
    """
    return losses.carl_weights(
        matched_scores(logits, scalars, level_sizes, options.classification),
        scalars.positive,
        k=options.localization.carl_k,
        bias=options.localization.carl_bias,
    )
