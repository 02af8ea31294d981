"""Small FCOS, ATSS, GFL and IoU-aware RetinaNet on `shapes`, which is drawn as it is read.

Like `shapes_retinanet.py` for RetinaNet, with the same data, schedule and channels.

The argument has a detector (atss, fcos, gfl, iou_aware_retinanet) and an arm (both, baseline, cls,
loc; for iou_aware_retinanet also loc_weight_only), each with the first as default:

python -m experiments.train --config=configs/shapes_dense.py:gfl,baseline --workdir=runs/gfl
"""

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.data_sets import use_shapes

DETECTORS = ("atss", "fcos", "gfl", "iou_aware_retinanet")


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """The configuration of a detector and an arm."""
    detector, arm = arguments.parse(argument, DETECTORS, defaults.ARMS)
    config = defaults.of_family(detector, arm)
    defaults.make_small(config.model, width=16, channels=48)
    use_shapes(config)
    defaults.halve_sizes(config)
    return config
