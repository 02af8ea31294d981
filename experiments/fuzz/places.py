"""Places in the package where errors arise, which distinguish outcomes."""

import pathlib
import traceback


def place_of(error: BaseException) -> str:
    """The innermost line of the package in an error's trace.

    If the error was raised while another one was handled, the trace of the other one is used, since
    it is more specific.
    """
    while error.__context__ is not None:
        error = error.__context__
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/ioub_jax/" in frame.filename] or frames
    return f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}"
