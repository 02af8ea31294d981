"""Learning-rate schedules, in images seen, and the optimizer."""

import collections
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
        # Decays of one step, or inside the warm-up and so at its end, are all made.
        counts = collections.Counter(max(step - warmup, 0) for step in _decay_steps(config, total))
        boundaries = {step: config.decay_factor**count for step, count in counts.items()}
        main = optax.piecewise_constant_schedule(peak, boundaries)
    else:
        raise ValueError(
            f"schedule.name is {config.name!r}; it must be 'constant', 'step' or 'cosine'."
        )
    if warmup == 0:
        return main
    ramp = optax.linear_schedule(peak * config.warmup_factor, peak, warmup)
    return optax.join_schedules([ramp, main], [warmup])


def _decay_steps(config: ml_collections.ConfigDict, total: int) -> list[int]:
    """The first step with each decay of a step schedule."""
    return [round(total * fraction) for fraction in config.decay_at]


def check_points(config: ml_collections.ConfigDict, batch_size: int) -> list[str]:
    """Finds points of a schedule that no step of the run comes to as they are meant.

    Not part of `learning_rate_schedule`: a run that was trained with them is still evaluated.

    Args:
      config: `config.schedule`.
      batch_size: images of the global batch.

    Returns:
      A sentence for each that the run is only to be warned of: a decay before the learning rate
      has its full value, or at the very end.

    Raises:
      ValueError: the warm-up takes the whole run, or a decay lies outside of it.
    """
    total = steps_of(config.images, batch_size)
    warmup = steps_of(config.warmup_images, batch_size)
    if warmup >= total:
        raise ValueError(
            f"schedule.warmup_images is {config.warmup_images:,} and schedule.images "
            f"{config.images:,}, in steps of {batch_size:,} images: the warm-up takes the whole "
            "run, and the learning rate never reaches its full value; set "
            f"--config.schedule.warmup_images={total // 10 * batch_size}, or "
            f"--config.schedule.images above {warmup * batch_size}."
        )
    if config.name != "step":
        return []
    outside = [fraction for fraction in config.decay_at if not 0 < fraction < 1]
    if outside:
        inside = tuple(fraction for fraction in config.decay_at if 0 < fraction < 1)
        raise ValueError(
            f"schedule.decay_at has {outside[0]}, which is no fraction of the run, above 0 and "
            f"below 1; set --config.schedule.decay_at='{inside}', or leave out what is not."
        )
    warnings = []
    for fraction, step in zip(config.decay_at, _decay_steps(config, total), strict=True):
        if step <= warmup:
            warnings.append(
                f"schedule.decay_at has {fraction}, which is step {step:,} of {total:,}, and the "
                f"warm-up ends at step {warmup:,}: the learning rate decays before it has its "
                "full value; lower schedule.warmup_images or raise schedule.decay_at."
            )
        elif step == total:
            warnings.append(
                f"schedule.decay_at has {fraction}, which is the end of the run of {total:,} "
                "steps: that decay changes nothing; lower it or leave it out."
            )
    return warnings


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
