"""Cost of a step on TPUs that are not attached: compiled ahead of time, counted by XLA.

XLA compiles for a described topology on any machine that has the package `libtpu`. The memory,
flops and bytes that it reports for the program are the same as on the TPU. No time is measured: the
roofline is for comparing programs and is not a forecast. XLA counts the bytes of every operation,
even if a chip keeps them in its fast memory, and undercounts gathers, scatters and sorts.
"""

import collections
import dataclasses
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from ioub_jax.configs import refusals
from ioub_jax.detectors import PlacedDetector
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import loading_parts, training_parts


class Chip(NamedTuple):
    """Published numbers of a chip (docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e and tpu7x).

    Attributes:
      memory: the HBM in GiB.
      teraflops: the peak in bfloat16, in TFLOP/s.
      bandwidth: the bandwidth of the HBM, in GB/s.
      options: compiler options by which the whole chip is one device; v4 and v5p have two
        TensorCores.
      devices: the number of jax devices of the chip, which share its memory, flops and bandwidth; 2
        for a tpu7x.
    """

    memory: float
    teraflops: float
    bandwidth: float
    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    devices: int = 1


CHIPS = {
    "v4": Chip(32.0, 275.0, 1200.0, {"chip_config_name": "megacore"}),
    "v5e": Chip(16.0, 197.0, 819.0),
    "v5p": Chip(95.0, 459.0, 2765.0, {"chip_config_name": "megacore"}),
    "v6e": Chip(32.0, 918.0, 1640.0),
    "tpu7x": Chip(192.0, 2307.0, 7380.0, devices=2),
}


class Collective(NamedTuple):
    """All communication of a kind in one step.

    Attributes:
      kind: 'all-reduce', 'all-gather', ...
      operations: the number of operations.
      total_bytes: the bytes of their results, on one device.
      largest_bytes: the bytes of the largest result.
    """

    kind: str
    operations: int
    total_bytes: int
    largest_bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A program compiled for a topology; bytes and flops are those of one device.

    A device is a chip, or half of a tpu7x.

    Attributes:
      topology: the topology, such as 'v5e:4x4'.
      chips: the number of chips.
      batch_per_chip: the number of images on one chip.
      canvas: height and width of the images.
      fits: whether the program fits into the device's memory.
      reason: the reason why it does not, in XLA's words.
      argument_bytes: the bytes of the state, the batch and the anchors.
      output_bytes: the bytes of the results that do not reuse the memory of an argument.
      temporary_bytes: the bytes of intermediate values.
      flops: the floating-point operations.
      bytes_accessed: the bytes that all operations read and write.
      collectives: the communication between devices.
      compile_seconds: the time of the compilation.
      program: the text of the compiled program.
    """

    topology: str
    chips: int
    batch_per_chip: int
    canvas: tuple[int, int]
    fits: bool
    reason: str = ""
    argument_bytes: int = 0
    output_bytes: int = 0
    temporary_bytes: int = 0
    flops: float = 0.0
    bytes_accessed: float = 0.0
    collectives: tuple[Collective, ...] = ()
    compile_seconds: float = 0.0
    program: str = dataclasses.field(default="", repr=False)

    @property
    def chip(self) -> Chip:
        """The published numbers of the chip."""
        return _chip(self.topology)

    @property
    def batch_per_device(self) -> int:
        """The number of images on one device."""
        return self.batch_per_chip // self.chip.devices

    @property
    def compute_seconds(self) -> float:
        """The time of the flops at the chip's peak."""
        return self.chip.devices * self.flops / (self.chip.teraflops * 1e12)

    @property
    def memory_seconds(self) -> float:
        """The time of the bytes at the chip's bandwidth."""
        return self.chip.devices * self.bytes_accessed / (self.chip.bandwidth * 1e9)

    @property
    def images_per_second(self) -> float:
        """Images per second of all chips by the longer of the two times, without communication."""
        return self.chips * self.batch_per_chip / max(self.compute_seconds, self.memory_seconds)

    def record(self) -> dict[str, Any]:
        """The numbers in types that JSON has, also per image."""
        record = dataclasses.asdict(self)
        del record["program"]
        record["collectives"] = [collective._asdict() for collective in self.collectives]
        if self.fits:
            record |= {
                "compute_seconds": self.compute_seconds,
                "memory_seconds": self.memory_seconds,
                "images_per_second": self.images_per_second,
                "bytes_accessed_per_image": self.bytes_accessed / self.batch_per_device,
                "temporary_bytes_per_image": self.temporary_bytes / self.batch_per_device,
            }
        return record

    def describe(self) -> str:
        """The plan as readable text."""
        parts, images = self.chip.devices, self.batch_per_device
        device, of_devices = ("chip", "") if parts == 1 else ("device", f" of {parts} devices")
        title = (
            f"{self.topology}: {self.chips} chips{of_devices}, {images} images of "
            f"{self.canvas[0]}x{self.canvas[1]} on each{'' if parts == 1 else ' device'}"
        )
        if not self.fits:
            return f"{title}\n  does not fit: {self.reason}"
        memory = self.argument_bytes + self.output_bytes + self.temporary_bytes
        capacity = f"{self.chip.memory / parts:g} GiB"
        lines = [
            f"  fits: {_gib(memory)} of {capacity} on each {device} (arguments "
            f"{_gib(self.argument_bytes)}, output {_gib(self.output_bytes)}, temporary "
            f"{_gib(self.temporary_bytes)})",
            f"  an image: {self.flops / images / 1e9:,.0f} GFLOP, "
            f"{self.bytes_accessed / images / 1e9:.2f} GB accessed, "
            f"{_gib(self.temporary_bytes / images)} temporary",
            f"  at the chip's peaks {1e3 * self.compute_seconds:.1f} ms for the flops and "
            f"{1e3 * self.memory_seconds:.1f} ms for the bytes: "
            f"{self.images_per_second:,.0f} images/s",
        ]
        lines += [
            f"  {collective.operations} {collective.kind}: {collective.total_bytes / 1e6:,.3f} MB, "
            f"the largest {collective.largest_bytes / 1e6:,.3f} MB"
            for collective in self.collectives
        ]
        return "\n".join([title, *lines, f"  compiled in {self.compile_seconds:.0f} s"])


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


