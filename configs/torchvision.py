"""Torchvision's detectors, fine-tuned on a data set in COCO's format with torchvision's own losses.

Reference: torchvision reports a box AP on COCO val2017 of 36.4 for `retinanet_resnet50_fpn`, 41.5
for `retinanet_resnet50_fpn_v2`, 39.2 for `fcos_resnet50_fpn`, 25.1 for `ssd300_vgg16` and 21.3 for
`ssdlite320_mobilenet_v3_large` (the `_metrics` of its weights). These configurations equal the
models (docs/parity.md); the weights are downloaded, or given as a file by
`--config.init_from=FILE`. A data set with other classes gets a new last layer.

The argument is retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2, fcos_resnet50_fpn, ssd300_vgg16
or ssdlite320_mobilenet_v3_large, and an arm (baseline, which is torchvision's own loss, cls, loc,
both, and, except for fcos_resnet50_fpn, loc_weight_only):

python -m experiments.train --config=configs/torchvision.py:retinanet_resnet50_fpn_v2 \
  --workdir=runs/mine --config.data.coco.root=PATH

The schedule is one for fine-tuning: 12 epochs of a data set of COCO's size divided by ten; set
`schedule.images` to what yours needs. Meant for one GPU or more.
"""

import ml_collections

from ioub_jax.configs import arguments, defaults, ssd_defaults, ssdlite_defaults
from ioub_jax.configs.torchvision_models import torchvision_config

ARCHITECTURES = (
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of an architecture and an arm."""
    arms = ("baseline", *(arm for arm in defaults.ARMS if arm != "baseline"))
    architecture, arm = arguments.parse(argument, ARCHITECTURES, arms)
    if architecture == "ssd300_vgg16":
        config = ssd_defaults.get_config(arm, 300, "coco")
    elif architecture == "ssdlite320_mobilenet_v3_large":
        config = ssdlite_defaults.get_config(arm)
    else:
        family = "fcos" if architecture == "fcos_resnet50_fpn" else "retinanet"
        config = defaults.of_family(family, arm)
    config.update(torchvision_config(architecture))
    config.init_from = architecture
    if architecture == "retinanet_resnet50_fpn":
        # Torchvision sets it so wherever it starts from these weights.
        config.model.norm_epsilon = 0.0
    config.data.source = "coco"
    config.schedule.base_learning_rate = 0.0025
    config.schedule.images = 120_000
    config.schedule.warmup_images = 4_000
    config.evaluation.every_images = 20_000
    config.runtime.workers = 4
    return config
