"""What a run is made of before it has a workdir: its data and its detector. Nothing is written."""

import logging
from typing import NamedTuple

import ml_collections

from ioub_jax.data import sources
from ioub_jax.data.sources import FileSource, Learned, unlearned
from ioub_jax.data.sources.example import Source
from ioub_jax.devices import hosts, self_test
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import metric_parts
from ioub_jax.training import schedules
from ioub_jax.training.config_values import check_values
from ioub_jax.training.detector import Detector, create_detector
from ioub_jax.workdirs import class_list, writers

logger = logging.getLogger("ioub_jax")


class Setup(NamedTuple):
    """What a run is made of.

    Attributes:
      source: the training data.
      validation: the validation data.
      detector: the detector.
      learned: of how many boxes and images of the training data how many are trained on, in words.
    """

    source: Source
    validation: Source
    detector: Detector
    learned: tuple[str, str]


def create_setup(
    config: ml_collections.ConfigDict, categories: sources.Categories | None = None
) -> Setup:
    """Opens the data of a configuration and builds its detector; warns of what may be a slip.

    Args:
      config: the configuration.
      categories: the id and name of each label, of a run that has begun; None: those of the
        training data.

    Raises:
      ConfigError: the configuration cannot be run, or not on this machine.
      DataError: the data set is broken.
    """
    source, validation, learned = open_data(config, categories)
    detector = create_detector(config, len(source.classes))
    warnings = check_schedule(config)
    if config.model.dtype != "float32":  # the one that is known to go wrong
        self_test.check_convolution(config.model.dtype, detector.mesh.local_devices[0])
    if hosts.is_first():
        for warning in warnings:
            logger.warning("%s", warning)
        _warn_of_shared_images(source, validation)
    return Setup(source, validation, detector, learned.lines())


def check_schedule(config: ml_collections.ConfigDict) -> list[str]:
    """Checks the points of the learning rate's schedule.

    Returns:
      Sentences to warn of.

    Raises:
      ConfigError: the warm-up takes the whole run, or a decay lies outside of it.
    """
    try:
        return schedules.check_points(config.schedule, config.batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _warn_of_shared_images(source: Source, validation: Source) -> None:
    """Warns of validation images that are trained on: their AP says little of other images."""
    if not (isinstance(source, FileSource) and isinstance(validation, FileSource)):
        return
    trained_on = {source.describe(index) for index in range(len(source))}
    paths = [validation.describe(index) for index in range(len(validation))]
    shared = [path for path in paths if path in trained_on]
    if shared:
        logger.warning(
            "%s of the %s validation images are trained on, too (the first: %s): their AP says "
            "little of other images, and the best checkpoint is chosen by it; validate on images "
            "of their own.",
            f"{len(shared):,}",
            f"{len(paths):,}",
            shared[0],
        )


def open_data(
    config: ml_collections.ConfigDict, categories: sources.Categories | None = None
) -> tuple[Source, Source, Learned]:
    """The data of a configuration, with what else can be checked without devices.

    Args:
      config: the configuration.
      categories: as for `create_setup`.

    Returns:
      the training data, the validation data, and what of the training data is learned.

    Raises:
      ConfigError: the configuration cannot be run.
      DataError: the data set is broken, or has a class without a box to learn.
    """
    check_values(config)
    source, learned = sources.open_counted(
        config.data, "train", config.matcher, categories=categories
    )
    unlearned.check_classes(learned, config.data)
    validation = sources.create_source(
        config.data,
        "val",
        categories=class_list.categories_of(source),
        bit_depth=sources.bit_depth_of(source),
    )
    metric_parts.metrics_of(config.evaluation)
    writers.check_writers(config)
    return source, validation, learned
