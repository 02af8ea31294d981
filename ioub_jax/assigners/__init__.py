"""Assignment of anchors, or locations, of a single-stage detector to boxes by rules beyond IoU.

Every assigner is a pure function for use under `jit`, with one signature: the anchors level by
level, the ground truth as in `matching.match`, then options. `task_aligned` and `sim_ota` also take
the detector's predictions. Images are assigned independently of each other, so devices that share a
batch do not communicate. No array is larger than `[B, N]` or than the few candidates of each
ground-truth slot; an array `[B, N, M]` of all pairs never exists. No gradient flows.

A box without area, or with a coordinate that is not finite, is assigned no anchor. Regions to
ignore have no positives; an anchor inside such a region is ignored unless it is positive. Ties go
to the lower index among anchors and to the lower slot among boxes.
"""

from ioub_jax.assigners.adaptive_selection import atss
from ioub_jax.assigners.center_sampling import FcosRule, fcos
from ioub_jax.assigners.optimal_transport import TransportRule, sim_ota
from ioub_jax.assigners.task_alignment import AlignmentRule, SoftMatches, task_aligned

__all__ = [
    "AlignmentRule",
    "FcosRule",
    "SoftMatches",
    "TransportRule",
    "atss",
    "fcos",
    "sim_ota",
    "task_aligned",
]
