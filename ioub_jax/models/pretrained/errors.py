"""The error of everything that brings weights in."""


class WeightsError(ValueError):
    """A weights file that cannot be used; its message is one sentence for the user."""
