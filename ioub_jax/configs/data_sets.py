"""What the recipes for RetinaNet and for SSD know of the public data sets."""

import ml_collections

#: Images of train2017.
COCO_TRAINING_IMAGES = 118_287
#: Images of trainval of 2007 and of 2012.
VOC_TRAINING_IMAGES = 5_011 + 11_540


def use_voc(data: ml_collections.ConfigDict) -> None:
    """Makes `config.data` read 2007+2012 trainval and 2007 test."""
    data.source = "voc"
    data.voc.train_folders = ("VOC2007", "VOC2012")
    data.voc.val_folders = ("VOC2007",)
    data.voc.test_folders = ("VOC2007",)
