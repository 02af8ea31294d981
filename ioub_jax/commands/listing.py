"""The command `ioub`: runs a verb, or lists all of them."""

import ast
import pathlib
import runpy
import signal
import sys
from collections.abc import Mapping
from types import MappingProxyType

from ioub_jax.commands import machine

_FOLDER = pathlib.Path(__file__).parent


def verbs() -> dict[str, str]:
    """Every verb and the first sentence of its docstring, read without importing it."""
    found = {}
    for path in sorted(_FOLDER.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        # The docstring of a verb shows how to call it; those of auxiliary modules do not.
        if f"\nioub {path.stem} " in docstring:
            found[path.stem] = docstring.partition("\n\n")[0].replace("\n", " ")
    return found


def _lines(caller: str, listed: dict[str, str]) -> list[str]:
    width = max(map(len, listed))
    return [
        f"{caller}VERB --help lists a verb's flags.",
        *(f"  {name:<{width}}  {text}" for name, text in listed.items()),
    ]


def main(caller: str = "ioub ", more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Runs the verb that the command line names, or prints the list of verbs.

    The exit code is 1 if there is no such verb.

    Args:
      caller: the text before a verb on the command line.
      more: verbs that are not in the package, each with a sentence on what it does.
    """
    listed = {**verbs(), **more}
    name = sys.argv[1] if len(sys.argv) > 1 else "help"
    if name in ("--help", "-h", "help"):
        # A reader such as `head` may close the pipe early, which is not an error to report.
        if hasattr(signal, "SIGPIPE"):  # not on Windows
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print("\n".join(_lines(caller, listed)))
        return
    if name not in listed:
        sys.exit("\n".join([f"There is no verb {name!r}.", *_lines(caller, listed)]))
    if caller.endswith("."):
        sys.exit(f"Write it with a dot: {caller}{name}")
    machine.prepare()
    del sys.argv[1]
    runpy.run_module(f"ioub_jax.commands.{name}", run_name="__main__", alter_sys=True)
