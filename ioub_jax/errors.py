"""What every error has in common whose message is one sentence for the user."""


class UserError(Exception):
    """Something that the user can mend: commands tell the message, and no traceback.

    Everything else is a bug, or of the machine (`experiments.machine`).
    """
