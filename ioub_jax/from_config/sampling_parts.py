"""Sampling frequency of a configuration's training images, and the rate of their loading."""

import ml_collections
import numpy as np

from ioub_jax.data import repeat_factors, throughput
from ioub_jax.data.sources import (
    Source,
    annotations_of,
)
from ioub_jax.data.sources.learned import (
    count_classes,
    learned_objects,
)
from ioub_jax.from_config.data_parts import open_split, rules_of
from ioub_jax.from_config.loading_parts import loading_of
from ioub_jax.key_names import naming

# The most classes that a line names.
_MOST_CLASSES = 8


def repeats_of(
    config: ml_collections.ConfigDict, source: Source
) -> tuple[np.ndarray | None, list[str]]:
    """Number of times each training image occurs in an epoch, and a line that describes it.

    Args:
      config: the whole configuration.
      source: the training data.

    Returns:
      The numbers, float64 `[n]`, and the line; None and no line if each image occurs once.
    """
    threshold = config.data.get("repeat_threshold")  # runs of earlier versions do not have it
    if threshold is None:
        return None, []
    annotations, classes = annotations_of(source), source.classes
    learned = learned_objects(annotations, rules_of(config.data, config.get("matcher"), "train"))
    images, labels = repeat_factors.images_of_classes(annotations, learned, len(classes))
    repeats = repeat_factors.repeat_factors(images, labels, len(source), len(classes), threshold)
    plan = loading_of(config).training_plan(source.sizes, 1, config.seed, repeats)
    before = np.bincount(labels, minlength=len(classes))
    now = np.bincount(labels, repeats[images], minlength=len(classes))
    # The classes that gain most come first.
    gained = [c for c in np.argsort(-now / np.maximum(before, 1), kind="stable") if before[c]]
    told = [
        f"{classes[c]} in {now[c]:,.0f} instead of {before[c]:,}" for c in gained[:_MOST_CLASSES]
    ]
    if len(gained) > _MOST_CLASSES:
        told.append(f"and {len(gained) - _MOST_CLASSES:,} more classes")
    return repeats, [
        f"Sampling: {plan.images_per_epoch:,} images per epoch instead of {len(source):,} "
        f"(data.repeat_threshold={threshold:g}): {', '.join(told)}."
    ]


def boxes_of_classes(config: ml_collections.ConfigDict, source: Source) -> list[int]:
    """Number of learned boxes of each class in the training data."""
    rules = rules_of(config.data, config.get("matcher"), "train")
    entries = count_classes(annotations_of(source), source.classes, source.category_ids, rules)
    return [entry.usable for entry in entries]


def images_per_epoch(config: ml_collections.ConfigDict) -> int:
    """Number of images in an epoch of a configuration; errors as in `open_split`."""
    source = open_split(config, "train")
    repeats, _ = repeats_of(config, source)
    plan = loading_of(config).training_plan(source.sizes, config.batch_size, config.seed, repeats)
    return plan.images_per_epoch


def input_benchmark(
    config: ml_collections.ConfigDict, source: Source, num_batches: int
) -> throughput.InputBenchmark:
    """Benchmark of the input pipeline on the training images of a configuration.

    Args:
      config: the whole configuration.
      source: its training images.
      num_batches: the number of batches to measure.

    Raises:
      ConfigError: the images are not files, or as in `training_plan` and `augmentation_of`.
    """
    loading = loading_of(config)
    repeats, _ = repeats_of(config, source)
    plan = loading.training_plan(source.sizes, config.batch_size, config.seed, repeats)
    with naming({"source": f"config.data.source={config.data.source!r}"}):
        return throughput.InputBenchmark(
            source,
            plan,
            num_batches,
            seed=config.seed,
            max_boxes=config.data.max_boxes,
            augmentation=loading.augmentation,
            on_error=config.data.on_error,
        )
