"""The options of an objective, with checks that they do not contradict each other.

The fields are named like the keys below `config.loss`.
"""

import dataclasses
from typing import Any

from ioub_jax.box_codecs import DELTAS, BoxCodec
from ioub_jax.losses import box_kinds, wise_iou
from ioub_jax.losses.argument_checks import check_number
from ioub_jax.wasserstein import CONSTANT

IOU_TARGET_LOSSES = ("quality_focal", "varifocal", "mal", "ia_bce")
RANKING_LOSSES = ("rank_and_sort", "bucketed_rank_and_sort", "average_lrp")
CLASSIFICATION_LOSSES = ("focal", *IOU_TARGET_LOSSES, "ghm_c", *RANKING_LOSSES, "softmax")
DELTA_LOSSES = ("smooth_l1", "balanced_l1")
BOX_LOSSES = (*box_kinds.KINDS, "wiou_v2", "wiou_v3", "nwd")
LOCALIZATION_LOSSES = DELTA_LOSSES + BOX_LOSSES
NORMALIZER_SCOPES = ("batch", "level", "image")
CORRELATIONS = ("concordance", "pearson", "spearman")
QUALITIES = ("none", "centreness", "iou")
INSTANCE_WEIGHTS = ("none", "centreness", "score")
NORMALIZERS = ("positives", "positives_at_least_one_per_image", "per_image", "moving_average")


#: Classification loss -> the hyperparameters that it has.
_CLASSIFICATION_TAKES: dict[str, tuple[str, ...]] = {
    "focal": ("alpha", "gamma"),
    "quality_focal": ("gamma",),
    "varifocal": ("alpha", "gamma"),
    "mal": ("gamma",),
    "ia_bce": ("alpha", "gamma"),
    "ghm_c": (),
    **dict.fromkeys(RANKING_LOSSES, ("delta",)),
    "softmax": (),
}
# The difference from which smooth L1 is linear in the authors' RetinaNet; other losses on deltas
# were published with their own.
_BETA, _BETAS = 0.11, {"balanced_l1": 1.0}

_OVERLAPS = tuple(name for name in BOX_LOSSES if name != "nwd")
#: Hyperparameter -> losses that have it: kinds of `iou_loss`, and the losses below.
_TAKEN_BY = {
    name: tuple(kind for kind, of_kind in box_kinds.KINDS.items() if name in of_kind.takes)
    for name in box_kinds.DEFAULTS
    if name != "image_size"
} | {
    "inner": _OVERLAPS,
    "focaler": _OVERLAPS,
    "gamma": ("focal_eiou", "wiou_v2"),
    "nwd_constant": ("nwd",),
    "wiou_momentum": ("wiou_v2", "wiou_v3"),
    "wiou_alpha": ("wiou_v3",),
    "wiou_delta": ("wiou_v3",),
}
_RANGES: dict[str, dict[str, Any]] = {
    "inner": {"above": 0, "at_most": 5},
    "nwd_constant": {"above": 0},
    "wiou_momentum": {"at_least": 0, "at_most": 1},
    "wiou_alpha": {"above": 1},
    "wiou_delta": {"above": 0},
}


def _none_of_it(name: str, value: Any, loss: str, default: Any, having: str) -> ValueError:
    """The error for a hyperparameter that is set although the loss has none."""
    return ValueError(
        f"{name} is {value}, but {loss!r} has none; set {name} to {default}, or name to {having}."
    )


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is {value!r}; it must be one of {', '.join(choices)}.")


