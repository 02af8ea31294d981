"""Learning-rate schedules, in images seen, and optimizers by name."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import optax

from ioub_jax.errors import ConfigError
from ioub_jax.models import layers


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate over a run: linear warm-up, then 'constant', 'step' or 'cosine'.

    The rate follows the global batch by the linear rule (Goyal et al., arXiv 1706.02677):
    `base_learning_rate * batch_size / reference_batch_size`.

    Attributes:
      name: 'constant', 'step' or 'cosine'.
      base_learning_rate: the rate at `reference_batch_size` images a step.
      reference_batch_size: the images of a step at which the rate is `base_learning_rate`.
      images: the images seen in the whole run.
      warmup_images: the images during which the rate rises to its full value.
      warmup_factor: the rate at step 0, as a fraction of the full rate.
      decay_at: for 'step', the fractions of the run at which the rate decays.
      decay_factor: the factor that multiplies the rate at each decay.

    Raises:
      ValueError: there is no schedule of that name.
    """

    name: str
    base_learning_rate: float
    reference_batch_size: int
    images: int
    warmup_images: int = 0
    warmup_factor: float = 0.333
    decay_at: tuple[float, ...] = ()
    decay_factor: float = 0.1

    def __post_init__(self) -> None:
        """Refuses unknown names."""
        if self.name not in ("constant", "step", "cosine"):
            raise ValueError(f"name is {self.name!r}; it must be 'constant', 'step' or 'cosine'.")

    def steps(self, batch_size: int) -> int:
        """The number of steps of the whole run."""
        return steps_of(self.images, batch_size)

    def learning_rate(self, batch_size: int) -> optax.Schedule:
        """The rate of every step, counted from 0, for a global batch of `batch_size` images."""
        peak = self.base_learning_rate * batch_size / self.reference_batch_size
        total, warmup = self.steps(batch_size), steps_of(self.warmup_images, batch_size)
        if self.name == "constant":
            main = optax.constant_schedule(peak)
        elif self.name == "cosine":
            main = optax.cosine_decay_schedule(peak, max(total - warmup, 1))
        else:
            # Several decays may fall on one step: on the same one, or inside the warm-up, which
            # moves them to its end. All of them apply.
            counts = collections.Counter(
                max(step - warmup, 0) for step in self.decay_steps(batch_size)
            )
            boundaries = {step: self.decay_factor**count for step, count in counts.items()}
            main = optax.piecewise_constant_schedule(peak, boundaries)
        if warmup == 0:
            return main
        ramp = optax.linear_schedule(peak * self.warmup_factor, peak, warmup)
        return optax.join_schedules([ramp, main], [warmup])

    def warnings(self, batch_size: int) -> list[str]:
        """A sentence for each decay that has no effect, or precedes the end of the warm-up."""
        if self.name != "step":
            return []
        total, warmup = self.steps(batch_size), steps_of(self.warmup_images, batch_size)
        found = []
        for fraction, step in zip(self.decay_at, self.decay_steps(batch_size), strict=True):
            if step <= warmup:
                found.append(
                    f"decay_at has {fraction}, which is step {step:,} of {total:,}, and the "
                    f"warm-up ends at step {warmup:,}: the learning rate decays before it reaches "
                    "its full value; lower warmup_images or raise decay_at."
                )
            elif step == total:
                found.append(
                    f"decay_at has {fraction}, which is the end of the run of {total:,} steps: "
                    "that decay changes nothing; lower it or leave it out."
                )
        return found

    def describe(self, batch_size: int) -> str:
        """A sentence on the rate for a global batch of `batch_size` images."""
        peak = self.base_learning_rate * batch_size / self.reference_batch_size
        line = (
            f"Learning rate: {peak:.4g} (base {self.base_learning_rate:g} x batch "
            f"{batch_size:,}/{self.reference_batch_size:,})"
        )
        if warmup := steps_of(self.warmup_images, batch_size):
            line += f", warm-up of {_counted(warmup, 'step')} from {self.warmup_factor:g} of it"
        if self.name == "cosine":
            return f"{line}, cosine to 0."
        if self.name == "constant" or not self.decay_at:
            return f"{line}, constant."
        *steps, last = sorted(max(step, warmup) for step in self.decay_steps(batch_size))
        at = f"steps {', '.join(f'{step:,}' for step in steps)} and " if steps else "step "
        return f"{line}, times {self.decay_factor:g} at {at}{last:,}."

    def decay_steps(self, batch_size: int) -> list[int]:
        """The first step after each decay of a step schedule."""
        return [round(self.steps(batch_size) * fraction) for fraction in self.decay_at]


