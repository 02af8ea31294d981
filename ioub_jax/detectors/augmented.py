"""A detector that merges its detections from several views of an image."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ioub_jax import box_fusion, postprocess
from ioub_jax.detectors import views as view_parts
from ioub_jax.detectors.detector import Anchors, Batch
from ioub_jax.detectors.placed import PlacedDetector, in_original_pixels
from ioub_jax.detectors.views import Views
from ioub_jax.devices import placement

# The paper's value. Candidates within a view are suppressed by the IoU in the detector's options.
_FUSION_IOU = 0.55


@dataclasses.dataclass(frozen=True, eq=False)
class AugmentedDetector(PlacedDetector):
    """A `PlacedDetector` whose `predict` is one program with all views (test-time augmentation).

    The images in its batches have the largest scale.

    Attributes:
      views: the views.
    """

    views: Views = dataclasses.field(default_factory=Views)

    @functools.cached_property
    def predict(self) -> Callable[[Any, Batch, Anchors], postprocess.Detections]:
        """As in a `PlacedDetector`; the anchors are those of the largest canvas."""

        @jax.jit
        def predict(variables: Any, batch: Batch, anchors: Anchors) -> postprocess.Detections:
            found = [
                self._candidates_of(variables, batch, anchors, scale=scale, flip=flip)
                for scale, flip in self.views.all
            ]
            merge = self._together if self.views.merge == "nms" else self._fused
            detections = merge(found)
            highest = jnp.max(
                jnp.concatenate([part.scores for part in found], axis=1), axis=1, keepdims=True
            )
            scores = jnp.where(detections.valid, detections.scores, highest)
            return in_original_pixels(detections._replace(scores=scores), batch)

        return predict

    def _candidates_of(
        self, variables: Any, batch: Batch, anchors: Anchors, *, scale: float, flip: bool
    ) -> postprocess.Candidates:
        """Returns the NMS candidates of one view, in pixels of the batch's canvas."""
        images, sizes = batch["image"], batch["image_size"]
        largest = (images.shape[1], images.shape[2])
        canvas = self.views.canvas(largest, scale)
        factors = jnp.asarray(view_parts.ratio(canvas, largest))[None]

        def view(parts: Any) -> Any:
            images, sizes = parts
            turned = view_parts.mirrored(images, sizes) if flip else images
            return view_parts.scaled(turned, canvas), sizes * factors

        seen, seen_sizes = placement.on_each_device(view, self.mesh)((images, sizes))
        if canvas != largest:
            anchors = tuple(map(jnp.asarray, self.host_anchors(canvas)))
        found = self.find_candidates(
            variables, {**batch, "image": seen, "image_size": seen_sizes}, anchors
        )
        boxes = found.boxes / jnp.concatenate([factors[:, ::-1]] * 2, axis=1)[:, None]
        if flip:
            boxes = view_parts.mirrored_boxes(boxes, sizes)
        return found._replace(boxes=boxes)

    def _together(self, found: Sequence[postprocess.Candidates]) -> postprocess.Detections:
        """Returns the detections among the candidates of all views together."""
        return self.suppress(jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *found))

    def _fused(self, found: Sequence[postprocess.Candidates]) -> postprocess.Detections:
        """Returns the fused detections of all views."""
        fused: postprocess.Detections = placement.on_each_device(self._fused_here, self.mesh)(
            tuple(found)
        )
        return fused

    def _fused_here(self, found: Sequence[postprocess.Candidates]) -> postprocess.Detections:
        """As `_fused`, for the images of one device."""
        # The views are treated as images of one batch, so that a single NMS suffices.
        most = max(candidates.scores.shape[1] for candidates in found)
        padded = [
            jax.tree.map(functools.partial(_padded, count=most), candidates) for candidates in found
        ]
        of_views = self.suppress_here(jax.tree.map(lambda *parts: jnp.concatenate(parts), *padded))
        views, count = len(found), of_views.scores.shape[1]
        together = jax.tree.map(lambda part: _joined(part, views), of_views)
        of_image = functools.partial(
            box_fusion.weighted_box_fusion,
            models=jnp.repeat(jnp.arange(views, dtype=jnp.int32), count),
            weights=(1.0,) * views,
            iou_threshold=_FUSION_IOU,
            max_detections=self.detector.options.max_detections,
        )
        boxes, scores, labels, valid = jax.vmap(of_image)(*together)
        return postprocess.Detections(boxes, scores, jnp.where(valid, labels, -1), valid)


def _padded(part: jax.Array, count: int) -> jax.Array:
    """Pads an array `[B, P, ...]` with zeros or False from P to `count`."""
    rest = [(0, 0), (0, count - part.shape[1]), *[(0, 0)] * (part.ndim - 2)]
    return jnp.pad(part, rest)


def _joined(part: jax.Array, views: int) -> jax.Array:
    """Joins the views of each of B images: `[views * B, K, ...]` to `[B, views * K, ...]`."""
    of_views = part.reshape(views, -1, *part.shape[1:]).swapaxes(0, 1)
    return of_views.reshape(of_views.shape[0], -1, *part.shape[2:])
