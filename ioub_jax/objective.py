"""From predictions and matches to the scalar a detector minimises, and the numbers worth watching.

Predictions stay per pyramid level; only per-anchor scalars `[B, N]` are concatenated. So one
weights function serves every scope of the normaliser, and the big tensors are read once.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax import boxes as box_ops
from ioub_jax import losses
from ioub_jax.matching import Matches

CLASSIFICATION_LOSSES = ("focal", "quality_focal", "varifocal")
LOCALIZATION_LOSSES = ("smooth_l1", "balanced_l1", "iou", "giou", "diou", "ciou")
NORMALIZER_SCOPES = ("batch", "level", "image")
NORMALIZERS = ("positives", "positives_at_least_one_per_image", "per_image", "moving_average")


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is {value!r}; it must be one of {', '.join(choices)}.")


@dataclasses.dataclass(frozen=True)
class ClassificationOptions:
    """The classification loss (DESIGN section 2, eq. 1-2 of arXiv 1908.05641).

    Attributes:
      name: 'focal', 'quality_focal' or 'varifocal'.
      eta: exponent of the IoU-balanced weights, 0 for the plain loss. Only 'focal' takes them.
      alpha: weight of positives; 'quality_focal' has none.
      gamma: focusing exponent.
      normalizer_scope: over what the normaliser of eq. 2 sums: 'batch' (the whole global batch),
        'level' (each pyramid level, as the authors' RetinaNet) or 'image' (as their SSD).
      weight: factor of the whole classification loss.
    """

    name: str = "focal"
    eta: float = 1.5
    alpha: float = 0.25
    gamma: float = 2.0
    normalizer_scope: str = "level"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what no formula knows."""
        _check_choice("loss.classification.name", self.name, CLASSIFICATION_LOSSES)
        _check_choice(
            "loss.classification.normalizer_scope", self.normalizer_scope, NORMALIZER_SCOPES
        )
        if self.eta != 0 and self.name != "focal":
            raise ValueError(
                f"loss.classification.name {self.name!r} already follows the IoU; "
                "set loss.classification.eta to 0."
            )


@dataclasses.dataclass(frozen=True)
class LocalizationOptions:
    """The localization loss (eq. 3-5 of arXiv 1908.05641).

    Attributes:
      name: 'smooth_l1' or 'balanced_l1' on deltas, 'iou', 'giou', 'diou' or 'ciou' on boxes.
      lambda_: exponent of the IoU-balanced weights, 0 for the plain loss.
      w_loc: the constant of eq. 4; None to measure it on the first batches.
      calibration_lambda: exponent with which an unset `w_loc` is measured; None for `lambda_`.
        (The arm `loc_weight_only` has lambda_ 0 and calibration_lambda 1.5.)
      dynamic: whether the weights are normalised in every batch (eq. 5) instead of by `w_loc`.
      beta: where smooth L1 and balanced L1 turn linear.
      weight: factor of the whole localization loss.
    """

    name: str = "smooth_l1"
    lambda_: float = 1.5
    w_loc: float | None = None
    calibration_lambda: float | None = None
    dynamic: bool = False
    beta: float = 0.11
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what no formula knows."""
        _check_choice("loss.localization.name", self.name, LOCALIZATION_LOSSES)


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions:
    """All choices of the objective.

    Attributes:
      classification: the classification loss.
      localization: the localization loss.
      normalizer: what both sums are divided by (DESIGN section 8). 'positives': the positives of
        the global batch, at least 1. 'positives_at_least_one_per_image': the authors' sum over
        images of max(positives, 1). 'per_image': torchvision's mean over images of each image's
        loss over its own positives. 'moving_average': detectron2's moving average of positives.
      box_weights: weights of (dx, dy, dw, dh) in the box codec.
    """

    classification: ClassificationOptions = ClassificationOptions()
    localization: LocalizationOptions = LocalizationOptions()
    normalizer: str = "positives"
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Refuses what no formula knows."""
        _check_choice("loss.normalizer", self.normalizer, NORMALIZERS)

    @property
    def calibration_lambda(self) -> float:
        """The exponent with which `w_loc` is measured."""
        chosen = self.localization.calibration_lambda
        return self.localization.lambda_ if chosen is None else chosen


class PerAnchor(NamedTuple):
    """Scalars of every anchor, `[B, N]`, the levels concatenated.

    Attributes:
      labels: int32, 0..C-1, -1 background, -2 ignored.
      ious: float32, IoU of the predicted box with its matched box; 0 where not positive.
      classification: float32, plain loss of the matched class's entry; 0 where not positive.
      localization: float32, plain loss summed over the box; 0 where not positive. The only one
        that a gradient flows through.
    """

    labels: jax.Array
    ious: jax.Array
    classification: jax.Array
    localization: jax.Array

    @property
    def positive(self) -> jax.Array:
        """`[B, N]` bool."""
        return self.labels >= 0


def _localization_loss(
    deltas: jax.Array,
    decoded: jax.Array,
    anchors: jax.Array,
    targets: jax.Array,
    options: ObjectiveOptions,
) -> jax.Array:
    """Plain localization loss `[B, N_l]` of every anchor, against its matched box."""
    chosen = options.localization
    if chosen.name not in ("smooth_l1", "balanced_l1"):
        return losses.iou_loss(decoded, targets, kind=chosen.name)
    target_deltas = box_ops.encode(targets, anchors, weights=options.box_weights)
    formula = losses.smooth_l1_loss if chosen.name == "smooth_l1" else losses.balanced_l1_loss
    return jnp.sum(formula(deltas, target_deltas, beta=chosen.beta), axis=-1)


def _level_scalars(
    logits: jax.Array,
    deltas: jax.Array,
    anchors: jax.Array,
    labels: jax.Array,
    targets: jax.Array,
    options: ObjectiveOptions,
) -> PerAnchor:
    """The per-anchor scalars of one level."""
    positive = labels >= 0
    deltas = deltas.astype(jnp.float32)
    anchors = jnp.broadcast_to(anchors[None], targets.shape)
    # A target box of an anchor without one is the anchor itself: its loss is masked, and finite.
    targets = jnp.where(positive[..., None], targets, anchors)
    decoded = box_ops.decode(deltas, anchors, weights=options.box_weights)
    ious = box_ops.aligned_iou(jax.lax.stop_gradient(decoded), targets)
    localization = _localization_loss(deltas, decoded, anchors, targets, options)
    matched = losses.sigmoid_focal_loss_of_matched_class(
        logits, labels, alpha=options.classification.alpha, gamma=options.classification.gamma
    )
    return PerAnchor(
        labels=labels,
        ious=jnp.where(positive, ious, 0.0),
        classification=matched,
        localization=jnp.where(positive, localization, 0.0),
    )


def per_anchor_scalars(
    logits: tuple[jax.Array, ...],
    deltas: tuple[jax.Array, ...],
    anchors: tuple[jax.Array, ...],
    matches: Matches,
    targets: jax.Array,
    options: ObjectiveOptions,
) -> PerAnchor:
    """What the weights are made of; arguments as `detection_objective`."""
    sizes = [level.shape[0] for level in anchors]
    levels = [
        _level_scalars(*level, options)
        for level in zip(
            logits,
            deltas,
            anchors,
            _split(matches.labels, sizes),
            _split(targets, sizes),
            strict=True,
        )
    ]
    return PerAnchor(*(jnp.concatenate(values, axis=1) for values in zip(*levels, strict=True)))


def _split(values: jax.Array, sizes: list[int]) -> list[jax.Array]:
    """Cuts `[B, N, ...]` into the levels' `[B, N_l, ...]`."""
    edges = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return jnp.split(values, edges, axis=1)


def classification_weights(
    scalars: PerAnchor, level_sizes: list[int], options: ClassificationOptions
) -> jax.Array:
    """IoU-balanced weights `[B, N]` of the matched class's entries, 1 where not positive.

    Eq. 2 of arXiv 1908.05641 over the scope that `options.normalizer_scope` names.
    """
    if options.eta == 0:
        return jnp.ones_like(scalars.classification)
    axis = -1 if options.normalizer_scope == "image" else None
    scopes = level_sizes if options.normalizer_scope == "level" else [scalars.labels.shape[1]]
    weights = [
        losses.iou_balanced_classification_weights(loss, ious, positive, eta=options.eta, axis=axis)
        for loss, ious, positive in zip(
            _split(scalars.classification, scopes),
            _split(scalars.ious, scopes),
            _split(scalars.positive, scopes),
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


def _classification_loss(
    logits: jax.Array,
    labels: jax.Array,
    ious: jax.Array,
    weights: jax.Array,
    options: ClassificationOptions,
) -> jax.Array:
    """Weighted classification loss of one level, summed over anchors and classes: `[B]`."""
    if options.name == "quality_focal":
        values = losses.quality_focal_loss(logits, labels, ious, beta=options.gamma)
    elif options.name == "varifocal":
        values = losses.varifocal_loss(
            logits, labels, ious, alpha=options.alpha, gamma=options.gamma
        )
    else:
        values = losses.sigmoid_focal_loss(logits, labels, alpha=options.alpha, gamma=options.gamma)
        # Only the matched class's entry of a positive anchor is re-weighted. A product with a mask
        # fuses with the loss; a gather would put a scatter into its gradient.
        matched = jnp.arange(logits.shape[-1])[None, None] == labels[..., None]
        values = values * jnp.where(matched, weights[..., None], 1.0)
    return jnp.sum(values, axis=(1, 2), dtype=jnp.float32)


def _image_scales(
    positives: jax.Array, normalizer: str, moving_average: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What each image's sums are multiplied by, `[B]`, and the new moving average."""
    images = positives.shape[0]
    total = jnp.maximum(jnp.sum(positives), 1.0)
    # Decay and start (100, in the training state) are detectron2's.
    moving_average = 0.9 * moving_average + 0.1 * total
    if normalizer == "per_image":
        return 1.0 / (images * jnp.maximum(positives, 1.0)), moving_average
    if normalizer == "positives_at_least_one_per_image":
        total = jnp.sum(jnp.maximum(positives, 1.0))
    elif normalizer == "moving_average":
        total = moving_average
    return jnp.broadcast_to(1.0 / total, (images,)), moving_average


class Objective(NamedTuple):
    """What one batch says.

    Attributes:
      loss: the scalar to minimise.
      metrics: scalars to watch, by name.
      moving_average: positives of the global batch, averaged over batches.
    """

    loss: jax.Array
    metrics: dict[str, jax.Array]
    moving_average: jax.Array


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
) -> Objective:
    """The objective of a single-stage detector (arXiv 1908.05641, eq. 1-5).

    Args:
      logits: one `[B, N_l, C]` a level.
      deltas: one `[B, N_l, 4]` a level.
      anchors: one `[N_l, 4]` a level, in the pixels of the network's input.
      matches: the match of every anchor, `[B, N]`.
      targets: `[B, N, 4]` the matched box of every anchor; anything where there is none.
      w_loc: scalar, the constant of eq. 4.
      moving_average: scalar, positives of earlier batches (for the normaliser of that name).
      options: which losses, weights and normalisers.

    Returns:
      An `Objective`. Its metrics `calibration_plain` and `calibration_balanced` are the sums whose
      ratio over the first batches is `w_loc`.
    """
    sizes = [level.shape[0] for level in anchors]
    level_labels = _split(matches.labels, sizes)
    scalars = per_anchor_scalars(logits, deltas, anchors, matches, targets, options)
    class_weights = classification_weights(scalars, sizes, options.classification)
    box_weights = localization_weights(scalars, w_loc, options.localization)

    positives = jnp.sum(scalars.positive, axis=1, dtype=jnp.float32)
    scales, moving_average = _image_scales(positives, options.normalizer, moving_average)
    classification_sums = sum(
        _classification_loss(*level, options.classification)
        for level in zip(
            logits,
            level_labels,
            _split(scalars.ious, sizes),
            _split(class_weights, sizes),
            strict=True,
        )
    )
    classification = options.classification.weight * jnp.sum(scales * classification_sums)
    localization_sums = jnp.sum(box_weights * scalars.localization, axis=1)
    localization = options.localization.weight * jnp.sum(scales * localization_sums)
    loss = classification + localization
    metrics = {
        "loss": loss,
        "loss_classification": classification,
        "loss_localization": localization,
        **_statistics(scalars, class_weights, options),
        "w_loc": w_loc,
        # For 'per_image' the harmonic mean of the images' own normalisers.
        "loss_normalizer": 1.0 / jnp.mean(scales),
    }
    return Objective(loss, metrics, moving_average)


def _statistics(
    scalars: PerAnchor, class_weights: jax.Array, options: ObjectiveOptions
) -> dict[str, jax.Array]:
    """What to watch of the positives; no gradient flows here."""
    scalars, class_weights = jax.lax.stop_gradient((scalars, class_weights))
    positive = scalars.positive
    count = jnp.maximum(jnp.sum(positive, dtype=jnp.float32), 1.0)
    balanced = scalars.localization * losses.iou_balanced_localization_weights(
        scalars.ious, lambda_=options.calibration_lambda
    )
    return {
        "positives_per_image": jnp.mean(jnp.sum(positive, axis=1, dtype=jnp.float32)),
        "mean_positive_iou": jnp.sum(scalars.ious) / count,
        # Above 1 where the normaliser of eq. 2 lifts the weights of the best boxes.
        "largest_classification_weight": jnp.max(jnp.where(positive, class_weights, 1.0)),
        "mean_classification_weight": jnp.sum(jnp.where(positive, class_weights, 0.0)) / count,
        "calibration_plain": jnp.sum(scalars.localization),
        "calibration_balanced": jnp.sum(jnp.where(positive, balanced, 0.0)),
    }
