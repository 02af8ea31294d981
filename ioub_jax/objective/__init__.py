"""The scalar that a detector minimizes, from predictions and matches, and the metrics to watch.

Predictions are kept per pyramid level; only per-anchor scalars `[B, N]` are concatenated. One
function can therefore compute the weights for every scope of the normalizer, and the large tensors
are read once.

Read the modules in this order: `options` (the choices), `per_anchor` (the values of every anchor),
`weights` (the weights of the anchors), `detection` (the weighted sum), and `histograms` (statistics
of a batch's positives).
"""

from ioub_jax.objective.detection import Objective, detection_objective
from ioub_jax.objective.options import (
    CLASSIFICATION_LOSSES,
    LOCALIZATION_LOSSES,
    NORMALIZER_SCOPES,
    NORMALIZERS,
    ClassificationOptions,
    LocalizationOptions,
    ObjectiveOptions,
    QualityOptions,
)
from ioub_jax.objective.per_anchor import PerAnchor, per_anchor_scalars
from ioub_jax.objective.weights import carl_weights, classification_weights, localization_weights

__all__ = [
    "CLASSIFICATION_LOSSES",
    "LOCALIZATION_LOSSES",
    "NORMALIZERS",
    "NORMALIZER_SCOPES",
    "ClassificationOptions",
    "LocalizationOptions",
    "Objective",
    "ObjectiveOptions",
    "PerAnchor",
    "QualityOptions",
    "carl_weights",
    "classification_weights",
    "detection_objective",
    "localization_weights",
    "per_anchor_scalars",
]
