"""Assignment of anchors, or locations, of a single-stage detector to boxes by rules beyond IoU.

Every assigner is a pure function for use under `jit`, with one signature: the anchors level by
level, the ground truth as `matching.match` takes it, then options. `task_aligned` and `sim_ota`
also take what the detector predicts. Images are assigned independently of each other: devices that
share a batch tell each other nothing. No array is larger than `[B, N]` numbers, or than the few
candidates of each ground-truth slot: the `[B, N, M]` of all pairs never exist. No gradient flows.

A box that has no area, or a coordinate that is not finite, is assigned nothing. Regions to ignore
give no positive; an anchor inside one that is not positive is ignored. Of equals the first wins: of
anchors the lower index, of boxes the lower slot.
"""

from ioub_jax.assigners.adaptive_selection import atss
from ioub_jax.assigners.centre_sampling import FcosRule, fcos
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
