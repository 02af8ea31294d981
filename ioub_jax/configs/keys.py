"""All keys of a configuration: the meaning, the allowed values and the default of each.

`ioub config` prints this table. Any key can be set on the command line:
`--config.loss.classification.eta=1.0`. Defaults are those of the paper (arXiv 1908.05641), where it
gives a value.
"""

import dataclasses
from typing import Any

from ioub_jax.configs.arms import ARMS
from ioub_jax.configs.data_sets import COCO_TRAINING_IMAGES
from ioub_jax.configs.family_defaults import FAMILY_DEFAULTS, LIKE_SSD, NO_KEY, Marker
from ioub_jax.configs.rules import (
    Rule,
    above,
    at_least,
    between,
    canvases,
    class_weights,
    flag,
    interval,
    intervals_of_levels,
    metrics,
    names,
    number,
    numbers,
    numbers_above,
    one_of,
    one_or_several,
    one_whole_of,
    or_none,
    probability,
    ratios_of_levels,
    size,
    text,
    two_shares,
    whole,
)
from ioub_jax.configs.ssd_boxes import RATIOS, SIZES, STRIDES

__all__ = ["FAMILIES", "KEYS", "NO_KEY", "REPLACED", "SECTIONS", "SOURCES", "Key", "of_family"]


#: The localization losses that compare decoded boxes.
_BOX_LOSSES = (
    *("iou", "giou", "diou", "ciou", "eiou", "focal_eiou", "siou", "mpdiou"),
    *("wiou_v1", "wiou_v2", "wiou_v3", "shape_iou", "piou", "piou2", "nwd"),
)

#: The kinds of data sets, which are the values of `data.source`.
SOURCES = ("coco", "voc", "yolo", "cityscapes", "tfds", "shapes")

_THE_SAME = Marker("_THE_SAME")

