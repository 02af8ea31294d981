"""Every key of a RetinaNet configuration, with the paper's choice where it made one.

The configurations beside this file start from here. Any key can be set on the command line:
`--config.loss.classification.eta=1.0`.
"""

import ml_collections
from ml_collections import config_dict

#: arm -> (eta, lambda_, whether w_loc is measured). What a comparison of the losses compares; the
#: first is what a configuration has by default.
ARMS = {
    "both": (1.5, 1.5, True),
    "baseline": (0.0, 0.0, False),
    "cls": (1.5, 0.0, False),
    "loc": (0.0, 1.5, True),
    # The control: plain smooth L1 times the w_loc that lambda 1.5 would have. Raising the
    # localization weight alone moves AP, so `loc` must be compared with this arm too.
    "loc_weight_only": (0.0, 0.0, True),
}


def _optional(kind: type) -> config_dict.FieldReference:
    """A key that is None until it is set to a value of that type."""
    return config_dict.placeholder(kind)


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """RetinaNet with the losses of an arm: one of baseline, cls, loc, both, loc_weight_only."""
    if arm not in ARMS:
        raise ValueError(f"Unknown arm {arm!r}; it must be one of {', '.join(ARMS)}.")
    config = ml_collections.ConfigDict()
    # Fixes the initial parameters, the order of the data and its augmentation.
    config.seed = 0
    # Images of the global batch, over all devices.
    config.batch_size = 16
    # A whole detector to start from: the workdir of a run, or the file or published name of one of
    # torchvision's detectors. With other classes its last layer is made anew.
    config.init_from = _optional(str)
    config.model = _model()
    config.anchors = _anchors()
    config.matcher = _matcher()
    config.loss = _loss()
    set_arm(config, arm)
    config.optimizer = ml_collections.ConfigDict(
        {
            "momentum": 0.9,
            # On kernels only; norms, biases and frozen parameters are not decayed.
            "weight_decay": 1e-4,
            # Largest norm of the whole gradient; None: no clipping.
            "clip_global_norm": _optional(float),
            # Decay a step of the moving average of the weights that is evaluated, such as .999; as
            # EMA does: the best checkpoint is chosen by it. None: no average.
            "ema_decay": _optional(float),
        }
    )
    config.schedule = _schedule()
    config.data = _data()
    config.evaluation = _evaluation()
    config.runtime = _runtime()
    return config


def set_arm(config: ml_collections.ConfigDict, arm: str) -> None:
    """Turns the losses of a configuration into those of an arm; other keys stay as they are."""
    eta, lambda_, measured = ARMS[arm]
    config.loss.classification.eta = eta
    localization = config.loss.localization
    localization.lambda_ = lambda_
    localization.w_loc = None if measured else 1.0
    localization.calibration_lambda = 1.5 if measured and lambda_ == 0.0 else None


def _model() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "name": "retinanet",  # retinanet or ssd
            "backbone": "resnet50",  # resnet18, resnet34, resnet50, resnet101
            "width": 64,  # channels of the stem; less makes a small detector
            "norm": "batch_norm",  # frozen_bn, batch_norm (over the global batch), group_norm
            "norm_epsilon": 1e-5,  # added to the variance by batch norms
            # -1: nothing, 0: the stem, 1: the stem and stage 1, ...
            "frozen_stages": -1,
            # What gives the backbone: a file of torchvision's or timm's (.pth, .safetensors), a
            # name of weights/published.py, or a run's workdir (its best checkpoint).
            "pretrained": _optional(str),
            # Of the RGB pixels (0-255) that the backbone was trained on: here ImageNet's.
            "pixel_mean": (123.675, 116.28, 103.53),
            "pixel_std": (58.395, 57.12, 57.375),
            "dtype": "float32",  # of the computation: float32 or bfloat16
            "fpn": {
                "channels": 256,
                "p6_from": "c5",  # c5 (the authors) or p5 (torchvision's first version)
                "relu_before_p7": False,  # True in detectron2 and torchvision
                "norm": "none",  # none or group_norm
            },
            "head": {
                "width": 256,
                "depth": 4,
                "norm": "none",  # none or group_norm (torchvision's second version)
                # Whether convolutions before a norm have a bias; False in torchvision, detectron2.
                "bias_before_norm": True,
                # Score of every anchor before training.
                "prior_probability": 0.01,
            },
        }
    )


def make_small(model: ml_collections.ConfigDict, *, width: int, channels: int) -> None:
    """Turns `config.model` into a ResNet-18 of few channels that trains from scratch on a CPU."""
    model.update({"backbone": "resnet18", "width": width})
    model.fpn.update({"channels": channels, "norm": "group_norm"})
    model.head.update({"width": channels, "depth": 2, "norm": "group_norm"})


