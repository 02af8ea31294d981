"""The error of everything that brings weights in."""

from ioub_jax.errors import UserError


class WeightsError(UserError, ValueError):
    """A weights file that cannot be used; its message is one sentence for the user."""
