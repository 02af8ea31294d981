"""What bad input gets: one sentence that names the file and the way out."""

ON_ERROR = ("raise", "skip")


class DataError(ValueError):
    """Something is wrong with a file of the data set; the message is the sentence for the user.

    It carries nothing but that sentence, so it crosses from a worker process unchanged.
    """


def check_on_error(on_error: str) -> str:
    """Returns `on_error` if it is a known value of `config.data.on_error`.

    Raises:
        ValueError: If it is neither 'raise' nor 'skip'.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"config.data.on_error is {on_error!r} and must be 'raise' or 'skip'.")
    return on_error