def _anchors() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            # Smallest anchor of a level over its stride: 4 * 8 = 32 px on P3.
            "base_scale": 4.0,
            "scales_per_octave": 3,
            "ratios": (0.5, 1.0, 2.0),  # height over width
            # Anchor centre in its cell, in strides; 0 in torchvision and detectron2.
            "center_offset": 0.5,
            "rounded": True,  # base anchors to whole pixels; False in detectron2
            # Both True in torchvision: sizes cut to whole pixels before the ratio is applied; cells
            # `image size // grid size` pixels apart.
            "whole_sizes": False,
            "stride_from_grid": False,
            "box_weights": (1.0, 1.0, 1.0, 1.0),  # of dx, dy, dw, dh
        }
    )


def _matcher() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "foreground_iou": 0.5,
            "background_iou": 0.4,
            # What a box gets whose best anchor is below foreground_iou: authors, torchvision, ssd
            # (one anchor a box), none.
            "low_quality": "authors",
            # Crowds (COCO) and difficult objects (VOC): ignore the anchors inside, drop the box, or
            # keep it as an object.
            "crowd": "ignore",
            "difficult": "keep",
            # Share of an anchor inside an ignored region from which it gets no loss.
            "ignore_iof": 0.5,
        }
    )


def _loss() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "classification": {
                # docs/losses.md has all losses and how they are chosen.
                "name": "focal",  # focal, quality_focal, varifocal; softmax (SSD)
                "eta": 0.0,  # of the arm
                "alpha": 0.25,
                "gamma": 2.0,
                # The authors' RetinaNet sums the normaliser of eq. 2 over each pyramid level;
                # the paper's formula is 'batch', their SSD is 'image'.
                "normalizer_scope": "level",
                "negatives_per_positive": 3,  # hard negatives of an image, for softmax
                # PISA's weights of positives by rank; with eta 0 only.
                "isr_p": False,
                "isr_p_k": 2.0,
                "isr_p_bias": 0.0,
                "weight": 1.0,
            },
            "localization": {
                "name": "smooth_l1",  # smooth_l1, balanced_l1, iou, giou, diou, ciou
                "lambda_": 0.0,  # of the arm
                # Constant of eq. 4. None: measured on the first batches and kept in the
                # checkpoint. The authors have 3.049 (R50) and 2.878 (R101) on COCO, 2.34 and
                # 2.369 on VOC.
                "w_loc": _optional(float),
                # With which lambda it is measured; None: with lambda_.
                "calibration_lambda": _optional(float),
                "dynamic": False,  # normalise in every batch instead (eq. 5)
                "beta": 0.11,  # where smooth_l1 (0: L1) and balanced_l1 turn linear; 1.0 in SSD
                "power": 1.0,  # of iou, giou, diou and ciou; 3.0 in alpha-IoU
                # Factor of PISA's CARL, added to the localization loss (1.0 there); with lambda_ 0
                # only.
                "carl_weight": 0.0,
                "carl_k": 1.0,
                "carl_bias": 0.2,
                "weight": 1.0,
            },
            # positives, positives_at_least_one_per_image (the authors), per_image (torchvision),
            # moving_average (detectron2)
            "normalizer": "positives",
            "calibration_batches": 8,
        }
    )


def _schedule() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "name": "step",  # constant, step, cosine
            # The rate at `reference_batch_size` images a step; it follows batch_size linearly.
            "base_learning_rate": 0.01,
            "reference_batch_size": 16,
            "images": 12 * 118_287,  # images seen in the whole run
            "warmup_images": 8_000,  # fewer than those of the run
            "warmup_factor": 0.333,
            # For 'step': fractions of the run, above 0 and below 1, and by what the rate is
            # multiplied at each; at two that come to one step, twice.
            "decay_at": (8 / 12, 11 / 12),
            "decay_factor": 0.1,
        }
    )


def _data() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "source": "shapes",  # coco, voc, cityscapes, tfds, shapes
            # Heights and widths that images are padded to, at most five: each is a compilation.
            # `ioub check_data` says which suit a data set.
            "canvases": ((800, 1344),),
            "resize": _resize(),
            # Ground-truth slots of an image; of more objects the largest are kept.
            "max_boxes": 100,
            # raise, or skip: leave out what is broken and count it. The place of a box that is left
            # out is ignored, not background.
            "on_error": "raise",
            # ignore: pixels as stored; apply: turned as their EXIF orientation says, at training,
            # evaluation and detection alike. Sizes and boxes are then those of the upright images.
            "exif": "ignore",
            # How many bits the values of 16-bit images have: 8, 10, 12, 14 or 16. None: what holds
            # the largest value of the training images, measured at the start of a run and kept.
            "bit_depth": _optional(int),
            # Whether images without a box to learn are trained on, as background. The authors skip
            # them.
            "keep_empty": False,
            # Whether training may have classes without a box to learn, as part of COCO or VOC does.
            "allow_empty_classes": False,
            "augmentation": _augmentation(),
            "coco": _coco(),
            "voc": _voc(),
            # The devkit's folder, with leftImg8bit/ and gtFine/.
            "cityscapes": {
                "root": "",
                "train_split": "train",
                "val_split": "val",
                "test_split": "val",
            },
            "tfds": _tfds(),
            "shapes": {
                "num_train": 20_000,
                "num_val": 400,
                "image_size": (128, 128),
                "seed": 0,
            },
        }
    )


