"""The gradient of the objective with respect to the parameters, of a batch at once or in parts.

The objective is not a sum over images: it is divided by the number of positives of the whole batch,
and the normalizers of the IoU-balanced weights are sums over the batch too. It is therefore always
computed on the whole batch; only the network processes the batch in parts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ioub_jax.models import Predictions
from ioub_jax.objective import Objective

#: forward(params, batch_stats, images) -> (predictions, batch_stats)
Forward = Callable[[Any, Any, jax.Array], tuple[Predictions, Any]]
#: objective_of(predictions) -> Objective
ObjectiveOf = Callable[[Predictions], Objective]


class Gradient(NamedTuple):
    """Gradient and metrics of a batch.

    Attributes:
      objective: the objective of the whole batch.
      batch_stats: the new running statistics.
      params: the gradient, a tree like the parameters.
    """

    objective: Objective
    batch_stats: Any
    params: Any


def gradient_at_once(
    forward: Forward, objective_of: ObjectiveOf, params: Any, batch_stats: Any, images: jax.Array
) -> Gradient:
    """The gradient of a batch that passes through the network at once.

    Args:
      forward: the network.
      objective_of: the objective of its predictions.
      params: the parameters.
      batch_stats: the running statistics.
      images: `[B, H, W, 3]`.
    """

    def loss_of(params: Any) -> tuple[jax.Array, tuple[Objective, Any]]:
        predictions, updated = forward(params, batch_stats, images)
        objective = objective_of(predictions)
        return objective.loss, (objective, updated)

    (_, (objective, updated)), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
    return Gradient(objective, updated, gradient)


def accumulated_gradient(
    forward: Forward,
    objective_of: ObjectiveOf,
    params: Any,
    batch_stats: Any,
    images: jax.Array,
    *,
    parts: int,
    mesh: Mesh,
) -> Gradient:
    """The gradient of `gradient_at_once`, with the activations of one part in memory at a time.

    This is GradCache (Gao et al., arXiv 2101.06983). A first pass computes the predictions of all
    parts without keeping activations. The objective of all predictions gives its gradient with
    respect to them. Then each part passes forward and backward through the network. The method
    costs one more forward pass and is exact for every loss and normalizer. Batch norms use the
    statistics of each part, and the running statistics are updated by every part in turn.

    Args:
      forward: the network.
      objective_of: the objective of the predictions of the whole batch.
      params: the parameters.
      batch_stats: the running statistics.
      images: `[B, H, W, 3]`; the number of images on every device is a multiple of `parts`.
      parts: the number of parts.
      mesh: the devices that share the batch.
    """
    split_images = _split(images, parts, mesh)
    predictions = jax.lax.map(lambda part: forward(params, batch_stats, part)[0], split_images)

    def loss_of(predictions: Predictions) -> tuple[jax.Array, Objective]:
        objective = objective_of(predictions)
        return objective.loss, objective

    whole = jax.tree.map(lambda values: _joined(values, mesh), predictions)
    by_predictions, objective = jax.grad(loss_of, has_aux=True)(whole)

    def add_part(carry: tuple[Any, Any], part: tuple[jax.Array, Predictions]) -> Any:
        total, batch_stats = carry
        part_images, cotangents = part
        _, pull_back, updated = jax.vjp(
            lambda params: forward(params, batch_stats, part_images), params, has_aux=True
        )
        (gradient,) = pull_back(cotangents)
        return (jax.tree.map(jnp.add, total, gradient), updated), None

    split_cotangents = jax.tree.map(lambda values: _split(values, parts, mesh), by_predictions)
    nothing = jax.tree.map(jnp.zeros_like, params)
    (gradient, updated), _ = jax.lax.scan(
        add_part, (nothing, batch_stats), (split_images, split_cotangents)
    )
    return Gradient(objective, updated, gradient)


def _split(values: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
    """`[B, ...]` as `[parts, B / parts, ...]`, without moving an image to another device."""
    # Each part takes every `parts`-th image: consecutive images lie on only some of the devices.
    values = values.reshape(-1, parts, *values.shape[1:]).swapaxes(0, 1)
    return jax.lax.with_sharding_constraint(
        values, NamedSharding(mesh, PartitionSpec(None, "data"))
    )


def _joined(values: jax.Array, mesh: Mesh) -> jax.Array:
    """The inverse of `_split`."""
    values = values.swapaxes(0, 1).reshape(-1, *values.shape[2:])
    return jax.lax.with_sharding_constraint(values, NamedSharding(mesh, PartitionSpec("data")))
