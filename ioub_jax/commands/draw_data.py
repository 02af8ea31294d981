"""Draws the network's training inputs: augmented images on their canvas, with their boxes.

ioub draw_data --config=shapes_retinanet --output=data.png
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line, data_flags

_CONFIG = command_line.define_config(required=False)
data_flags.define()
_OUTPUT = flags.DEFINE_string("output", None, "The PNG to write.", required=True)
_IMAGES = flags.DEFINE_integer("images", 16, "How many images.", lower_bound=1)
_STEP = flags.DEFINE_integer("step", 0, "The training step of the first image.", lower_bound=0)
_COLUMNS = flags.DEFINE_integer("columns", 4, "Images in a row.", lower_bound=1)

if __name__ == "__main__":
    command_line.parse_flags()

import numpy as np

from ioub_jax import files, plotting
from ioub_jax.configs import refusals
from ioub_jax.data import pipeline
from ioub_jax.data.sources import Example, Source
from ioub_jax.data.sources.example import create_example
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import data_parts, loading_parts, sampling_parts, training_parts
from ioub_jax.training import summary


def _training_examples(source: Source, count: int, first_step: int) -> list[Example]:
    """The first `count` training images from a step on, each on its canvas with its objects."""
    batches = _training_batches(source, count, first_step)
    with batches:
        examples = [_example(batch, row) for batch in batches for row in range(len(batch["image"]))]
    return examples[:count]


def _training_batches(source: Source, count: int, first_step: int) -> pipeline.BatchIterator:
    """An iterator over the training batches with these images, which loads none of them yet."""
    config = _CONFIG.value
    # Loading a few batches takes less time than starting worker processes.
    loading = dataclasses.replace(loading_parts.loading_of(config), workers=0)
    options = training_parts.options_of(config)
    repeats, _ = sampling_parts.repeats_of(config, source)
    plan = loading.training_plan(source.sizes, options.batch_size, options.seed, repeats)
    num_steps = -(-count // options.batch_size)
    return loading.training_batches(
        source, plan, first_step, num_steps, seed=options.seed, total_steps=options.steps
    )


def _example(batch: pipeline.Batch, row: int) -> Example:
    valid = batch["valid"][row]
    boxes, labels, crowd, difficult, ignored = (
        batch[name][row][valid] for name in ("boxes", "labels", "crowd", "difficult", "ignored")
    )
    return create_example(
        boxes,
        labels,
        int(batch["image_id"][row]),
        image=batch["image"][row],
        crowd=crowd,
        difficult=difficult,
        ignored=ignored,
    )


def main() -> None:
    """Draws the sheet and prints its path."""
    config = _CONFIG.value
    refusals.check(config)
    path = pathlib.Path(_OUTPUT.value)
    files.check_can_write(path.parent)
    source = data_parts.open_split(config, "train")
    examples = _training_examples(source, _IMAGES.value, _STEP.value)
    name = data_parts.name_of(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plotting.labeled_sheet(
            path,
            [np.asarray(example.image) for example in examples],
            examples,
            source.classes,
            columns=_COLUMNS.value,
            title=f"{name}: what the network is given from step {_STEP.value} on",
        )
    except OSError as error:
        raise ConfigError(f"--output={path} cannot be written: {error.strerror}.") from error
    boxes = sum(len(example.labels) for example in examples)
    print(f"{path}: {len(examples)} images of {len(source)}, {boxes} boxes.")


def dry_run() -> Sequence[str]:
    """Lines that say what would be drawn."""
    config, path = _CONFIG.value, pathlib.Path(_OUTPUT.value)
    refusals.check(config)
    source = data_parts.open_split(config, "train")
    _training_batches(source, _IMAGES.value, _STEP.value).close()
    files.check_can_write(path.parent)
    return [
        f"Data: {data_parts.name_of(config)}, {summary.describe_source(source)} for training.",
        f"Canvases: {summary.describe_canvases(loading_parts.loading_of(config), source)}.",
        f"File: {path}, with {_IMAGES.value} images from step {_STEP.value} on.",
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run)
