"""What a run is made of before it has a workdir: its data and its detector. Nothing is written."""

from typing import NamedTuple

import ml_collections

from ioub_jax.data import sources
from ioub_jax.data.sources.example import Source
from ioub_jax.training import class_list, evaluator, writers
from ioub_jax.training.config_values import check_values
from ioub_jax.training.detector import Detector, create_detector


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
    """Opens the data of a configuration and builds its detector.

    Raises:
      ConfigError: the configuration cannot be run.
      DataError: the data set is broken.
    """
    source, validation = open_data(config)
    return Setup(source, validation, create_detector(config, len(source.classes)))


def open_data(config: ml_collections.ConfigDict) -> tuple[Source, Source]:
    """Training and validation data, with what else can be checked without devices; raises alike."""
    check_values(config)
    source = sources.create_source(config.data, "train")
    validation = sources.create_source(config.data, "val")
    class_list.check_same(source, validation, "the training data", "the validation data")
    evaluator.check_metrics(config)
    writers.check_writers(config)
    return source, validation