#: The families of detectors, which are the values of `model.name`.
FAMILIES = ("retinanet", "ssd", *(name for name in FAMILY_DEFAULTS if name != "retinanet"))


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a configuration.

    Attributes:
      name: the key with its dots.
      default: the default value in a RetinaNet, and in those other families of `FAMILY_DEFAULTS`
        that do not have their own; `NO_KEY` if a RetinaNet does not have the key.
      must_be: the rule for the value.
      meaning: the meaning of the key, in one or two sentences.
      ssd: the default value in an SSD (SSD300 with the default boxes for COCO), and in those
        families of `LIKE_SSD` that do not have their own, if it differs from `default`; `NO_KEY`
        if an SSD does not have the key.
    """

    name: str
    default: Any
    must_be: Rule
    meaning: str
    ssd: Any = _THE_SAME

    def default_of(self, family: str) -> Any:
        """The default in a family; `NO_KEY` if the family does not have the key."""
        in_ssd = self.default if self.ssd is _THE_SAME else self.ssd
        if family == "ssd":
            return in_ssd
        if family in LIKE_SSD:
            own = FAMILY_DEFAULTS[family].get(self.name, in_ssd)
            # If the value violates the rule, it belongs to another key of the same name.
            return NO_KEY if self.must_be.fault(own) else own
        if self.default is NO_KEY and self.ssd is not NO_KEY:
            return NO_KEY  # a key of SSDs only; another key may have the same name
        return FAMILY_DEFAULTS[family].get(self.name, self.default)


def of_family(family: str) -> dict[str, Key]:
    """Name -> key of all keys of a family; for an unknown family, only of keys that all share.

    Args:
      family: one of `FAMILIES`, or another value of `model.name`.
    """
    if family in FAMILIES:
        return {key.name: key for key in KEYS if key.default_of(family) is not NO_KEY}
    own = ("model", "anchors", "matcher", "loss")
    return {
        key.name: key
        for key in KEYS
        if key.name.split(".")[0] not in own or key.name == "model.name"
    }


#: First part of a name -> title of its section; '' for names without a dot.
SECTIONS = {
    "": "The run",
    "model": "The network",
    "anchors": "The anchors",
    "matcher": "The assignment of anchors to boxes",
    "loss": "The losses",
    "optimizer": "The optimizer",
    "schedule": "The learning rate and the length of the run",
    "data": "The data",
    "evaluation": "The evaluation",
    "runtime": "The runtime",
}

#: Last part of a key of earlier versions -> advice on what to set instead.
REPLACED = {
    "one_based": "--config.data.voc.pixels=devkit is what one_based=True was, "
    "--config.data.voc.pixels=zero_based what one_based=False was; unset, the files decide.",
}

# The values of the default arm.
_ETA, _LAMBDA, _ = next(iter(ARMS.values()))
_SSD300_OF_COCO = ("coco", 300)

_NORM = one_of("none", "group_norm")
_OBJECTS = one_of("ignore", "drop", "keep")
_DTYPE = one_of("float32", "bfloat16")
_FILES = one_or_several("('a.json', 'b.json')")
_FOLDERS = one_or_several("('images_a', 'images_b')")
_PART = between(lambda value: 0 <= value < 1, "a share, at least 0 and below 1")
_SHARE = between(lambda value: 0 < value <= 1, "above 0 and at most 1")

KEYS = (
    Key(
        "seed",
        0,
        whole(at_least=0),
        "Seed of initial parameters, the order of the data and its augmentation.",
    ),
    Key(
        "batch_size",
        16,
        whole(at_least=1),
        "Number of images in the global batch, over all devices.",
    ),
    Key(
        "init_from",
        None,
        or_none(text()),
        "A whole detector to start from: the workdir of a run, or the file or published name of "
        "one of torchvision's detectors. If the classes differ, its last layer starts anew.",
    ),
    # ------------------------------------------------------------------ the network
    Key(
        "model.name",
        "retinanet",
        text(),
        "The detector: retinanet, ssd, fcos, atss, gfl, iou_aware_retinanet, ssdlite, or one of "
        "your own. They have keys of their own, and so other defaults to start from: "
        "ioub_jax.configs.defaults.of_family, and ssd_defaults and ssdlite_defaults there.",
        ssd="ssd",
    ),
    Key(
        "model.backbone",
        "resnet50",
        one_of(
            "resnet18",
            "resnet34",
            "resnet50",
            "resnet101",
            "resnext101_32x4d",
            "resnext101_64x4d",
            "efficientnet_lite0",
            "mobilenet_v3_large",
            "convnext_tiny",
            "convnext_small",
            "vit_small",
            "vit_base",
            "dinov2_small",
            "dinov2_base",
        ),
        "The network that computes the features.",
        ssd=NO_KEY,
    ),
    Key(
        "model.backbone",
        NO_KEY,
        one_of("vgg16"),
        "The network that computes the features of an SSD.",
        ssd="vgg16",
    ),
    Key(
        "model.input_size",
        NO_KEY,
        one_whole_of(*STRIDES),
        "Height and width of an SSD's input images in pixels; data.canvases has to agree.",
        ssd=300,
    ),
    Key(
        "model.input_size",
        NO_KEY,
        whole(at_least=32),
        "Height and width of an SSDLite's input images; data.canvases has to agree.",
        ssd=NO_KEY,
    ),
    Key(
        "model.reduced_tail",
        NO_KEY,
        flag(),
        "Whether the last stage of MobileNetV3 has half its channels (arXiv 1905.02244, 6.3); "
        "False for weights of a classifier in model.pretrained.",
        ssd=NO_KEY,
    ),
    Key(
        "model.in_channels",
        3,
        whole(at_least=1),
        "Channels of the images: 3, RGB; 1, gray, to which RGB images are converted; 4, red, "
        "green, blue and one more, such as near infrared. Imported weights are adapted.",
    ),
    Key(
        "model.width",
        64,
        whole(at_least=1),
        "Channels of the stem, or of the first stage of an SSD; fewer make a smaller detector. 64 "
        "is the published network; MobileNetV3, ConvNeXt and ViT with 32 have half of every "
        "number of channels.",
    ),
    Key(
        "model.norm",
        "batch_norm",
        one_of("frozen_bn", "batch_norm", "group_norm", "layer_norm"),
        "The norms of the backbone. Those of batch_norm use the statistics of the global batch, "
        "those of frozen_bn keep their initial statistics; layer_norm is for ConvNeXt and ViT.",
        ssd=NO_KEY,
    ),
    Key(
        "model.norm_epsilon",
        1e-5,
        at_least(0),
        "Constant added to the variance in batch norms.",
        ssd=NO_KEY,
    ),
    Key(
        "model.norm_momentum",
        0.9,
        _PART,
        "Share of the running statistics that batch norms keep in each step: 1 - the momentum of "
        "torch.",
        ssd=NO_KEY,
    ),
    Key(
        "model.frozen_stages",
        -1,
        whole(at_least=-1),
        "The part of the backbone that is not trained. -1: none; 0: the stem, which an SSD does "
        "not have; 1: the stem and stage 1; and so on.",
    ),
    Key(
        "model.pretrained",
        None,
        or_none(text()),
        "Weights of the backbone: a file of torchvision's or timm's (.pth, .safetensors), a name "
        "in ioub_jax/weights/published.py, or a run's workdir (its best checkpoint).",
    ),
    Key(
        "model.pixel_mean",
        (123.675, 116.28, 103.53),
        numbers(lambda value: len(value) > 0, "a number for each channel, or RGB's three"),
        "Mean of the pixels (0-255) that the backbone was trained on, which is subtracted: "
        "ImageNet's RGB. Other channels get the average of these three.",
        ssd=(123.0, 117.0, 104.0),
    ),
    Key(
        "model.pixel_std",
        (58.395, 57.12, 57.375),
        numbers(
            lambda value: len(value) > 0 and min(value) > 0,
            "numbers above 0, one for each channel, or RGB's three",
        ),
        "Standard deviation of these pixels, by which the difference is divided.",
        ssd=(1.0, 1.0, 1.0),
    ),
    Key(
        "model.dtype",
        "float32",
        _DTYPE,
        "Data type of the computation; parameters are float32.",
    ),
    Key(
        "model.fpn.channels", 256, whole(at_least=1), "Channels of the feature pyramid.", ssd=NO_KEY
    ),
    Key(
        "model.fpn.p6_from",
        "c5",
        one_of("c5", "p5"),
        "Input of the level P6: c5 (the authors) or p5 (torchvision's first version).",
        ssd=NO_KEY,
    ),
    Key(
        "model.fpn.relu_before_p7",
        False,
        flag(),
        "Whether P7 is computed from the positive part of P6; True in detectron2 and torchvision.",
        ssd=NO_KEY,
    ),
    Key(
        "model.fpn.norm",
        "none",
        one_of("none", "group_norm", "layer_norm"),
        "The norms of the feature pyramid; layer_norm in ViTDet.",
        ssd=NO_KEY,
    ),
    Key(
        "model.fpn.top_down",
        True,
        flag(),
        "Whether finer levels of the pyramid receive the features of coarser ones. False makes "
        "the simple pyramid of ViTDet, for vit_small, vit_base, dinov2_small and dinov2_base.",
        ssd=NO_KEY,
    ),
    Key("model.head.width", 256, whole(at_least=1), "Channels of the heads.", ssd=NO_KEY),
    Key(
        "model.head.depth",
        4,
        whole(at_least=0),
        "Number of convolutions in a head before its last one.",
        ssd=NO_KEY,
    ),
    Key(
        "model.head.norm",
        "none",
        _NORM,
        "The norms of the heads; group_norm in torchvision's second version.",
        ssd=NO_KEY,
    ),
    Key(
        "model.head.bias_before_norm",
        True,
        flag(),
        "Whether convolutions before a norm have a bias; False in torchvision and detectron2.",
        ssd=NO_KEY,
    ),
    Key(
        "model.head.prior_probability",
        0.01,
        between(lambda value: 0 < value < 1, "above 0 and below 1"),
        "Score of every anchor before training.",
        ssd=NO_KEY,
    ),
    Key(
        "model.head.level_scales",
        NO_KEY,
        flag(),
        "Whether the outputs of each level are multiplied by a learned number.",
        ssd=NO_KEY,
    ),
    Key(
        "model.head.distances",
        NO_KEY,
        one_of("exp", "relu"),
        "Function that turns outputs of an FCOS into distances: exp as originally published, relu "
        "as in torchvision.",
        ssd=NO_KEY,
    ),
    Key(
        "model.head.reg_max",
        NO_KEY,
        whole(at_least=1),
        "Largest distance of a GFL's boxes, in strides: the last of its reg_max + 1 bins.",
        ssd=NO_KEY,
    ),
    # ------------------------------------------------------------------ the anchors
    Key(
        "anchors.base_scale",
        4.0,
        above(0),
        "Size of the smallest anchor of a level over its stride: 4 * 8 = 32 pixels on P3.",
        ssd=NO_KEY,
    ),
    Key(
        "anchors.scales_per_octave",
        3,
        whole(at_least=1),
        "Number of anchor sizes on a level, evenly spread over a factor of 2.",
        ssd=NO_KEY,
    ),
    Key(
        "anchors.sizes",
        NO_KEY,
        numbers(lambda value: len(value) > 1 and min(value) > 0, "numbers above 0, in pixels"),
        "Sizes of the default boxes of an SSD in pixels, one more than the number of levels.",
        ssd=SIZES[_SSD300_OF_COCO],
    ),
    Key(
        "anchors.ratios",
        (0.5, 1.0, 2.0),
        numbers(
            lambda value: len(value) > 0 and min(value) > 0,
            "at least one number above 0, such as (0.5, 1.0, 2.0)",
        ),
        "Heights over widths.",
        ssd=NO_KEY,
    ),
    Key(
        "anchors.ratios",
        NO_KEY,
        ratios_of_levels(),
        "Longer side over shorter side, for every level of an SSD; each gives a horizontal and a "
        "vertical box.",
        ssd=RATIOS[300],
    ),
    Key(
        "anchors.strides",
        NO_KEY,
        numbers(
            lambda value: len(value) > 0 and all(isinstance(n, int) and n > 0 for n in value),
            "whole numbers above 0, in pixels",
        ),
        "Distance in pixels between the centers of the boxes of an SSD, for every level.",
        ssd=STRIDES[300],
    ),
    Key(
        "anchors.center_offset",
        0.5,
        number(),
        "Position of an anchor's center in its cell, in strides; 0 in torchvision and detectron2.",
        ssd=NO_KEY,
    ),
    Key(
        "anchors.rounded",
        True,
        flag(),
        "Whether base anchors are rounded to whole pixels, as in the authors' code; False in "
        "detectron2, and for an SSD in SSD's own code and torchvision.",
    ),
    Key(
        "anchors.whole_sizes",
        False,
        flag(),
        "Whether sizes are cut to whole pixels before the ratio is applied; True in torchvision.",
        ssd=NO_KEY,
    ),
    Key(
        "anchors.stride_from_grid",
        False,
        flag(),
        "Whether cells are `image size // grid size` pixels apart, not rounded in an SSDLite; "
        "True in torchvision.",
        ssd=NO_KEY,
    ),
    Key(
        "anchors.clip_sizes",
        NO_KEY,
        flag(),
        "Whether the boxes of an SSD are at most as large as the image; True in torchvision.",
        ssd=False,
    ),
    Key(
        "anchors.box_weights",
        (1.0, 1.0, 1.0, 1.0),
        numbers_above(0, 4, "four numbers above 0, such as (1.0, 1.0, 1.0, 1.0)"),
        "Weights of dx, dy, dw and dh; for an SSD, 1 / its variances.",
        ssd=(10.0, 10.0, 5.0, 5.0),
    ),
    # ------------------------------------------------------------------ matching
    Key(
        "matcher.name",
        "iou",
        one_of("iou", "atss", "fcos"),
        "Assignment of anchors to boxes: by the IoU and the thresholds below; by the statistics "
        "of their IoUs, atss (arXiv 1912.02424); as points near the middle of a box, fcos (arXiv "
        "1904.01355).",
        ssd=NO_KEY,
    ),
    Key(
        "matcher.topk",
        9,
        whole(at_least=1),
        "For atss: number of candidates of a box on each level, times the anchors of a location.",
        ssd=NO_KEY,
    ),
    Key(
        "matcher.center_radius",
        1.5,
        or_none(above(0)),
        "For fcos: largest distance in strides of a point from the middle of its box; None: "
        "anywhere in the box.",
        ssd=NO_KEY,
    ),
    Key(
        "matcher.size_ranges",
        None,
        or_none(intervals_of_levels()),
        "For fcos: least and largest distance in pixels of a point from the edges of its box, for "
        "every level, such as ((0, 64), (64, 1e8)). None: 4 to 8 strides.",
        ssd=NO_KEY,
    ),
    Key(
        "matcher.center_rule",
        "authors",
        one_of("authors", "torchvision"),
        "For fcos: comparisons at the ends of a range, and of areas, as in the authors' or in "
        "torchvision's code.",
        ssd=NO_KEY,
    ),
    Key(
        "matcher.foreground_iou",
        0.5,
        _SHARE,
        "Least IoU with a box at which an anchor is matched to it.",
    ),
    Key(
        "matcher.background_iou",
        0.4,
        _SHARE,
        "IoU below which an anchor is background, at most foreground_iou; anchors between the two "
        "have no loss. In an SSD there are none between them.",
        ssd=0.5,
    ),
    Key(
        "matcher.low_quality",
        "authors",
        one_of("authors", "torchvision", "ssd", "none"),
        "Anchors for a box whose best anchor is below foreground_iou, as in the code of the "
        "authors, of torchvision or of SSD (one anchor per box); none: no anchors.",
        ssd="ssd",
    ),
    Key(
        "matcher.crowd",
        "ignore",
        _OBJECTS,
        "Treatment of crowds (COCO): ignore the anchors inside, drop the box, or keep it as an "
        "object.",
    ),
    Key(
        "matcher.difficult",
        "keep",
        _OBJECTS,
        "Treatment of difficult objects (VOC), with the same values.",
    ),
    Key(
        "matcher.ignore_iof",
        0.5,
        _SHARE,
        "An anchor has no loss if at least this share of it is in an ignored region; for atss and "
        "fcos also if its center is.",
    ),
    Key(
        "matcher.similarity",
        "iou",
        one_of("iou", "nwd"),
        "Similarity of anchors and boxes in matching: nwd (arXiv 2110.13389) also distinguishes "
        "anchors that do not overlap a tiny box; the thresholds above then apply to it.",
    ),
    Key(
        "matcher.nwd_constant",
        12.8,
        above(0),
        "Unit of distance in nwd, in pixels: the typical size of objects.",
    ),
    # ------------------------------------------------------------------ the losses
    Key(
        "loss.classification.name",
        "focal",
        one_of(
            *("focal", "quality_focal", "varifocal", "mal", "ia_bce", "ghm_c"),
            *("rank_and_sort", "bucketed_rank_and_sort", "average_lrp", "softmax"),
        ),
        "The classification loss; softmax is for SSD and SSDLite only. docs/losses.md describes "
        "all losses and how to choose them.",
        ssd="softmax",
    ),
    Key(
        "loss.classification.eta",
        _ETA,
        number(),
        "Exponent of the IoU-balanced weights, 0 for the plain loss; set by the arm.",
    ),
    Key(
        "loss.classification.alpha",
        None,
        or_none(at_least(0)),
        "Weight of positives in focal, of negatives in varifocal, share of the score in the target "
        "of ia_bce; the others have none. None: 0.25, 0.75 and 0.25, as published.",
    ),
    Key(
        "loss.classification.gamma",
        None,
        or_none(at_least(0)),
        "Focusing exponent, and that of the IoU in mal; softmax, ghm_c and ranking losses have "
        "none. None: 2.0, and 1.5 in mal, as published.",
    ),
    Key(
        "loss.classification.delta",
        None,
        or_none(at_least(0)),
        "Half the width in logits of the step function in rank_and_sort, bucketed_rank_and_sort "
        "and average_lrp; None: 0.5, 0.5 and 1.0, as published.",
    ),
    Key(
        "loss.classification.bins",
        10,
        whole(at_least=1),
        "Number of bins of gradient norms in ghm_c.",
    ),
    Key(
        "loss.classification.normalizer_scope",
        "level",
        one_of("batch", "level", "image"),
        "Scope over which the normalizer of eq. 2 sums. The authors' RetinaNet sums it over each "
        "pyramid level, their SSD over each image; the paper's formula is 'batch'.",
        ssd="image",
    ),
    Key(
        "loss.classification.negatives_per_positive",
        3,
        whole(at_least=1),
        "Number of hard negatives that softmax keeps in an image for each positive.",
    ),
    Key(
        "loss.classification.isr_p",
        False,
        flag(),
        "Whether positives have PISA's weights by rank; with eta 0 only.",
    ),
    Key("loss.classification.isr_p_k", 2.0, number(), "Exponent of those weights."),
    Key(
        "loss.classification.isr_p_bias",
        0.0,
        between(lambda value: 0 <= value <= 1, "at least 0 and at most 1"),
        "Least value of their base.",
    ),
    Key(
        "loss.classification.class_weights",
        None,
        or_none(class_weights()),
        "Factors of the positives' loss by class: a number for each class, in their order or as "
        "name=number, with 1 for the others; or 'effective_number' (arXiv 1901.05555), from the "
        "number of boxes of a class, with mean 1. None: no factors.",
    ),
    Key(
        "loss.classification.effective_number_beta",
        0.999,
        between(lambda value: 0 <= value < 1, "at least 0 and below 1"),
        "beta of 'effective_number': with 0 all classes have the same weight, near 1 the inverse "
        "of their counts.",
    ),
    Key(
        "loss.classification.correlation_weight",
        0.0,
        at_least(0),
        "Factor of the correlation loss of the positives' scores and IoUs, which is added.",
    ),
    Key(
        "loss.classification.correlation_kind",
        "concordance",
        one_of("concordance", "pearson", "spearman"),
        "Kind of correlation.",
    ),
    Key("loss.classification.weight", 1.0, at_least(0), "Factor of the whole classification loss."),
    Key(
        "loss.localization.name",
        "smooth_l1",
        one_of("smooth_l1", "balanced_l1", *_BOX_LOSSES),
        "The localization loss.",
    ),
    Key(
        "loss.localization.lambda_",
        _LAMBDA,
        number(),
        "Exponent of the IoU-balanced weights, 0 for the plain loss; set by the arm.",
    ),
    Key(
        "loss.localization.w_loc",
        None,
        or_none(above(0)),
        "Constant of eq. 4. None: measured on the first batches and kept in the checkpoint. The "
        "authors use 3.049 (R50) and 2.878 (R101) on COCO, 2.34 and 2.369 on VOC.",
    ),
    Key(
        "loss.localization.calibration_lambda",
        None,
        or_none(number()),
        "The lambda with which w_loc is measured; None: lambda_.",
    ),
    Key(
        "loss.localization.dynamic",
        False,
        flag(),
        "Whether the weights are normalized in every batch (eq. 5) instead of by w_loc.",
    ),
    Key(
        "loss.localization.beta",
        None,
        or_none(at_least(0)),
        "Difference at which smooth_l1 (0: L1) and balanced_l1 turn linear. None: the authors' "
        "0.11 and 1.0.",
        ssd=1.0,
    ),
    Key(
        "loss.localization.power",
        1.0,
        above(0),
        "Exponent in the losses on boxes except nwd; 3.0 in alpha-IoU.",
    ),
    Key(
        "loss.localization.inner",
        None,
        or_none(between(lambda value: 0 < value <= 5, "above 0 and at most 5")),
        "Ratio of Inner-IoU in the losses on boxes except nwd; None: not used.",
    ),
    Key(
        "loss.localization.focaler",
        None,
        or_none(interval()),
        "d and u of Focaler-IoU in the losses on boxes except nwd; None: not used.",
    ),
    Key("loss.localization.gamma", 0.5, at_least(0), "gamma of focal_eiou and wiou_v2."),
    Key("loss.localization.theta", 4.0, at_least(1), "theta of siou and shape_iou."),
    Key("loss.localization.scale", 0.0, at_least(0), "scale of shape_iou."),
    Key("loss.localization.piou_lambda", 1.3, above(0), "lambda of piou2."),
    Key(
        "loss.localization.nwd_constant",
        12.8,
        above(0),
        "Unit of distance in nwd, in pixels: the typical size of objects.",
    ),
    Key(
        "loss.localization.wiou_momentum",
        0.01,
        probability(),
        "Share of a batch in the running mean of wiou_v2 and wiou_v3.",
    ),
    Key("loss.localization.wiou_alpha", 1.7, above(1), "alpha of wiou_v3."),
    Key("loss.localization.wiou_delta", 2.7, above(0), "delta of wiou_v3."),
    Key(
        "loss.localization.instance_weights",
        "none",
        one_of("none", "centreness", "score"),
        "Further weight of a positive: its centreness (FCOS, ATSS) or its score (GFL); the loss "
        "is then divided by the sum of these weights.",
    ),
    Key(
        "loss.localization.carl_weight",
        0.0,
        at_least(0),
        "Factor of PISA's CARL, added to the localization loss (1.0 in the paper); with lambda_ 0 "
        "only.",
    ),
    Key("loss.localization.carl_k", 1.0, number(), "Exponent of its weights."),
    Key(
        "loss.localization.carl_bias",
        0.2,
        between(lambda value: 0 <= value <= 1, "at least 0 and at most 1"),
        "Least value of their base.",
    ),
    Key(
        "loss.localization.weight",
        1.0,
        at_least(0),
        "Factor of the whole localization loss, without CARL.",
    ),
    Key(
        "loss.quality.target",
        NO_KEY,
        one_of("none", "centreness", "iou"),
        "Quality of a box that the head also predicts, by which the score is multiplied; none: no "
        "quality.",
        ssd=NO_KEY,
    ),
    Key("loss.quality.weight", NO_KEY, at_least(0), "Factor of that loss.", ssd=NO_KEY),
    Key(
        "loss.distribution_weight",
        NO_KEY,
        at_least(0),
        "Factor of the distribution focal loss of a GFL.",
        ssd=NO_KEY,
    ),
    Key(
        "loss.normalizer",
        "positives",
        one_of("positives", "positives_at_least_one_per_image", "per_image", "moving_average"),
        "Divisor of both sums: positives, positives_at_least_one_per_image (the authors), "
        "per_image (torchvision), moving_average (detectron2).",
    ),
    Key(
        "loss.calibration_batches",
        8,
        whole(at_least=1),
        "Number of batches on which w_loc is measured.",
    ),
    # ------------------------------------------------------------------ the optimizer
    Key(
        "optimizer.name",
        "sgd",
        one_of("sgd", "adamw", "lion"),
        "Stochastic gradient descent with momentum and weight decay in the gradient, AdamW (arXiv "
        "1711.05101) or Lion (arXiv 2302.06675), both with decoupled weight decay.",
    ),
    Key(
        "optimizer.momentum",
        0.9,
        between(lambda value: 0 <= value < 1, "at least 0 and below 1"),
        "Momentum of 'sgd'.",
    ),
    Key(
        "optimizer.betas",
        None,
        or_none(two_shares()),
        "Decay rates of the two averages of 'adamw' and 'lion'; None: (0.9, 0.999) and (0.9, "
        "0.99), as published.",
    ),
    Key(
        "optimizer.backbone_factor",
        1.0,
        at_least(0),
        "Factor of the backbone's learning rate.",
    ),
    Key(
        "optimizer.layer_decay",
        1.0,
        between(lambda value: 0 < value <= 1, "above 0 and at most 1"),
        "Further factor of the backbone's learning rate, once for every stage below the heads: "
        "once in the last stage, twice in the one before it.",
    ),
    Key(
        "optimizer.weight_decay",
        1e-4,
        at_least(0),
        "Weight decay, of kernels only; norms, biases and frozen parameters are not decayed.",
        ssd=5e-4,
    ),
    Key(
        "optimizer.clip_global_norm",
        None,
        or_none(above(0)),
        "Largest norm of the whole gradient; None: no clipping.",
    ),
    Key(
        "optimizer.ema_decay",
        None,
        or_none(between(lambda value: 0 <= value < 1, "at least 0 and below 1, such as 0.999")),
        "Decay per step of the moving average of the weights. Evaluations use the average, and "
        "the best checkpoint is chosen by it. None: no average.",
    ),
    # ------------------------------------------------------------------ the schedule
    Key(
        "schedule.name",
        "step",
        one_of("constant", "step", "cosine"),
        "Course of the learning rate after the warm-up.",
    ),
    Key(
        "schedule.base_learning_rate",
        0.01,
        at_least(0),
        "The learning rate for reference_batch_size images per step; it is scaled linearly with "
        "batch_size.",
    ),
    Key(
        "schedule.reference_batch_size",
        16,
        whole(at_least=1),
        "The batch size that base_learning_rate is meant for.",
    ),
    Key(
        "schedule.images",
        12 * COCO_TRAINING_IMAGES,
        or_none(whole(at_least=1)),
        "Number of images seen in the whole run. None: set by schedule.epochs.",
    ),
    Key(
        "schedule.epochs",
        None,
        or_none(above(0)),
        "In place of schedule.images: number of passes over the training images, without those "
        "that are left out, counting repeated images each time.",
    ),
    Key(
        "schedule.warmup_images",
        8_000,
        or_none(whole(at_least=0)),
        "Number of images over which the rate rises to its full value; fewer than those of the "
        "run.",
    ),
    Key(
        "schedule.warmup_epochs",
        None,
        or_none(at_least(0)),
        "In place of schedule.warmup_images: the same in epochs.",
    ),
    Key(
        "schedule.warmup_factor",
        0.333,
        at_least(0),
        "Factor of the rate at the first step of the warm-up.",
    ),
    Key(
        "schedule.decay_at",
        (8 / 12, 11 / 12),
        numbers(lambda value: True, "fractions of the run, such as (0.67, 0.92)"),
        "For 'step': points of the run, above 0 and below 1, at which the rate is multiplied by "
        "decay_factor; two points that fall on one step count twice.",
    ),
    Key(
        "schedule.decay_factor",
        0.1,
        above(0),
        "Factor of the rate at each point of decay_at.",
    ),
    # ------------------------------------------------------------------ the data
    Key(
        "data.source",
        "shapes",
        one_of(*SOURCES),
        "Kind of the data set; the keys for it begin with its name.",
    ),
    Key(
        "data.canvases",
        ((800, 1344),),
        canvases(),
        "Heights and widths that images are padded to, at most five, since each needs a "
        "compilation. `ioub check_data` suggests canvases for a data set.",
        ssd=((300, 300),),
    ),
    Key(
        "data.resize.mode",
        "fit",
        one_of("fit", "short_side", "stretch"),
        "fit: the largest size that fits the canvas of the nearest aspect ratio. short_side: the "
        "shorter side becomes short_side, unless the longer one would exceed long_side, on the "
        "smallest canvas that holds the result. stretch: the canvas itself, whatever the aspect "
        "ratio (SSD).",
        ssd="stretch",
    ),
    Key(
        "data.resize.short_side",
        800,
        whole(at_least=1),
        "For short_side: pixels of the shorter side, at most long_side.",
    ),
    Key(
        "data.resize.long_side",
        1333,
        whole(at_least=1),
        "For short_side: largest number of pixels of the longer side.",
    ),
    Key(
        "data.resize.scales",
        (1.0,),
        numbers(
            lambda value: len(value) > 0 and all(0 < scale <= 1 for scale in value),
            "numbers, such as (0.8, 1.0), above 0 and at most 1: data.resize and data.canvases are "
            "the largest size of the training",
        ),
        "Multi-scale training: each batch draws one of these factors of the size above.",
    ),
    Key(
        "data.max_boxes",
        100,
        whole(at_least=1),
        "Number of ground-truth slots of an image; if it has more objects, the largest are kept.",
    ),
    Key(
        "data.on_error",
        "raise",
        one_of("raise", "skip"),
        "raise, or skip: leave faulty images and boxes out and count them. The region of a box "
        "that is left out is ignored, not background.",
    ),
    Key(
        "data.exif",
        "ignore",
        one_of("ignore", "apply"),
        "ignore: pixels as stored; apply: rotated by their EXIF orientation, in training, "
        "evaluation and detection alike. Sizes and boxes are then those of the upright images.",
    ),
    Key(
        "data.bit_depth",
        None,
        or_none(one_whole_of(8, 10, 12, 14, 16)),
        "Number of bits in the values of 16-bit images. None: as many as the largest value of the "
        "training images needs, measured at the start of a run and kept.",
    ),
    Key(
        "data.keep_empty",
        False,
        flag(),
        "Whether images without a box to learn are used for training, as background. The authors "
        "skip them.",
    ),
    Key(
        "data.repeat_threshold",
        None,
        or_none(_SHARE),
        "Repeat-factor sampling (arXiv 1908.03195): share t of the images below which a class is "
        "rare; an image with a class in a share f of them occurs sqrt(t / f) times per epoch. "
        "None: every image once.",
    ),
    Key(
        "data.allow_empty_classes",
        False,
        flag(),
        "Whether training data may have classes without a box to learn, such as those of a part of "
        "COCO or VOC.",
    ),
    Key(
        "data.tiles.size",
        None,
        or_none(whole(at_least=32)),
        "Side in pixels of the square tiles into which images are cut for training, evaluation "
        "and detection: each tile is an example, and data.canvases and data.resize.mode are not "
        "used. None: whole images.",
    ),
    Key(
        "data.tiles.overlap",
        0.2,
        between(lambda value: 0 <= value < 1, "at least 0 and below 1"),
        "Least share of a side that neighboring tiles have in common; objects that are not "
        "longer than that are complete in some tile.",
    ),
    Key(
        "data.tiles.visibility",
        0.5,
        _SHARE,
        "Share of a box that a tile has to show for the object to be learned; objects with less "
        "are ignored.",
    ),
    Key(
        "data.tiles.zoom",
        1.0,
        above(0),
        "Pixels of the network's input per pixel of a tile: 2.0 to see tiny objects twice as "
        "large.",
    ),
    Key(
        "data.tiles.keep_empty",
        0.1,
        probability(),
        "Share of the tiles without a box to learn that are used for training, as background, "
        "among the images that are used for training (data.keep_empty).",
    ),
    Key(
        "data.tiles.cache",
        None,
        or_none(text()),
        "A folder for decoded images, 3 bytes per pixel, from which a tile is read without "
        "decoding its image again; None: no cache.",
    ),
    Key(
        "data.allow_same_images",
        False,
        flag(),
        "Whether validation images may also be training images, as the same file or as files with "
        "the same bytes.",
    ),
    Key(
        "data.split.val",
        0.0,
        _PART,
        "Share of the training data that is held out as validation data, stratified by class; "
        "other keys for validation images are then not used. 0: none.",
    ),
    Key(
        "data.split.test",
        0.0,
        _PART,
        "Share of the training data that is held out as test data, in the same way.",
    ),
    Key(
        "data.split.seed",
        0,
        whole(at_least=0),
        "Seed of the choice of images that are held out.",
    ),
    Key(
        "data.augmentation.horizontal_flip",
        0.5,
        probability(),
        "Probability of mirroring left and right.",
    ),
    Key(
        "data.augmentation.vertical_flip",
        0.0,
        probability(),
        "Probability of mirroring top and bottom.",
    ),
    Key(
        "data.augmentation.scale_jitter",
        (1.0, 1.0),
        numbers(
            lambda value: len(value) == 2 and 0 < value[0] <= value[1],
            "two factors above 0, the smaller one first",
        ),
        "Range of a factor drawn for each image: smaller images are padded, larger ones are "
        "cropped. (1.0, 1.0): none.",
    ),
    Key(
        "data.augmentation.photometric_distortion",
        False,
        flag(),
        "Whether brightness, contrast, saturation and hue are changed, as in SSD.",
        ssd=True,
    ),
    Key(
        "data.augmentation.expand_ratio",
        1.0,
        at_least(1),
        "Also from SSD: largest ratio of a mean-colored canvas, on which the image is placed, to "
        "the image. 1.0: none.",
        ssd=4.0,
    ),
    Key(
        "data.augmentation.minimum_iou_crop",
        False,
        flag(),
        "Also from SSD: whether a random part is cropped that overlaps every object in it well "
        "enough.",
        ssd=True,
    ),
    Key(
        "data.augmentation.rotation",
        0.0,
        between(lambda value: 0 <= value <= 180, "degrees, 0 to 180"),
        "Largest angle of rotation in either direction, in one warp with the next three.",
    ),
    Key(
        "data.augmentation.affine_scale",
        (1.0, 1.0),
        numbers(
            lambda value: len(value) == 2 and 0 < value[0] <= value[1],
            "two factors above 0, the smaller one first",
        ),
        "Range of a factor of the scale about the image's center. (1.0, 1.0): none.",
    ),
    Key(
        "data.augmentation.translation",
        0.0,
        between(lambda value: 0 <= value < 1, "a share of the image, at least 0, below 1"),
        "Largest shift, as a share of the image's width and of its height.",
    ),
    Key(
        "data.augmentation.shear",
        0.0,
        between(lambda value: 0 <= value < 45, "degrees, at least 0 and below 45"),
        "Largest angle of shear along each axis.",
    ),
    Key(
        "data.augmentation.rotated_boxes",
        "ellipse",
        one_of("ellipse", "corners"),
        "Shape that the box of a rotated or sheared object encloses: the ellipse in the original "
        "box, or the corners of that box, which is right for rectangular objects.",
    ),
    Key(
        "data.augmentation.hsv",
        (0.0, 0.0, 0.0),
        numbers(
            lambda value: len(value) == 3 and all(0 <= gain <= 1 for gain in value),
            "three gains from 0 to 1, of hue, saturation and value, such as (0.015, 0.7, 0.4)",
        ),
        "Largest changes of hue (as a share of the whole circle), saturation and value.",
    ),
    Key(
        "data.augmentation.blur",
        0.0,
        probability(),
        "Probability of a Gaussian blur of up to 2 pixels.",
    ),
    Key(
        "data.augmentation.cutout",
        0.0,
        probability(),
        "Probability of painting over a rectangle of 2% to 20% of the image.",
    ),
    Key(
        "data.augmentation.mosaic",
        0.0,
        probability(),
        "Probability of a mosaic of an image and three others, of the same size as the image. It "
        "replaces expand_ratio, minimum_iou_crop and scale_jitter.",
    ),
    Key(
        "data.augmentation.mosaic_scale",
        (0.5, 1.5),
        numbers(
            lambda value: len(value) == 2 and 0 < value[0] <= value[1],
            "two factors above 0, the smaller one first",
        ),
        "Range of a factor of the size, drawn for each image of a mosaic.",
    ),
    Key(
        "data.augmentation.mixup",
        0.0,
        probability(),
        "Probability of blending with another image; the objects of both are learned.",
    ),
    Key(
        "data.augmentation.copy_paste",
        0.0,
        probability(),
        "Probability of pasting the boxes of objects from another image.",
    ),
    Key(
        "data.augmentation.close_after",
        0.9,
        between(lambda value: 0 < value <= 1, "a share of the run, above 0 and at most 1"),
        "Share of the run after which mosaic, mixup and copy-paste stop, so that the run ends on "
        "ordinary images. 1.0: they never stop.",
    ),
    Key(
        "data.augmentation.min_visibility",
        0.25,
        between(lambda value: 0 <= value <= 1, "a share, 0 to 1"),
        "Share of an object's box that must remain after the warp, under covering images and in a "
        "mosaic; objects with less become regions to ignore.",
    ),
    Key(
        "data.coco.root",
        "",
        text(),
        "The folder above the files and folders of the next keys: a JSON in COCO's format and a "
        "folder of images for each split.",
    ),
    Key(
        "data.coco.train_annotations",
        "annotations/instances_train2017.json",
        _FILES,
        "The JSON of the training images, or several: their images together are the split.",
    ),
    Key(
        "data.coco.train_images",
        "train2017",
        _FOLDERS,
        "The folder of these images, or one for each file.",
    ),
    Key(
        "data.coco.val_annotations",
        "annotations/instances_val2017.json",
        _FILES,
        "The JSON of the validation images, by which the best checkpoint is chosen.",
    ),
    Key("data.coco.val_images", "val2017", _FOLDERS, "The folder of these images."),
    Key(
        "data.coco.test_annotations",
        "annotations/image_info_test-dev2017.json",
        _FILES,
        "The JSON of the test images.",
    ),
    Key("data.coco.test_images", "test2017", _FOLDERS, "The folder of these images."),
    Key(
        "data.coco.classes",
        None,
        or_none(names()),
        "Names of the categories to learn; None: all in the file.",
    ),
    Key(
        "data.voc.root",
        "",
        text(),
        "A folder with Annotations/, JPEGImages/ (or images/) and ImageSets/Main/, a folder of "
        "XMLs beside their images, or one above several such folders, whose union forms a split: "
        "('VOC2007', 'VOC2012').",
    ),
    Key("data.voc.train_folders", (".",), names(), "The folders of the training images."),
    Key(
        "data.voc.train_split",
        "trainval",
        text(),
        "The training images in these folders: a list of ImageSets/Main, or 'all'.",
    ),
    Key("data.voc.val_folders", (".",), names(), "The folders of the validation images."),
    Key("data.voc.val_split", "test", text(), "The list of the validation images, or 'all'."),
    Key("data.voc.test_folders", (".",), names(), "The folders of the test images."),
    Key("data.voc.test_split", "test", text(), "The list of the test images, or 'all'."),
    Key(
        "data.voc.classes",
        None,
        or_none(names()),
        "Names of the classes, in the order of their labels. None: all names of objects in the "
        "training split, sorted.",
    ),
    Key(
        "data.voc.unannotated",
        None,
        or_none(one_of("problem", "empty")),
        "Meaning of an image without XML: a 'problem' (see data.on_error), or 'empty', an image "
        "without objects. None: empty if the tool that wrote the XMLs writes none for such "
        "images.",
    ),
    Key(
        "data.voc.pixels",
        None,
        or_none(one_of("devkit", "zero_based", "one_based_exclusive")),
        "Pixel convention: 'devkit' (from 1, xmax and ymax are inside the box), 'zero_based' "
        "(from 0, they are outside) or 'one_based_exclusive' (from 1, they are outside). None: "
        "decided by the files of the training split.",
    ),
    Key(
        "data.yolo.root",
        "",
        text(),
        "The folder of a data set in YOLO's format, or the YAML or the obj.data that describes "
        "it. Folders of images and labels alone are enough.",
    ),
    Key(
        "data.yolo.train_split",
        "train",
        text(),
        "The training images: 'train', 'val' or 'test' of the YAML or the folders, 'all' for "
        "all images there, or a folder or a list of images below the root.",
    ),
    Key("data.yolo.val_split", "val", text(), "The validation images, likewise."),
    Key("data.yolo.test_split", "test", text(), "The test images, likewise."),
    Key(
        "data.yolo.classes",
        None,
        or_none(names()),
        "Names of the classes to learn; None: all. If no file names the classes, these are the "
        "names of the ids 0, 1, ...",
    ),
    Key("data.cityscapes.root", "", text(), "The devkit's folder, with leftImg8bit/ and gtFine/."),
    Key("data.cityscapes.train_split", "train", text(), "The training split."),
    Key("data.cityscapes.val_split", "val", text(), "The validation split."),
    Key("data.cityscapes.test_split", "val", text(), "The test split."),
    Key(
        "data.tfds.name",
        "coco/2017",
        text(),
        "A prepared data set with `image` and `objects/bbox`: coco/2017, voc/2007, ...",
    ),
    Key(
        "data.tfds.data_dir",
        None,
        or_none(text()),
        "The folder of prepared data sets; None: TFDS's default.",
    ),
    Key("data.tfds.train_split", "train", text(), "The training split."),
    Key("data.tfds.val_split", "validation", text(), "The validation split."),
    Key("data.tfds.test_split", "test", text(), "The test split."),
    Key(
        "data.tfds.one_based",
        None,
        or_none(flag()),
        "Whether its boxes were made from VOC's 1-based pixels. None: only if its name is 'voc'.",
    ),
    Key("data.shapes.num_train", 20_000, whole(at_least=1), "Number of training images to draw."),
    Key("data.shapes.num_val", 400, whole(at_least=1), "Number of validation images to draw."),
    Key("data.shapes.image_size", (128, 128), size(), "Their height and width."),
    Key("data.shapes.seed", 0, whole(at_least=0), "Seed of the drawings."),
    # ------------------------------------------------------------------ the evaluation
    Key(
        "evaluation.every_images",
        COCO_TRAINING_IMAGES,
        or_none(whole(at_least=1)),
        "Number of training images between two evaluations.",
    ),
    Key(
        "evaluation.every_epochs",
        None,
        or_none(above(0)),
        "In place of evaluation.every_images: the same in epochs.",
    ),
    Key(
        "evaluation.patience",
        None,
        or_none(whole(at_least=1)),
        "Number of evaluations without a better AP (of the first of evaluation.metrics) after "
        "which training ends early; None: never.",
    ),
    Key(
        "evaluation.min_delta",
        0.0,
        at_least(0),
        "For patience: least gain over the best AP that counts as better.",
    ),
    Key(
        "evaluation.batch_size",
        16,
        whole(at_least=1),
        "Number of images in a batch of detection, over all devices.",
    ),
    Key("evaluation.score_threshold", 0.05, number(), "Least score of a detection.", ssd=0.02),
    Key(
        "evaluation.candidates_per_level",
        1000,
        whole(at_least=1),
        "Number of candidates for NMS on each level, those with the highest scores.",
        ssd=NO_KEY,
    ),
    Key(
        "evaluation.score_exponents",
        NO_KEY,
        numbers(
            lambda value: len(value) == 2 and min(value) >= 0 and max(value) > 0,
            "two numbers of at least 0, of which one is above 0",
        ),
        "a and b of the score p^a q^b of class p and quality q: 1 and 1 in FCOS and ATSS, 0.5 and "
        "0.5 in torchvision's FCOS, a and 1 - a in IoU-aware RetinaNet. Without "
        "loss.quality.target, the score is p.",
        ssd=NO_KEY,
    ),
    Key(
        "evaluation.nms_iou",
        0.5,
        above(0),
        "A detection is suppressed if its IoU with a better one of its class is above this.",
        ssd=0.45,
    ),
    Key(
        "evaluation.suppression",
        "nms",
        one_of("nms", "soft_nms_linear", "soft_nms_gaussian", "weighted_box_fusion"),
        "Treatment of the overlapping detections: nms leaves them out, Soft-NMS (arXiv "
        "1704.04503) lowers their scores, weighted box fusion (arXiv 1910.13302) takes the mean "
        "of such boxes.",
    ),
    Key(
        "evaluation.soft_nms_sigma",
        None,
        or_none(above(0)),
        "For soft_nms_gaussian, which does not use nms_iou: scores are multiplied by exp(-IoU^2 / "
        "sigma); None: 0.5.",
    ),
    Key(
        "evaluation.class_agnostic",
        False,
        flag(),
        "Whether boxes of other classes are suppressed, too; not for weighted_box_fusion.",
    ),
    Key(
        "evaluation.max_detections",
        100,
        whole(at_least=1),
        "Largest number of detections in an image, the best ones.",
        ssd=200,
    ),
    Key(
        "evaluation.coco_detections",
        100,
        whole(at_least=100),
        "Number of detections of a class in an image that COCO's metrics count, the best ones. "
        "More than 100, for images with more objects, is not COCO's own AP but, for example, "
        "AP@300, which then picks the best checkpoint.",
    ),
    Key(
        "evaluation.metrics",
        ("coco",),
        metrics(),
        "The metrics to compute; the AP of the first one picks the best checkpoint.",
    ),
    Key(
        "evaluation.average_classes",
        (),
        names(),
        "Classes whose mean AP is also reported, as AP_chosen.",
    ),
    Key(
        "evaluation.backend",
        "faster_coco_eval",
        one_of("faster_coco_eval", "pycocotools"),
        "The package that computes COCO's metrics; pycocotools returns the same numbers, about "
        "seven times slower.",
    ),
    Key(
        "evaluation.losses",
        True,
        flag(),
        "Whether a training run also records the losses on the validation images.",
    ),
    Key(
        "evaluation.pictures",
        8,
        whole(at_least=0),
        "Number of validation images whose detections are drawn at every evaluation.",
    ),
    Key(
        "evaluation.candidates_per_class",
        NO_KEY,
        whole(at_least=1),
        "Number of candidates for NMS of each class in an SSD, those with the highest scores.",
        ssd=400,
    ),
    # ------------------------------------------------------------------ how it is run
    Key("runtime.devices", None, or_none(whole(at_least=1)), "Number of devices; None: all."),
    Key(
        "runtime.workers",
        0,
        whole(at_least=0),
        "Number of processes that load data; 0: threads of this process.",
    ),
    Key(
        "runtime.gradient_accumulation",
        1,
        whole(at_least=1),
        "Number of parts of a batch that go through the network one after another: this takes the "
        "memory of one part and one more forward pass, and gives the same gradient. Batch norms "
        "use the statistics of a part.",
    ),
    Key(
        "runtime.rematerialize",
        "nothing",
        one_of("nothing", "activations", "blocks"),
        "Values that the backward pass recomputes instead of keeping them: activations, those "
        "between convolutions; blocks, everything inside of blocks.",
    ),
    Key("runtime.log_every_steps", 20, whole(at_least=1), "Number of steps between two records."),
    Key(
        "runtime.wandb_project",
        None,
        or_none(text()),
        "The project of Weights & Biases that also receives the metrics (extra `wandb`); None: no "
        "project.",
    ),
    Key(
        "runtime.checkpoint_every_images",
        20_000,
        whole(at_least=1),
        "Number of images between two checkpoints.",
    ),
    Key(
        "runtime.check_compilations",
        True,
        flag(),
        "Whether training stops if the step is compiled more than once for a canvas.",
    ),
)