def in_images(
    schedule: Mapping[str, Any], images_per_epoch: int, batch_size: int
) -> dict[str, Any]:
    """The fields of a `Schedule`, from lengths that may be given in epochs.

    Args:
      schedule: fields of a `Schedule`; `epochs` and `warmup_epochs` may replace `images` and
        `warmup_images`.
      images_per_epoch: the number of images of an epoch.
      batch_size: the images of a step; lengths in epochs are rounded up to whole steps.
    """
    names = {field.name for field in dataclasses.fields(Schedule)}
    values = {name: value for name, value in schedule.items() if name in names}
    for name, in_epochs in (("images", "epochs"), ("warmup_images", "warmup_epochs")):
        epochs = schedule.get(in_epochs)
        if epochs is not None:
            values[name] = steps_of(round(epochs * images_per_epoch), batch_size) * batch_size
    return values


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def steps_of(images: int, batch_size: int) -> int:
    """The smallest number of steps that see at least `images` images."""
    return -(-images // batch_size)


def decayed_parameters(params: Any, frozen: Any) -> Any:
    """Mask of the parameters with weight decay: the kernels that are not frozen.

    Args:
      params: the tree of parameters.
      frozen: tree of bool, True where a parameter is frozen.

    Returns:
      A tree of bool like `params`. Norms and biases are never decayed.
    """

    def decays(path: tuple[Any, ...], _: Any, is_frozen: bool) -> bool:
        return path[-1].key == "kernel" and not is_frozen

    return jax.tree_util.tree_map_with_path(decays, params, frozen)


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """An optimizer by name.

    Attributes:
      name: 'sgd', with momentum and with weight decay added to the gradient; 'adamw' (arXiv
        1711.05101) or 'lion' (arXiv 2302.06675), with decoupled weight decay.
      momentum: the momentum of 'sgd'.
      betas: the decay rates of the two averages of 'adamw' and 'lion'; None: their authors' values,
        (.9, .999) and (.9, .99).
      weight_decay: the weight decay of kernels; norms, biases and frozen parameters have none.
      clip_global_norm: the largest norm of the whole gradient; None: no clipping.
      backbone_factor: the factor of the backbone's learning rate.
      layer_decay: a further factor of the backbone's learning rate, which applies once to the last
        stage, twice to the stage before it, and to the stem once more than there are stages.

    Raises:
      ValueError: there is no optimizer of that name.
    """

    name: str = "sgd"
    momentum: float = 0.9
    betas: tuple[float, float] | None = None
    weight_decay: float = 1e-4
    clip_global_norm: float | None = None
    backbone_factor: float = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuses unknown names."""
        if self.name not in ("sgd", "adamw", "lion"):
            raise ValueError(f"name is {self.name!r}; it must be 'sgd', 'adamw' or 'lion'.")


def create_optimizer(
    options: OptimizerOptions, learning_rate: optax.Schedule, frozen: Any
) -> optax.GradientTransformation:
    """The optimizer that options describe.

    Args:
      options: the options.
      learning_rate: the learning rate of every step.
      frozen: tree of bool like the parameters, True where a parameter is frozen.

    Raises:
      ValueError: the options change the backbone's learning rate, but there is no backbone.
    """
    parts = []
    if options.clip_global_norm is not None:
        parts.append(optax.clip_by_global_norm(options.clip_global_norm))

    def decayed(params: Any) -> Any:
        return decayed_parameters(params, frozen)

    if options.name == "sgd":
        parts.append(optax.add_decayed_weights(options.weight_decay, mask=decayed))
        parts.append(optax.sgd(learning_rate, momentum=options.momentum))
    else:
        create = {"adamw": optax.adamw, "lion": optax.lion}[options.name]
        betas = {} if options.betas is None else dict(zip(("b1", "b2"), options.betas, strict=True))
        parts.append(
            create(learning_rate, **betas, weight_decay=options.weight_decay, mask=decayed)
        )
    if options.backbone_factor != 1.0 or options.layer_decay != 1.0:
        if "backbone" not in frozen:
            raise ValueError(
                f"backbone_factor is {options.backbone_factor} and layer_decay "
                f"{options.layer_decay}, but the network has no module called 'backbone'; leave "
                "both at 1, or give the module this name."
            )
        parts.append(_scaled_by(rate_factors(frozen, options.backbone_factor, options.layer_decay)))
    return optax.chain(*parts)


def rate_factors(params: Any, backbone_factor: float, layer_decay: float) -> Any:
    """Factors of the learning rate for every parameter.

    Args:
      params: a tree like the parameters.
      backbone_factor: as in `OptimizerOptions`.
      layer_decay: as in `OptimizerOptions`.

    Returns:
      A tree of float like `params`. The modules of a backbone whose names start with 'pyramid' have
      the factor 1 of the heads, because neither was pretrained.
    """

    def stage_of(path: tuple[Any, ...]) -> int | None:
        names = tuple(entry.key for entry in path)
        return layers.stage_of(names[1:]) if names[0] == "backbone" and names[1:] else None

    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    last = max((stage for path in paths if (stage := stage_of(path)) is not None), default=0)

    def factor(path: tuple[Any, ...], _: Any) -> float:
        if path[0].key != "backbone" or (path[1:] and path[1].key.startswith("pyramid")):
            return 1.0
        stage = stage_of(path)
        below = 1 + last - (last if stage is None else stage)
        return float(backbone_factor * layer_decay**below)

    return jax.tree_util.tree_map_with_path(factor, params)


def _scaled_by(factors: Any) -> optax.GradientTransformation:
    """A stateless transformation that multiplies every update by its factor."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda update, by: update * by, updates, factors)
    )


def check_optimizer(optimizer: Any) -> None:
    """Checks that an object is an optimizer.

    Raises:
      ConfigError: the object is not an optax transformation.
    """
    if not (callable(getattr(optimizer, "init", None)) and hasattr(optimizer, "update")):
        raise ConfigError(
            f"optimizer is {optimizer!r}; it must be an optax transformation, such as "
            "optax.adamw(1e-3)."
        )


def with_frozen(
    optimizer: optax.GradientTransformation, frozen: Any
) -> optax.GradientTransformation:
    """A user's optimizer, extended so that it leaves frozen parameters unchanged.

    Args:
      optimizer: the optimizer, which does not know of frozen parameters.
      frozen: tree of bool like the parameters, True where a parameter is frozen.
    """
    if not any(jax.tree.leaves(frozen)):
        return optimizer
    return optax.chain(optimizer, optax.masked(optax.set_to_zero(), frozen))
