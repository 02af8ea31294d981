"""What each anchor counts: the IoU-balanced weights, and PISA's."""

import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.objective.entries import Sigmoids, split_levels
from ioub_jax.objective.options import ClassificationOptions, LocalizationOptions, ObjectiveOptions
from ioub_jax.objective.per_anchor import Labelled, PerAnchor, matched_logits


def classification_weights(
    scalars: PerAnchor, level_sizes: list[int], options: ClassificationOptions
) -> jax.Array:
    """Weights `[B, N]` of the positives' classification loss, 1 where not positive.

    IoU-balanced: eq. 2 of arXiv 1908.05641 over the scope that `options.normalizer_scope` names.
    ISR-P: PISA's (arXiv 1904.04821) over the whole batch, whose anchors it sorts.

    Args:
      scalars: of every anchor.
      level_sizes: anchors of each level.
      options: which weights.

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
    """IoU-balanced weights `[B, N]` of the localization loss (eq. 4, or 5 where dynamic)."""
    if options.dynamic:
        return losses.iou_balanced_classification_weights(
            scalars.localization, scalars.ious, scalars.positive, eta=options.lambda_
        )
    return losses.iou_balanced_localization_weights(
        scalars.ious, lambda_=options.lambda_, w_loc=w_loc
    )


def carl_weights(
    logits: Labelled,
    scalars: PerAnchor,
    level_sizes: list[int],
    options: ObjectiveOptions,
) -> jax.Array:
    """PISA's weights `[B, N]` of the localization loss (CARL), differentiable in the logits.

    They have mean 1 over the positives of the batch. With sigmoids they read the logits once more.

    Args:
      logits: of the levels, with their labels.
      scalars: of every anchor.
      level_sizes: anchors of each level.
      options: `classification.name` says what a score is.

    Returns:
      `[B, N]` float32, 1 where not positive.
    """
    if options.classification.name == "softmax":
        # The cross entropy of a positive is minus the logarithm of its score.
        scores = jnp.exp(-scalars.classification)
    else:
        levels = zip(logits, level_sizes, strict=True)
        matched = [matched_logits(level, n) for level, n in levels if isinstance(level, Sigmoids)]
        scores = jax.nn.sigmoid(jnp.concatenate(matched, axis=1))
    return losses.carl_weights(
        scores,
        scalars.positive,
        k=options.localization.carl_k,
        bias=options.localization.carl_bias,
    )
