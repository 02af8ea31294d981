"""Audit of the data of a configuration."""

import dataclasses
import logging

import ml_collections

from ioub_jax.data import audit
from ioub_jax.data.audit.tile_findings import find_in_tiles
from ioub_jax.data.checks import DataError, check_on_error
from ioub_jax.data.sources import (
    Source,
    annotations_of,
    unlearned,
)
from ioub_jax.from_config.data_parts import (
    allows_empty_classes,
    cut_into_tiles,
    in_tiles,
    open_source,
    rules_of,
    rules_of_images,
)
from ioub_jax.from_config.file_parts import ON_ERROR, in_channels_of, origin_of
from ioub_jax.from_config.loading_parts import tiling_of
from ioub_jax.key_names import naming

_log = logging.getLogger(__name__)


def open_leniently(config: ml_collections.ConfigDict, split: str) -> Source:
    """As `open_source`, but without faulty parts of the data set.

    Args:
      config: the whole configuration.
      split: 'train', 'val' or 'test'.

    Returns:
      the data set. Errors that cannot be skipped are raised as in `open_source`.
    """
    data = config.data
    with naming(ON_ERROR):
        check_on_error(data.on_error)
    lenient = data.copy_and_resolve_references()
    lenient.on_error = "skip"
    return open_source(lenient, split, channels=in_channels_of(config))


def audit_data_set(
    config: ml_collections.ConfigDict, split: str, *, decode: bool = False
) -> audit.Audit:
    """Opens a split and searches for faults that would stop a training with this configuration.

    Args:
      config: the whole configuration.
      split: 'train', 'val' or 'test'.
      decode: whether to decode every image.

    Returns:
      the audit.

    Raises:
      ValueError: the split is unknown.
      ConfigError: an option has a value that is refused.
    """
    data = config.data
    _log.info("Opening the %r split of data.source=%r.", split, data.source)
    try:
        source = open_leniently(config, split)
    except DataError as error:
        return audit.unopened(error)
    rules, are_cut = rules_of(data, config.matcher, split), tiling_of(data) is not None
    use = audit.Use(
        split,
        origin_of(data, split),
        rules_of_images(rules, data),
        on_error=data.on_error,
        max_boxes=None if are_cut else data.max_boxes,
        max_detections=config.evaluation.max_detections,
        is_for_coco="coco" in config.evaluation.metrics,
        allow_empty_classes=allows_empty_classes(data),
        coco_detections=config.evaluation.get("coco_detections", 100),
    )
    found = audit.audit_data_set(source, use, decode=decode)
    if not are_cut or found.data is None:
        return found
    tiles, counts = cut_into_tiles(found.data.source, data, split, rules)
    assert counts is not None, "they are cut"
    learned = in_tiles(found.data.learned, counts)
    opened = dataclasses.replace(found.data, learned=learned, tiles=annotations_of(tiles))
    findings = [*found.findings, *find_in_tiles(counts, data.max_boxes)]
    lacking = [entry for entry in learned.classes if entry.in_no_tile and not entry.usable]
    if lacking and split == "train":
        allowed = use.allow_empty_classes
        advice = unlearned.empty_classes(
            learned.classes, learned.fullest, use.origin, are_allowed=allowed
        )
        findings.insert(0, audit.Finding("empty_class", not allowed, len(lacking), advice))
    return audit.Audit(tuple(findings), opened)