def _resize() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            # fit: the largest size that fits the canvas of the nearest aspect ratio.
            # short_side: the shorter side becomes short_side, unless the longer one would exceed
            # long_side; into the smallest canvas that holds that.
            # stretch: the canvas itself, whatever the aspect ratio (SSD).
            "mode": "fit",
            "short_side": 800,
            "long_side": 1333,
            # Multi-scale training: each batch draws one of these factors of the size above.
            "scales": (1.0,),
        }
    )


def _augmentation() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "horizontal_flip": 0.5,
            "vertical_flip": 0.0,
            # Range of a factor drawn for each image: smaller leaves padding, larger is cropped.
            # (1.0, 1.0): none.
            "scale_jitter": (1.0, 1.0),
            # SSD's set: brightness, contrast, saturation and hue; the image on a mean-coloured
            # canvas of up to so many times its sides (1.0: none, SSD: 4.0); a random crop that
            # overlaps every object in it well enough.
            "photometric_distortion": False,
            "expand_ratio": 1.0,
            "minimum_iou_crop": False,
        }
    )


def _coco() -> ml_collections.ConfigDict:
    """A JSON in COCO's format and a folder of images for each split, below `root`."""
    return ml_collections.ConfigDict(
        {
            "root": "",
            "train_annotations": "annotations/instances_train2017.json",
            "train_images": "train2017",
            "val_annotations": "annotations/instances_val2017.json",
            "val_images": "val2017",
            "test_annotations": "annotations/image_info_test-dev2017.json",
            "test_images": "test2017",
            # Names of the categories to learn, None: all of the file.
            "classes": _optional(tuple),
        }
    )


def _voc() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            # A folder with Annotations/, JPEGImages/ (or images/) and ImageSets/Main/, one with
            # XMLs beside their images, or one that holds several such folders, whose union a split
            # is: ("VOC2007", "VOC2012"). A split is a list of ImageSets/Main, or "all".
            "root": "",
            "train_folders": (".",),
            "train_split": "trainval",
            "val_folders": (".",),
            "val_split": "test",
            "test_folders": (".",),
            "test_split": "test",
            # Names of the classes, in the order of their labels. None: all that the objects of the
            # training split have, sorted.
            "classes": _optional(tuple),
            # What an image without XML is: a 'problem' (see on_error), or 'empty', one without
            # objects.
            "unannotated": "problem",
            # Whether the first pixel is 1, as in the devkit; some exporters write 0.
            "one_based": True,
        }
    )


def _tfds() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            # A prepared data set with `image` and `objects/bbox`: coco/2017, voc/2007, ...
            "name": "coco/2017",
            "data_dir": _optional(str),  # None: where TFDS looks by itself
            "train_split": "train",
            "val_split": "validation",
            "test_split": "test",
            # Whether its boxes were made from VOC's 1-based pixels. None: if its name is 'voc'.
            "one_based": _optional(bool),
        }
    )


def _evaluation() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "every_images": 118_287,
            "batch_size": 16,
            "score_threshold": 0.05,
            "candidates_per_level": 1000,
            "nms_iou": 0.5,
            "max_detections": 100,
            # coco, voc or both; the AP of the first picks the best checkpoint.
            "metrics": ("coco",),
            # Who computes COCO's metrics, or pycocotools: the same numbers, ten times as slowly.
            "backend": "faster_coco_eval",
        }
    )


def _runtime() -> ml_collections.ConfigDict:
    """What may change when a run is resumed."""
    return ml_collections.ConfigDict(
        {
            "devices": _optional(int),  # None: all
            "workers": 0,  # processes that load data; 0: threads of this one
            # Parts of a batch that go through the network one after another: the memory of one part
            # and one more forward pass, the same gradient. Batch norms see a part.
            "gradient_accumulation": 1,
            # What the backward pass computes once more instead of keeping it: 'nothing';
            # 'activations', what lies between convolutions; 'blocks', all inside of blocks.
            "rematerialize": "nothing",
            "log_every_steps": 20,
            # The project of Weights & Biases that gets the metrics too (extra `wandb`); None: none.
            "wandb_project": _optional(str),
            "checkpoint_every_images": 20_000,
            # Whether training ends where the step is compiled more than once for a canvas.
            "check_compilations": True,
        }
    )
