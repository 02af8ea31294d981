"""Errors whose message is one sentence for the user, who can fix the fault that it names."""


class UserError(Exception):
    """An error that the user can fix; commands print its message without a traceback.

    All other errors are bugs, or errors of the machine (`ioub_jax.commands.machine`).
    """


class ConfigError(UserError, ValueError):
    """A configuration, a run or a combination of parts cannot be used."""


class WeightsError(UserError, ValueError):
    """A file of weights cannot be used."""
