"""Device mesh and batch placement: batches are split over a mesh with the one axis `data`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def create_mesh(device_count: int | None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the first `device_count` devices (None: all) with the one axis `data`.

    Args:
      device_count: how many.
      devices: of which; None: those of this process and its peers.

    Raises:
      ValueError: there are fewer devices.
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
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def on_each_device(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """`function(batch, *others)` on each device's own images, without communication.

    For what XLA does not partition, and for loops whose end depends on the images, where else all
    devices would go on until the slowest is done.

    Args:
      function: maps a tree of arrays whose first axis is that of the images, and trees that are the
        same for all, to a tree of arrays whose first axis is that of the images.
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
    """A batch as `put_batch` gives it to the compiled steps, without values.

    Args:
      batch_size: B.
      canvas: height and width of the images.
      max_boxes: M, ground-truth slots of an image.
      sharding: of every array.
      in_channels: of the images.
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

    What only names the images stays on the host: `image_id` may need 64 bits.

    Args:
      mesh: the devices.
      batch: this process's part.
      batch_size: images of the global batch; None: `batch` is all of it.

    Raises:
      ValueError: this process has another part of the global batch than its devices.
    """
    return {
        name: put_rows(mesh, array, len(array) if batch_size is None else batch_size)
        for name, array in batch.items()
        if name not in ("image_id", "is_real")
    }


def put_rows(mesh: Mesh, array: np.ndarray, rows: int) -> jax.Array:
    """Puts this process's rows of an array of `rows` rows onto the devices, split between them.

    Raises:
      ValueError: it has others than its devices. (Without the number of all rows two processes
        could have different parts, and each an array of another length, with no error.)
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.make_array_from_process_local_data(sharding, array, (rows, *array.shape[1:]))
