"""What a run is made of before it has a workdir: its data and its detector. Nothing is written."""

import logging
from typing import NamedTuple

import ml_collections

from ioub_jax.data import sources
from ioub_jax.data.sources.example import Source
from ioub_jax.training import class_list, evaluator, hosts, writers
from ioub_jax.training.config_values import check_values
from ioub_jax.training.detector import Detector, create_detector

logger = logging.getLogger("ioub_jax")


class Setup(NamedTuple):
    """What a run is made of.

    Attributes:
      source: the training data.
      validation: the validation data.
      detector: the detector.
    """

    source: Source
    validation: Source
    detector: Detector


def create_setup(config: ml_collections.ConfigDict) -> Setup:
    """Opens the data of a configuration and builds its detector; warns of what may be a slip.

    Raises:
      ConfigError: the configuration cannot be run.
      DataError: the data set is broken.
    """
    source, validation = open_data(config)
    detector = create_detector(config, len(source.classes))
    _warn_of_warm_up_alone(config.schedule)
    return Setup(source, validation, detector)


def _warn_of_warm_up_alone(schedule: ml_collections.ConfigDict) -> None:
    """Warns of a run that ends before its warm-up does: its AP says little of the configuration."""
    if schedule.images <= schedule.warmup_images and hosts.is_first():
        logger.warning(
            "schedule.images is %s and schedule.warmup_images %s: the whole run is warm-up, and "
            "the learning rate never reaches its full value; lower schedule.warmup_images or "
            "raise schedule.images.",
            f"{schedule.images:,}",
            f"{schedule.warmup_images:,}",
        )


def open_data(config: ml_collections.ConfigDict) -> tuple[Source, Source]:
    """Training and validation data, with what else can be checked without devices; raises alike."""
    check_values(config)
    source = sources.create_source(config.data, "train")
    validation = sources.create_source(config.data, "val")
    class_list.check_same(source, validation, "the training data", "the validation data")
    evaluator.check_metrics(config)
    writers.check_writers(config)
    return source, validation