# ------------------------------------------------------------------ topologies


def _chip(topology: str) -> Chip:
    return CHIPS[topology.partition(":")[0]]


def devices_of_chip(topology: str) -> int:
    """Number of jax devices in one chip of a topology that `topology_devices` knows."""
    return _chip(topology).devices


def topology_devices(topology: str) -> Sequence[Any]:
    """The devices of a TPU topology, which need not be attached.

    Args:
      topology: a chip and its grid, such as 'v5e:4x4' or 'v4:2x2x2'.

    Raises:
      ConfigError: there is no such chip or grid, or libtpu is not installed.
    """
    chip, _, grid = topology.partition(":")
    if chip not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", grid):
        raise ConfigError(
            f"--topology={topology} is not a topology; give one of {', '.join(CHIPS)} and its grid "
            "of chips, such as v5e:4x4 or v4:2x2x1."
        )
    sides = [int(side) for side in grid.split("x")]
    options = dict(CHIPS[chip].options)
    if math.prod(sides) < 4:  # a part of a usual host
        options["chips_per_host_bounds"] = (*sides, 1, 1)[:3]
    # Without these settings, libtpu asks the network for the type of this machine and complains
    # that it is not a TPU; it allows only one process to load it, and writes logs into the folder
    # for temporary files.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_LOG_DIR", "disabled")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    try:
        described = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{chip}:{grid}", **options
        )
    except Exception as error:
        if "TPU support not installed" in str(error) or "libtpu" in str(error):
            raise ConfigError(
                "Compiling for a TPU needs the package libtpu; pip install 'ioub_jax[train,tpu]'."
            ) from error
        raise ConfigError(f"--topology={topology} cannot be built: {error}") from error
    return described.devices


# ------------------------------------------------------------------ programs


def plan_step(
    program: str,
    config: ml_collections.ConfigDict,
    num_classes: int,
    topology: str,
    batch_per_device: int,
    devices: Sequence[Any],
) -> Plan:
    """Compiles a step for the devices of a topology.

    Args:
      program: 'train', or 'evaluation' for the step that detects.
      config: the whole configuration. Only the largest of its canvases is used, and no weights are
        read.
      num_classes: C.
      topology: the name of the topology.
      batch_per_device: the number of images on one device, which is a chip, or half of a tpu7x.
      devices: the devices of the topology.

    Raises:
      ConfigError: the configuration cannot be run.
    """
    config, detector = planned_detector(config, num_classes, batch_per_device, devices)
    loading, options = loading_parts.loading_of(config), training_parts.options_of(config)
    (canvas,), replicated = loading.canvases, placement.replicated(detector.mesh)
    split = NamedSharding(detector.mesh, PartitionSpec("data"))
    batch = placement.abstract_batch(
        options.batch_size, canvas, loading.max_boxes, split, detector.detector.in_channels
    )
    anchors = _placed(detector.host_anchors(canvas), replicated)
    trainer = training_parts.trainer_of(config, detector)
    state = _placed(trainer.abstract_state, replicated)
    step: Any = trainer.train_step
    weights = state
    if program == "evaluation":
        step, weights = detector.predict, state.variables
    size = {
        "chips": detector.mesh.size // devices_of_chip(topology),
        "batch_per_chip": batch_per_device * devices_of_chip(topology),
        "canvas": canvas,
    }
    return _compile(step, (weights, batch, anchors), topology, size)


