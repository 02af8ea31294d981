"""Lists the commands, each with what it does.

python -m experiments
"""

import ast
import pathlib
import sys


def commands() -> dict[str, str]:
    """Every command and the first sentence of its docstring, read without importing it."""
    folder = pathlib.Path(__file__).parent
    found = {}
    for path in sorted((*folder.glob("*.py"), *folder.glob("*/__main__.py"))):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.parent.name if path.name == "__main__.py" else path.stem
        # A command says how it is called; what only serves commands does not.
        if f"python -m experiments.{name} " in docstring:
            found[name] = docstring.partition("\n\n")[0].replace("\n", " ")
    return found


def main() -> None:
    """Prints the list; exit code 1 where a command was asked for that does not exist."""
    listed = commands()
    lines = ["python -m experiments.COMMAND --help tells a command's flags."]
    lines += [f"  {name:<{max(map(len, listed))}}  {text}" for name, text in listed.items()]
    if len(sys.argv) > 1 and sys.argv[1] not in ("--help", "-h", "help"):
        name = sys.argv[1]
        if name in listed:
            sys.exit(f"Write it with a dot: python -m experiments.{name}")
        sys.exit("\n".join([f"There is no command {name!r}.", *lines]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
