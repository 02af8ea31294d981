"""Public data sets for the recipes for RetinaNet and for SSD."""

import ml_collections

#: Number of images in COCO's train2017.
COCO_TRAINING_IMAGES = 118_287
#: Number of images in VOC's trainval of 2007 and of 2012.
VOC_TRAINING_IMAGES = 5_011 + 11_540


def use_voc(data: ml_collections.ConfigDict) -> None:
    """Makes `config.data` read 2007+2012 trainval and 2007 test."""
    data.source = "voc"
    data.voc.train_folders = ("VOC2007", "VOC2012")
    data.voc.val_folders = ("VOC2007",)
    data.voc.test_folders = ("VOC2007",)


#: Canvases that pad COCO's images by 6 % (docs/results); a single one would pad them by 105 %.
COCO_CANVASES = ((800, 1344), (800, 1216), (800, 1088), (1088, 800), (1344, 800))
#: Canvases that pad COCO's images by 8 % at 600x1000.
COCO_ABLATION_CANVASES = ((608, 1024), (608, 928), (608, 800), (832, 608), (1024, 608))


def use_coco(config: ml_collections.ConfigDict, *, ablation: bool = False) -> None:
    """Sets the data and schedule of single-stage detectors on COCO: 12 epochs at 800x1333.

    Args:
      config: the configuration to change.
      ablation: whether to train at 600x1000 instead.
    """
    config.data.source = "coco"
    config.data.canvases = COCO_CANVASES
    config.data.resize.mode = "short_side"
    if ablation:
        config.data.canvases = COCO_ABLATION_CANVASES
        config.data.resize.update({"short_side": 600, "long_side": 1000})
    config.schedule.images = 12 * COCO_TRAINING_IMAGES
    config.optimizer.clip_global_norm = 35.0
    config.evaluation.every_images = COCO_TRAINING_IMAGES
    config.runtime.workers = 8
    # Recomputing activations on TPUs is cheaper than storing and reading them: docs/performance.md.
    config.runtime.rematerialize = "activations"


def use_shapes(config: ml_collections.ConfigDict) -> None:
    """Sets the data and schedule of small detectors on `shapes`, which take minutes on a CPU."""
    config.batch_size = 16
    config.data.source = "shapes"
    config.data.canvases = ((128, 128),)
    config.data.max_boxes = 16

    config.schedule.name = "cosine"
    config.schedule.base_learning_rate = 0.05
    config.schedule.images = 18_000
    config.schedule.warmup_images = 1_000
    config.optimizer.clip_global_norm = 10.0

    config.evaluation.every_images = 6_000
    config.evaluation.batch_size = 40
    config.runtime.checkpoint_every_images = 3_000
