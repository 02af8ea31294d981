"""docs/numerics.md: every test that it names is there."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_every_test_that_the_page_names_is_there():
    page = (ROOT / "docs" / "numerics.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 30
    for row in rows:
        assert "`tests/" in row or row.rstrip(" |").endswith("Test"), f"no test: {row}"
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{path} has no {name}"