@dataclasses.dataclass(frozen=True)
class ClassificationOptions:
    """The classification loss (eq. 1-2 of arXiv 1908.05641).

    Attributes:
      name: 'softmax' has C + 1 columns, with the background first, and hard negatives (SSD). All
        others have C sigmoids: 'focal'; losses whose target is the IoU ('quality_focal',
        'varifocal', 'mal', 'ia_bce'); 'ghm_c'; and losses that rank the whole batch
        ('rank_and_sort', 'bucketed_rank_and_sort', 'average_lrp' with localization losses 1 - IoU).
      eta: the exponent of the IoU-balanced weights, 0 for the plain loss. Only 'focal' and
        'softmax' can have them.
      alpha: the weight of positives in 'focal', of negatives in 'varifocal', and the share of the
        score in the target of 'ia_bce'; other losses have none. None, here and in the next two:
        as published, which is the default of the function in `losses`.
      gamma: the focusing exponent, and the exponent of the IoU in 'mal'; 'softmax', 'ghm_c' and
        ranking losses have none.
      delta: half the width of the step function of ranking losses, in logits.
      bins: the number of bins of gradient norms in 'ghm_c'. This loss is not divided by the
        positives, and its counts are those of each batch (momentum 0).
      normalizer_scope: the scope over which the normalizer of eq. 2 sums: 'batch' (the whole global
        batch), 'level' (each pyramid level, as in the authors' RetinaNet) or 'image' (as in their
        SSD).
      negatives_per_positive: the number of hard negatives per positive that 'softmax' keeps in an
        image.
      isr_p: whether positives have PISA's weights by rank instead (arXiv 1904.04821). As in its
        authors' code, one weight applies to all C entries of an anchor, and ranks and normalizer
        cover the whole global batch. Only 'focal' and 'softmax' can have them.
      isr_p_k: the exponent of these weights.
      isr_p_bias: the minimum of their base, in 0..1.
      class_weights: C factors of the positives' classification loss, by their class, in addition to
        all other weights. They apply to the matched class's entry, or to the whole anchor if
        weights apply to whole anchors. None: no factors.
      correlation_weight: the factor of the correlation loss (arXiv 2301.01019) between scores and
        IoUs of the batch's positives, which is added. 0: it is not computed.
      correlation_kind: 'concordance', 'pearson' or 'spearman'.
      weight: the factor of the whole classification loss, without the correlation loss.
    """

    name: str = "focal"
    eta: float = 1.5
    alpha: float | None = None
    gamma: float | None = None
    delta: float | None = None
    bins: int = 10
    normalizer_scope: str = "level"
    negatives_per_positive: int = 3
    isr_p: bool = False
    isr_p_k: float = 2.0
    isr_p_bias: float = 0.0
    class_weights: tuple[float, ...] | None = None
    correlation_weight: float = 0.0
    correlation_kind: str = "concordance"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses values that no formula knows."""
        _check_choice("name", self.name, CLASSIFICATION_LOSSES)
        _check_choice("normalizer_scope", self.normalizer_scope, NORMALIZER_SCOPES)
        _check_choice("correlation_kind", self.correlation_kind, CORRELATIONS)
        if self.name not in ("focal", "softmax"):
            weighs = (
                f"name {self.name!r} already follows the IoU; "
                if self.name != "ghm_c"
                else "name 'ghm_c' has weights of its own; "
            )
            if self.eta != 0:
                raise ValueError(weighs + "set eta to 0.")
            if self.isr_p:
                raise ValueError(weighs + "set isr_p to False.")
        if self.name == "ghm_c" and self.class_weights is not None:
            raise ValueError("name 'ghm_c' has weights of its own; set class_weights to None.")
        self._check_hyper_parameters()
        if self.isr_p and self.eta != 0:
            raise ValueError(
                "isr_p and eta both give weights to the positives by their IoU; set eta to 0, or "
                "isr_p to False."
            )
        if self.negatives_per_positive < 1:
            raise ValueError(
                f"negatives_per_positive is {self.negatives_per_positive}; it must be at least 1."
            )

        if self.class_weights is not None and not all(w > 0 for w in self.class_weights):
            raise ValueError(f"class_weights is {self.class_weights}; all must be above 0.")

    def _check_hyper_parameters(self) -> None:
        """Refuses numbers that are out of range, or that are set although the loss has none."""
        check_number("bins", self.bins, at_least=1)
        if self.bins != 10 and self.name != "ghm_c":
            raise _none_of_it("bins", self.bins, self.name, 10, "ghm_c")
        for name in ("alpha", "gamma", "delta"):
            value = getattr(self, name)
            if value is None:
                continue
            having = [loss for loss, takes in _CLASSIFICATION_TAKES.items() if name in takes]
            if self.name not in having:
                raise _none_of_it(name, value, self.name, None, f"one of {', '.join(having)}")
            check_number(name, value, at_least=0)

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """The hyperparameters of the loss that are set, as arguments of its function."""
        values = {name: getattr(self, name) for name in _CLASSIFICATION_TAKES[self.name]}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def weighs_whole_anchors(self) -> bool:
        """True if a weight applies to all entries of an anchor, not only to the matched class's."""
        return self.name == "softmax" or self.isr_p