def largest_batch(plan_of: Callable[[int], Plan], first: int = 1) -> Plan:
    """The plan with the most images per device that still fits.

    Doubles the batch from `first` on until it no longer fits, then bisects the interval.

    Args:
      plan_of: returns the plan for a number of images per device.
      first: the number to begin with.

    Returns:
      The plan with the most images, or the plan for one image if not even that fits.
    """
    best, low, high = None, 0, first
    plan = plan_of(first)
    while plan.fits:
        best, low, high = plan, high, 2 * high
        plan = plan_of(high)
    while high - low > 1:
        middle = (low + high) // 2
        plan = plan_of(middle)
        if plan.fits:
            best, low = plan, middle
        else:
            high = middle
    return best if best is not None else plan


def planned_detector(
    config: ml_collections.ConfigDict,
    num_classes: int,
    batch_per_device: int,
    devices: Sequence[Any],
) -> tuple[ml_collections.ConfigDict, PlacedDetector]:
    """The configuration that `plan_step` compiles, with only its largest canvas, and its detector.

    The arguments are those of `plan_step`.
    """
    refusals.check(config)
    config = training_parts.planned(config, batch_per_device * len(devices))
    return config, training_parts.detector_of(config, num_classes, devices=devices)


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _compile(program: Any, arguments: tuple[Any, ...], topology: str, size: dict[str, Any]) -> Plan:
    start = time.perf_counter()
    try:
        compiled = program.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Plan(topology, fits=False, reason=_memory_sentence(str(error)), **size)
    seconds = time.perf_counter() - start
    memory, cost, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    return Plan(
        topology,
        fits=True,
        argument_bytes=memory.argument_size_in_bytes,
        # The memory of a donated argument is reused by an output.
        output_bytes=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        flops=cost["flops"],
        bytes_accessed=cost["bytes accessed"],
        collectives=collectives_of(text),
        compile_seconds=seconds,
        program=text,
        **size,
    )


def _memory_sentence(message: str) -> str:
    """Returns the sentence with the numbers from XLA's report on a program that does not fit."""
    found = re.search(
        r"Used [\d.]+\w* of [\d.]+\w* hbm\. Exceeded hbm capacity by [\d.]+\w*", message
    )
    return found[0] + "." if found else message.splitlines()[0]


# ------------------------------------------------------------------ collectives

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# `%all-reduce.1 = (f32[8]{0:T(256)}, f32[]) all-reduce(...)`; an asynchronous pair counts by its
# start.
_COLLECTIVE = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = (?P<result>.*?) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\("
)
_ARRAY = re.compile(r"(?P<dtype>pred|[a-z]+\d+)[a-z\d]*\[(?P<shape>[\d,]*)\]")


def collectives_of(hlo: str) -> tuple[Collective, ...]:
    """The communication in a compiled program.

    Args:
      hlo: the text of the program, as `compiled.as_text()` returns it.

    Returns:
      One entry for each kind, in alphabetical order. An operation counts once, even if it is split
      into a start and an end.
    """
    sizes: dict[str, list[int]] = collections.defaultdict(list)
    for line in hlo.splitlines():
        found = _COLLECTIVE.match(line)
        if found is None:
            continue
        arrays = [_bytes(array) for array in _ARRAY.finditer(found["result"])]
        if found["start"] and found["kind"] != "all-reduce":
            # The arrays are operand and result and, for a permutation, two counters.
            arrays = arrays[1:2]
        sizes[found["kind"]].append(sum(arrays))
    return tuple(
        Collective(kind, len(of_kind), sum(of_kind), max(of_kind))
        for kind, of_kind in sorted(sizes.items())
    )


def _bytes(array: re.Match[str]) -> int:
    bits = 8 if array["dtype"] == "pred" else int(re.sub(r"\D", "", array["dtype"]))
    return int(np.prod([int(side) for side in array["shape"].split(",") if side])) * bits // 8
