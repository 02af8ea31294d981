"""Losses of object detectors for any JAX model; the subpackage depends only on jax.

Losses are unreduced (except `correlation_loss`) and take hyperparameters by keyword. They accept
any leading dimensions (except `isr_p_weights`, which ranks `[B, N]`).
Labels are `0..C-1` for a class, `-1` for background, `-2` for ignored. The `*_weights` functions
return factors for a loss of the same shape.
"""

from ioub_jax.losses.average_lrp import average_lrp_loss
from ioub_jax.losses.class_balance import effective_number_weights, weights_of_classes
from ioub_jax.losses.classification import (
    quality_focal_loss,
    sigmoid_focal_loss,
    sigmoid_focal_loss_of_matched_class,
    softmax_cross_entropy,
    varifocal_loss,
)
from ioub_jax.losses.distribution import decode_distribution, distribution_focal_loss
from ioub_jax.losses.gradient_harmonizing import ghm_c_loss, ghm_r_loss
from ioub_jax.losses.iou_balanced import (
    calibrate_w_loc,
    iou_balanced_classification_weights,
    iou_balanced_iou_loss,
    iou_balanced_localization_weights,
    iou_balanced_sigmoid_focal_loss,
    iou_balanced_smooth_l1_loss,
    iou_balanced_softmax_cross_entropy,
)
from ioub_jax.losses.localization import (
    balanced_l1_loss,
    iou_loss,
    normalized_wasserstein_distance,
    smooth_l1_loss,
)
from ioub_jax.losses.mining import hard_negative_mask
from ioub_jax.losses.prime_sample import carl_weights, isr_p_weights
from ioub_jax.losses.quality import iou_aware_bce_loss, matchability_aware_loss
from ioub_jax.losses.rank_and_sort import bucketed_rank_and_sort_loss, rank_and_sort_loss
from ioub_jax.losses.score_correlation import correlation_loss
from ioub_jax.losses.wise_iou import wise_iou_loss, wise_iou_weights

__all__ = [
    "average_lrp_loss",
    "balanced_l1_loss",
    "bucketed_rank_and_sort_loss",
    "calibrate_w_loc",
    "carl_weights",
    "correlation_loss",
    "decode_distribution",
    "distribution_focal_loss",
    "effective_number_weights",
    "ghm_c_loss",
    "ghm_r_loss",
    "hard_negative_mask",
    "iou_aware_bce_loss",
    "iou_balanced_classification_weights",
    "iou_balanced_iou_loss",
    "iou_balanced_localization_weights",
    "iou_balanced_sigmoid_focal_loss",
    "iou_balanced_smooth_l1_loss",
    "iou_balanced_softmax_cross_entropy",
    "iou_loss",
    "isr_p_weights",
    "matchability_aware_loss",
    "normalized_wasserstein_distance",
    "quality_focal_loss",
    "rank_and_sort_loss",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_of_matched_class",
    "smooth_l1_loss",
    "softmax_cross_entropy",
    "varifocal_loss",
    "weights_of_classes",
    "wise_iou_loss",
    "wise_iou_weights",
]
