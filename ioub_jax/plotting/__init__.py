"""Pictures of data and of training runs: labels, detections, positive anchors, diagnostics.

Each function except `diagnostics` writes one PNG from plain arrays. It uses matplotlib's Figure
objects and not pyplot's global state, so that it can run in a loop, in a thread and without a
display.
Boxes are `[..., 4]` xyxy in pixels of the image they are drawn on.
"""

from ioub_jax.plotting.curves import learning_curves
from ioub_jax.plotting.diagnostics import diagnostics
from ioub_jax.plotting.overlay import draw_on_image
from ioub_jax.plotting.positive_anchors_on_image import positive_anchors
from ioub_jax.plotting.sheets import contact_sheet, labeled_sheet

__all__ = [
    "contact_sheet",
    "diagnostics",
    "draw_on_image",
    "labeled_sheet",
    "learning_curves",
    "positive_anchors",
]
