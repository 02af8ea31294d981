"""The recipes; what they share is in `ioub_jax.configs`, and here as it was before."""

import sys

from ioub_jax.configs import arguments, backbones, defaults, ssd_defaults

__all__ = ["arguments", "backbones", "defaults", "ssd_defaults"]

# Recipes that were copied and changed may import from these as from modules of this package.
for _name in __all__:
    sys.modules[f"{__name__}.{_name}"] = globals()[_name]
