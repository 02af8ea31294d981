"""Errors whose message is one sentence for the user, who can mend the fault that it names."""


class UserError(Exception):
    """An error that the user can mend; commands print its message without a traceback.

    All other errors are bugs, or errors of the machine (`ioub_jax.commands.machine`).
    """


class ConfigError(UserError, ValueError):
    """A configuration, a run or a choice of parts that cannot be used."""


class WeightsError(UserError, ValueError):
    """A file of weights that cannot be used."""
