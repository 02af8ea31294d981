"""The scalar that a detector minimises, from predictions and matches, and the metrics to watch.

Predictions stay per pyramid level; only per-anchor scalars `[B, N]` are concatenated. So one
weights function serves every scope of the normaliser, and the big tensors are read once.

Read it in this order: `options` (what can be chosen), `per_anchor` (what is computed of every
anchor), `weights` (what each anchor counts), `detection` (the sum of it all), and `histograms`
(what the positives of a batch look like).
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
