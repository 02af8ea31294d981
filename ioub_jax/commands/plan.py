"""Compiles a training step for TPUs that are not attached, and prints its cost.

ioub plan --config=coco_retinanet:r50,both --topology=v5e:4x4 \
  --batch_per_chip=4

This needs `pip install 'ioub_jax[train,tpu]'`, but no TPU, no data set and no weights. `--search`
finds the largest batch that fits, starting from `--batch_per_chip`; `--program=evaluation` plans
the step of an evaluation.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line

_CONFIG = command_line.define_config()
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Chip (v4, v5e, v5p, v6e, tpu7x) and grid, such as v5e:4x4.", required=True
)
_BATCH = flags.DEFINE_integer("batch_per_chip", 1, "Images on each chip.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 80, "Classes of the data set.", lower_bound=1)
_PROGRAM = flags.DEFINE_enum("program", "train", ["train", "evaluation"], "The step to plan.")
_SEARCH = flags.DEFINE_bool("search", False, "Find the largest batch that fits.")
_JSON = flags.DEFINE_string("json", None, "A file for the numbers.")
_HLO = flags.DEFINE_string(
    "hlo", None, "A file for the compiled program, to see which parts cost most."
)

if __name__ == "__main__":
    command_line.parse_flags()

import jax

from ioub_jax import files, tpu_plan
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import loading_parts
from ioub_jax.training import summary
from ioub_jax.workdirs import configuration


def main() -> None:
    """Plans the step, and prints the result."""
    _check_files()
    # A program that was compiled for a TPU which is not attached cannot be read from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    devices = tpu_plan.topology_devices(_TOPOLOGY.value)
    first = _batch_per_device()

    def plan_of(batch_per_device: int) -> tpu_plan.Plan:
        made = tpu_plan.plan_step(
            _PROGRAM.value,
            _CONFIG.value,
            _CLASSES.value,
            _TOPOLOGY.value,
            batch_per_device,
            devices,
        )
        print(made.describe(), flush=True)
        return made

    made = tpu_plan.largest_batch(plan_of, first) if _SEARCH.value else plan_of(first)
    if _SEARCH.value and made.fits:
        print(f"The largest batch that fits is {made.batch_per_chip} on each chip.")
    if _JSON.value is not None:
        files.write_json(pathlib.Path(_JSON.value), made.record(), indent=2)
    if _HLO.value is not None:
        files.write_text(pathlib.Path(_HLO.value), made.program)


def _batch_per_device() -> int:
    """Images on each of the devices of a chip, from `--batch_per_chip`."""
    parts = tpu_plan.devices_of_chip(_TOPOLOGY.value)
    if _BATCH.value % parts:
        raise ConfigError(
            f"--batch_per_chip={_BATCH.value} cannot be divided among the {parts} devices of a "
            f"chip of {_TOPOLOGY.value}; give a multiple of {parts}."
        )
    return _BATCH.value // parts


def _check_files() -> None:
    """Checks that the files can be written before the compilation, which takes minutes."""
    for flag in (_JSON, _HLO):
        if flag.value is not None:
            files.check_file(pathlib.Path(flag.value), f"--{flag.name}")


def dry_run() -> Sequence[str]:
    """Lines that say what would be compiled."""
    _check_files()
    devices = tpu_plan.topology_devices(_TOPOLOGY.value)
    config, detector = tpu_plan.planned_detector(
        _CONFIG.value, _CLASSES.value, _batch_per_device(), devices
    )
    ((height, width),) = loading_parts.loading_of(config).canvases
    parts = tpu_plan.devices_of_chip(_TOPOLOGY.value)
    written = [flag.value for flag in (_JSON, _HLO) if flag.value is not None]
    return [
        *summary.describe_detector(detector, configuration.to_dict(config)["model"]),
        f"Program: {_PROGRAM.value}, {_CLASSES.value} classes, {_BATCH.value} images of "
        f"{height}x{width} on each of {len(devices) // parts} chips of {_TOPOLOGY.value}"
        f"{', then more and fewer to find the most that fit' if _SEARCH.value else ''}.",
        f"Files: {', '.join(written) or 'none'}.",
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run)
