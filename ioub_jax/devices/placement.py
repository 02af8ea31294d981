"""Device mesh and batch placement: batches are split over a mesh with the single axis `data`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def create_mesh(device_count: int | None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the first `device_count` devices (None: all) with the single axis `data`.

    Args:
      device_count: the number of devices.
      devices: the available devices; None: those of this process and its peers.

    Raises:
      ValueError: fewer devices are available.
    """
    devices = jax.devices() if devices is None else devices
    if device_count is not None and device_count > len(devices):
        raise ValueError(
            f"device_count is {device_count}, but there are {len(devices)} devices; "
            "lower it, or leave it at None."
        )
    chosen = devices[: device_count or len(devices)]
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding with the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def on_each_device(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """`function(batch, *others)` for each device's own images, without communication.

    This is for operations that XLA does not partition, and for loops whose number of iterations
    depends on the images, in which all devices would otherwise wait for the slowest one.

    Args:
      function: maps a tree of arrays whose first axis is that of the images, and trees that are the
        same for all images, to a tree of arrays whose first axis is that of the images.
      mesh: the devices.
    """
    if mesh.size == 1:
        return function
    split, whole = PartitionSpec("data"), PartitionSpec()

    def split_function(batch: Any, *others: Any) -> Any:
        specs = (split, *[whole] * len(others))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=split)(batch, *others)

    return split_function


def abstract_batch(
    batch_size: int,
    canvas: tuple[int, int],
    max_boxes: int,
    sharding: NamedSharding | None = None,
    in_channels: int = 3,
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes and dtypes of a batch as `put_batch` returns it.

    Args:
      batch_size: B.
      canvas: height and width of the images.
      max_boxes: M, the number of ground-truth slots of an image.
      sharding: the sharding of every array.
      in_channels: the number of channels of the images.
    """

    def part(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)

    return {
        "image": part((*canvas, in_channels), jnp.uint8),
        "image_size": part((2,), jnp.float32),
        "scale": part((2,), jnp.float32),
        "boxes": part((max_boxes, 4), jnp.float32),
        "labels": part((max_boxes,), jnp.int32),
        **{
            name: part((max_boxes,), jnp.bool_)
            for name in ("valid", "crowd", "difficult", "ignored")
        },
    }


def put_batch(
    mesh: Mesh, batch: Mapping[str, np.ndarray], batch_size: int | None = None
) -> dict[str, jax.Array]:
    """Puts this process's part of a batch onto the devices, split along its first axis.

    The arrays that only identify the images stay on the host, since `image_id` may need 64 bits.

    Args:
      mesh: the devices.
      batch: this process's part of the batch.
      batch_size: the number of images in the global batch; None: `batch` is the whole batch.

    Raises:
      ValueError: this process's part does not match its devices.
    """
    return {
        name: put_rows(mesh, array, len(array) if batch_size is None else batch_size)
        for name, array in batch.items()
        if name not in ("image_id", "is_real")
    }


def put_rows(mesh: Mesh, array: np.ndarray, rows: int) -> jax.Array:
    """Puts this process's rows of an array of `rows` rows onto the devices, split between them.

    Raises:
      ValueError: this process's rows do not match its devices. (Without the number of all rows, two
        processes could have parts of different sizes, and arrays of different lengths, without an
        error.)
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.make_array_from_process_local_data(sharding, array, (rows, *array.shape[1:]))
