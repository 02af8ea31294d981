"""Object detectors in JAX: the IoU-balanced losses, with training and evaluation around them.

Importing the package imports nothing else. Its names are imported when they are first used:
`ioub_jax.losses` and its neighbors need only jax, while `build`, `train` and `load` need the extra
`train`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ioub_jax import (
        anchors,
        assigners,
        boxes,
        configs,
        data,
        detectors,
        evaluation,
        export,
        losses,
        matching,
        models,
        objective,
        plotting,
        postprocess,
        weights,
    )
    from ioub_jax.building import build, train
    from ioub_jax.inference import load
    from ioub_jax.trained import load_run

__all__ = [
    "anchors",
    "assigners",
    "boxes",
    "build",
    "configs",
    "data",
    "detectors",
    "evaluation",
    "export",
    "load",
    "load_run",
    "losses",
    "matching",
    "models",
    "objective",
    "plotting",
    "postprocess",
    "train",
    "weights",
]
__version__ = "0.2.0"

# Name that is not a module of this package -> the module that defines it.
_HOMES = {"build": "building", "load": "inference", "load_run": "trained", "train": "building"}


def __getattr__(name: str) -> Any:
    """Imports a name of the package when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        found = importlib.import_module(f"{__name__}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
