"""Object detectors in JAX: the IoU-balanced losses and what trains and evaluates with them."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ioub_jax import inference

__all__ = ["load"]
__version__ = "0.1.0"


def load(
    source: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    ema: bool = True,
    batch_size: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> "inference.ObjectDetector":
    """A trained detector to call with images: see `ioub_jax.inference.load`.

    Needs the extra `train`; whoever imports the losses alone needs jax and nothing else.
    """
    from ioub_jax import inference

    return inference.load(
        source, checkpoint=checkpoint, ema=ema, batch_size=batch_size, changes=changes
    )
