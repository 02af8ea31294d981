"""The compiled steps: one that trains, one that measures w_loc, one that detects.

`jax.jit` over a mesh with the one axis `data`: the batch is split over it, the state is on every
device, and XLA adds the all-reduce. Sums over the batch are written as on one device.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from ioub_jax import boxes, matching, objective, postprocess
from ioub_jax.devices import placement
from ioub_jax.models import Predictions, convolutions, layers
from ioub_jax.training import gradients, train_state
from ioub_jax.training.train_state import TrainState

Batch = Mapping[str, jax.Array]
Anchors = tuple[jax.Array, ...]


def objective_options(config: ml_collections.ConfigDict) -> objective.ObjectiveOptions:
    """The objective that `config.loss` and `config.anchors` describe.

    Raises:
      ValueError: the losses contradict each other or the model; one sentence that names the key.
    """
    name, model = config.loss.classification.name, config.model.name
    if (name == "softmax") != (model == "ssd"):
        raise ValueError(
            f"loss.classification.name is {name!r}, but model.name is {model!r}: 'softmax' is the "
            "loss of 'ssd', whose logits have a column for the background, and of nothing else."
        )
    return objective.ObjectiveOptions(
        classification=objective.ClassificationOptions(**config.loss.classification),
        localization=objective.LocalizationOptions(**config.loss.localization),
        normalizer=config.loss.normalizer,
        box_weights=tuple(config.anchors.box_weights),
    )


def _roles(batch: Batch, config: ml_collections.ConfigDict) -> tuple[jax.Array, jax.Array]:
    """Which ground-truth slots are matched, and which only ignore the anchors inside them."""
    ignored = batch["ignored"]
    valid = batch["valid"]
    for flag in ("crowd", "difficult"):
        treatment = config[flag]
        if treatment not in ("ignore", "drop", "keep"):
            raise ValueError(
                f"matcher.{flag} is {treatment!r}; it must be 'ignore', 'drop' or 'keep'."
            )
        if treatment == "ignore":
            ignored = ignored | batch[flag]
        elif treatment == "drop":
            valid = valid & ~batch[flag]
    return valid, ignored


def match_batch(
    batch: Batch, anchors: Anchors, config: ml_collections.ConfigDict
) -> tuple[matching.Matches, jax.Array]:
    """Matches a batch's ground truth to all anchors.

    Args:
      batch: `boxes` `[B, M, 4]`, `labels`, `valid`, `crowd`, `difficult` and `ignored` `[B, M]`.
      anchors: one `[N_l, 4]` a level.
      config: `config.matcher`.

    Returns:
      The matches, and the matched boxes `[B, N, 4]`.
    """
    valid, ignored = _roles(batch, config)
    matches = matching.match(
        jnp.concatenate(anchors),
        batch["boxes"],
        batch["labels"],
        valid,
        ignored,
        foreground_iou=config.foreground_iou,
        background_iou=config.background_iou,
        low_quality=config.low_quality,
        ignore_iof=config.ignore_iof,
    )
    return matches, matching.gather_boxes(batch["boxes"], matches.gt_index)


def _forward(model: nn.Module, rematerialize: str = "nothing") -> gradients.Forward:
    """The network as it trains, and what its backward pass computes once more."""
    kept = {
        "activations": jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_saveable,
            # It does not see inside of those that have a gradient of ours.
            jax.checkpoint_policies.save_only_these_names(convolutions.ACTIVATION),
        ),
        "blocks": jax.checkpoint_policies.save_only_these_names(layers.BLOCK),
    }

    def forward(params: Any, batch_stats: Any, images: jax.Array) -> tuple[Predictions, Any]:
        predictions: Predictions
        variables = {"params": params, "batch_stats": batch_stats}
        predictions, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return predictions, updates.get("batch_stats", batch_stats)

    if rematerialize == "nothing":
        return forward
    rematerialized: gradients.Forward = jax.checkpoint(forward, policy=kept[rematerialize])
    return rematerialized


def _objective_function(
    config: ml_collections.ConfigDict,
) -> Callable[[TrainState, Batch, Anchors], gradients.ObjectiveOf]:
    """Builds `objective_function(state, batch, anchors)(predictions)`."""
    options = objective_options(config)

    def objective_function(
        state: TrainState, batch: Batch, anchors: Anchors
    ) -> gradients.ObjectiveOf:
        def objective_of(predictions: Predictions) -> objective.Objective:
            matches, targets = match_batch(batch, anchors, config.matcher)
            return objective.detection_objective(
                predictions.logits,
                predictions.deltas,
                anchors,
                matches,
                targets,
                w_loc=state.w_loc,
                moving_average=state.moving_average,
                options=options,
            )

        return objective_of

    return objective_function


def _predictions(model: nn.Module, variables: Any, batch: Batch) -> Predictions:
    """Predictions of a trained detector, anchor by anchor."""
    predictions: Any = model.apply(variables, batch["image"], train=False)
    per_anchor: Predictions = predictions.per_anchor()
    return per_anchor


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    config: ml_collections.ConfigDict,
    mesh: Mesh,
) -> jax.stages.Wrapped:
    """Builds `train_step(state, batch, anchors) -> (state, metrics)`; the old state is donated."""
    forward = _forward(model, config.runtime.rematerialize)
    objective_function = _objective_function(config)
    gradient_of = gradients.gradient_at_once
    if config.runtime.gradient_accumulation > 1:
        gradient_of = functools.partial(
            gradients.accumulated_gradient, parts=config.runtime.gradient_accumulation, mesh=mesh
        )

    def train_step(
        state: TrainState, batch: Batch, anchors: Anchors
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        objective_of = objective_function(state, batch, anchors)
        gradient = gradient_of(
            forward, objective_of, state.params, state.batch_stats, batch["image"]
        )
        updates, opt_state = optimizer.update(gradient.params, state.opt_state, state.params)
        metrics = gradient.objective.metrics | {
            "gradient_norm": optax.tree.norm(gradient.params),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=gradient.batch_stats,
            opt_state=opt_state,
            moving_average=gradient.objective.moving_average,
        )
        if config.optimizer.ema_decay is not None:
            new_state = train_state.with_average(new_state, config.optimizer.ema_decay)
        return new_state, metrics

    everywhere = placement.replicated(mesh)
    return jax.jit(train_step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def make_calibration_step(
    model: nn.Module, config: ml_collections.ConfigDict
) -> Callable[[TrainState, Batch, Anchors], tuple[jax.Array, jax.Array]]:
    """Builds the step that gives the two sums whose ratio is w_loc (DESIGN section 2)."""
    forward, objective_function = _forward(model), _objective_function(config)

    @jax.jit
    def calibration_step(
        state: TrainState, batch: Batch, anchors: Anchors
    ) -> tuple[jax.Array, jax.Array]:
        predictions, _ = forward(state.params, state.batch_stats, batch["image"])
        metrics = objective_function(state, batch, anchors)(predictions).metrics
        return metrics["calibration_plain"], metrics["calibration_balanced"]

    return calibration_step


class Inspection(NamedTuple):
    """What the objective sees of every anchor of a batch, all levels concatenated.

    Attributes:
      boxes: `[B, N, 4]` predicted boxes, in pixels of the network's input.
      ious: `[B, N]` IoU of the predicted box with its matched box; 0 where not positive.
      positive: `[B, N]` bool.
      weights: `[B, N]` IoU-balanced classification weights; 1 where not positive.
    """

    boxes: jax.Array
    ious: jax.Array
    positive: jax.Array
    weights: jax.Array


def make_inspection_step(
    model: nn.Module, config: ml_collections.ConfigDict
) -> Callable[[Any, Batch, Anchors], Inspection]:
    """Builds `inspect(variables, batch, anchors)`, for pictures of what the losses weigh."""
    options = objective_options(config)

    @jax.jit
    def inspect(variables: Any, batch: Batch, anchors: Anchors) -> Inspection:
        predictions = _predictions(model, variables, batch)
        matches, targets = match_batch(batch, anchors, config.matcher)
        scalars = objective.per_anchor_scalars(
            predictions.logits, predictions.deltas, anchors, matches, targets, options
        )
        sizes = [level.shape[0] for level in anchors]
        deltas = jnp.concatenate(predictions.deltas, axis=1)
        return Inspection(
            boxes=boxes.decode(deltas, jnp.concatenate(anchors)[None], weights=options.box_weights),
            ious=scalars.ious,
            positive=scalars.positive,
            weights=objective.classification_weights(scalars, sizes, options.classification),
        )

    return inspect


def make_predict_step(
    model: nn.Module, config: ml_collections.ConfigDict, mesh: Mesh
) -> Callable[[Any, Batch, Anchors], postprocess.Detections]:
    """Builds `predict(variables, batch, anchors)`: detections in pixels of the original images.

    In the slots without a detection `scores` has the highest score of the image's candidates, which
    tells why there is none.
    """
    find_candidates = make_candidates(model, config, mesh)
    suppress = make_suppression(config, mesh)

    @jax.jit
    def predict(variables: Any, batch: Batch, anchors: Anchors) -> postprocess.Detections:
        candidates = find_candidates(variables, batch, anchors)
        detections = suppress(candidates)
        highest = jnp.max(candidates.scores, axis=1, keepdims=True)
        scores = jnp.where(detections.valid, detections.scores, highest)
        return in_original_pixels(detections._replace(scores=scores), batch)

    return predict


def make_suppression(
    config: ml_collections.ConfigDict, mesh: Mesh
) -> Callable[[postprocess.Candidates], postprocess.Detections]:
    """Builds `suppress(candidates)`, NMS as configured; not compiled."""
    options = config.evaluation
    suppress = functools.partial(
        postprocess.suppress, nms_iou=options.nms_iou, max_detections=options.max_detections
    )
    return placement.on_each_device(suppress, mesh)


def make_candidates(
    model: nn.Module, config: ml_collections.ConfigDict, mesh: Mesh
) -> Callable[[Any, Batch, Anchors], postprocess.Candidates]:
    """Builds `find_candidates(variables, batch, anchors)`, what goes into NMS; not compiled."""
    options = config.evaluation
    candidates: Callable[..., postprocess.Candidates]
    if config.model.name == "ssd":
        candidates = functools.partial(
            postprocess.candidates_softmax, candidates_per_class=options.candidates_per_class
        )
    else:
        candidates = functools.partial(
            postprocess.candidates, candidates_per_level=options.candidates_per_level
        )

    def of_images(images: tuple[Predictions, jax.Array], anchors: Anchors) -> Any:
        predictions, sizes = images
        return candidates(
            predictions.logits,
            predictions.deltas,
            anchors,
            sizes,
            score_threshold=options.score_threshold,
            box_weights=tuple(config.anchors.box_weights),
        )

    def find_candidates(variables: Any, batch: Batch, anchors: Anchors) -> postprocess.Candidates:
        images = _predictions(model, variables, batch), batch["image_size"]
        found: postprocess.Candidates = placement.on_each_device(of_images, mesh)(images, anchors)
        return found

    return find_candidates


def in_original_pixels(detections: postprocess.Detections, batch: Batch) -> postprocess.Detections:
    """Detections of a batch in pixels of the original images, from those of the network's input."""
    scale = jnp.concatenate([batch["scale"][:, ::-1]] * 2, axis=1)[:, None]
    return detections._replace(boxes=detections.boxes / scale)
