"""The recipes; their common parts are in `ioub_jax.configs`, and still importable from here."""

import sys

from ioub_jax.configs import arguments, backbones, defaults, ssd_defaults

__all__ = ["arguments", "backbones", "defaults", "ssd_defaults"]

# Recipes that were copied and changed may import from these as from modules of this package.
for _name in __all__:
    sys.modules[f"{__name__}.{_name}"] = globals()[_name]
