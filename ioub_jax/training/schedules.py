"""Learning-rate schedules, in images seen, and the optimizer."""

from typing import Any

import jax
import ml_collections
import optax


def learning_rate_schedule(config: ml_collections.ConfigDict, batch_size: int) -> optax.Schedule:
    """The learning rate of every step: linear warm-up, then 'constant', 'step' or 'cosine'.

    The rate follows the global batch by the linear rule (Goyal et al., arXiv 1706.02677):
    `base_learning_rate * batch_size / reference_batch_size`.

    Args:
      config: `config.schedule`, with `name`, `base_learning_rate`, `reference_batch_size`,
        `images` (length of the run), `warmup_images`, `warmup_factor` (of the rate, at step 0),
        `decay_at` (fractions of the run) and `decay_factor` for 'step'.
      batch_size: images of the global batch.

    Returns:
      A function from the step (0-based) to the rate.

    Raises:
      ValueError: an unknown `name`.
    """
    peak = config.base_learning_rate * batch_size / config.reference_batch_size
    total = steps_of(config.images, batch_size)
    warmup = steps_of(config.warmup_images, batch_size)
    if config.name == "constant":
        main = optax.constant_schedule(peak)
    elif config.name == "cosine":
        main = optax.cosine_decay_schedule(peak, max(total - warmup, 1))
    elif config.name == "step":
        boundaries = {
            max(round(total * fraction) - warmup, 0): config.decay_factor
            for fraction in config.decay_at
        }
        main = optax.piecewise_constant_schedule(peak, boundaries)
    else:
        raise ValueError(
            f"schedule.name is {config.name!r}; it must be 'constant', 'step' or 'cosine'."
        )
    if warmup == 0:
        return main
    ramp = optax.linear_schedule(peak * config.warmup_factor, peak, warmup)
    return optax.join_schedules([ramp, main], [warmup])


def steps_of(images: int, batch_size: int) -> int:
    """Steps that see at least `images` images."""
    return -(-images // batch_size)


def decayed_parameters(params: Any, frozen: Any) -> Any:
    """Which parameters weight decay applies to: the kernels that are not frozen.

    Args:
      params: a tree of parameters.
      frozen: the same tree of bool, True where a parameter is frozen.

    Returns:
      The same tree of bool. Norms and biases are never decayed.
    """

    def decays(path: tuple[Any, ...], _: Any, is_frozen: bool) -> bool:
        return path[-1].key == "kernel" and not is_frozen

    return jax.tree_util.tree_map_with_path(decays, params, frozen)


def create_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule, frozen: Any
) -> optax.GradientTransformation:
    """SGD with momentum, global-norm clipping and weight decay.

    Args:
      config: `config.optimizer`, with `momentum`, `weight_decay` and `clip_global_norm` (None: no
        clipping).
      schedule: learning rate of every step.
      frozen: tree of bool like the parameters.
    """
    parts = []
    if config.clip_global_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_global_norm))
    parts.append(
        optax.add_decayed_weights(
            config.weight_decay, mask=lambda params: decayed_parameters(params, frozen)
        )
    )
    parts.append(optax.sgd(schedule, momentum=config.momentum))
    return optax.chain(*parts)