@dataclasses.dataclass(frozen=True)
class LocalizationOptions:
    """The localization loss (eq. 3-5 of arXiv 1908.05641).

    Attributes:
      name: 'smooth_l1' or 'balanced_l1' on deltas; or on boxes: a kind of `losses.iou_loss`,
        'wiou_v2' or 'wiou_v3' (`losses.wise_iou_loss`), or 'nwd'
        (`losses.normalized_wasserstein_distance`).
      lambda_: the exponent of the IoU-balanced weights, 0 for the plain loss.
      w_loc: the constant of eq. 4; None to measure it on the first batches.
      calibration_lambda: the exponent with which an unset `w_loc` is measured; None for `lambda_`.
        (The arm `loc_weight_only` has lambda_ 0 and calibration_lambda 1.5.)
      dynamic: whether the weights are normalized in every batch (eq. 5) instead of by `w_loc`.
      beta: the difference from which smooth L1 (0: plain L1) and balanced L1 are linear. None: the
        authors' .11 and 1.
      power: the exponent of the IoU and of the penalties in the losses on boxes: alpha-IoU (arXiv
        2110.13675), whose authors use 3.
      inner: the ratio of Inner-IoU in the losses on boxes; None: not used.
      focaler: d and u of Focaler-IoU in the losses on boxes; None: not used.
      gamma: the exponent of the factor of 'focal_eiou' and 'wiou_v2'.
      theta: the exponent of the shape cost of 'siou' and 'shape_iou'.
      scale: the exponent of 'shape_iou'.
      piou_lambda: lambda of 'piou2'.
      nwd_constant: the unit in pixels in which 'nwd' measures distances.
      wiou_momentum: the share of a batch in the running mean of 'wiou_v2' and 'wiou_v3'.
      wiou_alpha: alpha of 'wiou_v3'.
      wiou_delta: delta of 'wiou_v3'.
      instance_weights: a further weight of a positive: 1 for 'none'; the centreness of its anchor
        in its box for 'centreness' (FCOS, ATSS); its highest score, without a gradient, for 'score'
        (GFL, arXiv 2006.04388, eq. 9). The sum is then divided by the sum of these weights over the
        batch, at least 1.
      carl_weight: the factor of PISA's classification-aware regression loss (arXiv 1904.04821),
        which is added to the localization loss; its authors use 1. 0: it is not computed.
      carl_k: the exponent of its weights.
      carl_bias: the minimum of their base, in 0..1.
      weight: the factor of the whole localization loss (without CARL).
    """

    name: str = "smooth_l1"
    lambda_: float = 1.5
    w_loc: float | None = None
    calibration_lambda: float | None = None
    dynamic: bool = False
    beta: float | None = None
    power: float = 1.0
    inner: float | None = None
    focaler: tuple[float, float] | None = None
    gamma: float = 0.5
    theta: float = 4.0
    scale: float = 0.0
    piou_lambda: float = 1.3
    nwd_constant: float = CONSTANT
    wiou_momentum: float = 0.01
    wiou_alpha: float = 1.7
    wiou_delta: float = 2.7
    instance_weights: str = "none"
    carl_weight: float = 0.0
    carl_k: float = 1.0
    carl_bias: float = 0.2
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses values that no formula knows."""
        _check_choice("name", self.name, LOCALIZATION_LOSSES)
        _check_choice("instance_weights", self.instance_weights, INSTANCE_WEIGHTS)
        if self.power <= 0:
            raise ValueError(f"power is {self.power}; it must be above 0.")
        if self.power != 1 and self.name in DELTA_LOSSES:
            raise ValueError(
                f"power is {self.power}, but {self.name!r} on deltas has none; set power to 1, or "
                f"name to one of {', '.join(BOX_LOSSES)}."
            )
        if self.power != 1 and self.name == "nwd":
            raise ValueError(f"power is {self.power}, but 'nwd' has none; set power to 1.")
        self._check_numbers_of_boxes()
        if self.carl_weight != 0 and self.lambda_ != 0:
            raise ValueError(
                "carl_weight and lambda_ both give weights to the localization loss of positives; "
                "set one of them to 0."
            )
        if self.dynamic and self.w_loc not in (None, 1.0):
            raise ValueError(
                f"w_loc is {self.w_loc}, but dynamic normalizes the weights in every batch; set "
                "w_loc to None, or dynamic to False."
            )
        if self.dynamic and self.calibration_lambda is not None:
            raise ValueError(
                "dynamic normalizes in every batch and measures no w_loc; set calibration_lambda "
                "to None."
            )

    def _check_numbers_of_boxes(self) -> None:
        """Refuses numbers that are out of range, or that are set although the loss has none."""
        for name, having in _TAKEN_BY.items():
            value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if value == default:
                continue
            if self.name not in having:
                raise _none_of_it(name, value, self.name, default, f"one of {', '.join(having)}")
            if name == "focaler":
                box_kinds.check_focaler(value)
            elif name in _RANGES:
                check_number(name, value, **_RANGES[name])
            else:
                box_kinds.check_hyper_parameter(name, value)

    @property
    def linear_from(self) -> float:
        """The difference from which a loss on deltas is linear."""
        return _BETAS.get(self.name, _BETA) if self.beta is None else self.beta

    @property
    def kind(self) -> str:
        """The kind of `losses.iou_loss` that a loss on boxes is or is based on."""
        return "wiou_v1" if self.name in ("wiou_v2", "wiou_v3") else self.name

    @property
    def initial_state(self) -> dict[str, float]:
        """The state of the loss before the first step, which is carried from step to step."""
        return {"wiou_mean": wise_iou.INITIAL_MEAN} if self.kind != self.name else {}

    @property
    def initial_w_loc(self) -> float | None:
        """The constant of eq. 4 before the first step; None if it has to be measured."""
        return 1.0 if self.dynamic else self.w_loc


@dataclasses.dataclass(frozen=True)
class QualityOptions:
    """The loss of a head that predicts the quality of a box: binary cross-entropy of positives.

    Attributes:
      target: 'centreness' (FCOS, arXiv 1904.01355), 'iou' with the ground truth (IoU-aware
        RetinaNet, arXiv 1912.05992), or 'none' if there is no such head.
      weight: the factor of the loss.
    """

    target: str = "none"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses values that no formula knows."""
        _check_choice("target", self.target, QUALITIES)


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions:
    """All choices of the objective.

    Attributes:
      classification: the classification loss.
      localization: the localization loss.
      normalizer: the divisor of both sums. 'positives': the number of positives in the global
        batch, at least 1. 'positives_at_least_one_per_image': the authors' sum of max(positives, 1)
        over images. 'per_image': torchvision's mean over images of each image's loss divided by its
        positives. 'moving_average': detectron2's moving average of positives.
      codec: the encoding of a box as four outputs of an anchor.
      quality: the loss of the predicted quality of boxes.
      distribution_weight: the factor of the distribution focal loss, if a head outputs the bins of
        its distances (arXiv 2006.04388); .25 in that paper.
    """

    classification: ClassificationOptions = ClassificationOptions()
    localization: LocalizationOptions = LocalizationOptions()
    normalizer: str = "positives"
    codec: BoxCodec = DELTAS
    quality: QualityOptions = QualityOptions()
    distribution_weight: float = 0.25

    def __post_init__(self) -> None:
        """Refuses values that no formula knows."""
        _check_choice("normalizer", self.normalizer, NORMALIZERS)
        if self.localization.instance_weights == "score" and self.classification.name == "softmax":
            raise ValueError(
                "localization has instance_weights 'score', but classification has the name "
                "'softmax', whose positives have no score of their own; set instance_weights to "
                "'none' or 'centreness'."
            )

    @property
    def calibration_lambda(self) -> float:
        """The exponent with which `w_loc` is measured."""
        chosen = self.localization.calibration_lambda
        return self.localization.lambda_ if chosen is None else chosen
