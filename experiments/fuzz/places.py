"""Where in the package an error comes from, which tells one outcome from another."""

import pathlib
import traceback


def place_of(error: BaseException) -> str:
    """The innermost line of an error's trace that is of the package.

    Of an error that was raised for another one it is that of the other one, which says more.
    """
    while error.__context__ is not None:
        error = error.__context__
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/ioub_jax/" in frame.filename] or frames
    return f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}"
