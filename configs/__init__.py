"""The recipes; what they share is in `ioub_jax.configs`, and here as it was before."""

from ioub_jax.configs import arguments, backbones, defaults, ssd_defaults

__all__ = ["arguments", "backbones", "defaults", "ssd_defaults"]
