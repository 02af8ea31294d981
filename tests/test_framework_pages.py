"""The pages on the losses in Flax, Equinox and plain functions, run; and their notebook.

The programs of a page go from top to bottom in one namespace; their own assertions say what they
reach. The cells of `notebooks/frameworks.ipynb` are these programs.
"""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from ioub_jax.models import resnet
from notebooks import execute

HOW_TO = pathlib.Path(__file__).resolve().parents[1] / "docs" / "how-to"
#: In the order of the notebook.
PAGES = (
    "losses-in-plain-functions",
    "losses-in-flax-linen",
    "losses-in-flax-nnx",
    "losses-under-transformations",
    "losses-in-equinox",
)


def programs(page):
    text = (HOW_TO / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def run(page):
    """What the programs of a page define."""
    names = {"__name__": page}
    for number, program in enumerate(programs(page), start=1):
        exec(compile(program, f"{page}.md, program {number}", "exec"), names)
    return names


def test_every_page_is_run():
    assert {path.stem for path in HOW_TO.glob("losses-*.md")} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_all_pages_begin_with_the_same_data_and_losses(page):
    assert programs(page)[0] == programs(PAGES[0])[0]


def test_plain_functions():
    assert run("losses-in-plain-functions")["history"][-1] < 0.5


@pytest.mark.slow
def test_flax_linen():
    names = run("losses-in-flax-linen")
    variables = {"params": names["params"], "batch_stats": names["statistics"]}
    logits, deltas = names["network"].apply(variables, names["images"], train=False)
    # With the averages of sixty batches, .9 each, as with the statistics of the last one.
    assert names["detection_loss"](logits, deltas, *names["batch"][1:]) < 0.5


@pytest.mark.slow
def test_flax_nnx(monkeypatch):
    # A shallower one compiles in half the time.
    blocks = resnet.RESNETS["resnet18"]._replace(blocks=(1, 1, 1, 1))
    monkeypatch.setitem(resnet.RESNETS, "resnet18", blocks)
    names = run("losses-in-flax-nnx")
    # The stem, two norms in each of four blocks, and one in the shortcuts of three: 12 norms.
    assert len(nnx.to_flat_state(nnx.state(names["model"], nnx.BatchStat))) == 24
    init = functools.partial(names["detector"].network.init, train=False)
    expected = jax.eval_shape(init, jax.random.key(0), names["labeled"]["image"])
    assert jax.tree.map(jnp.shape, names["variables"]) == jax.tree.map(jnp.shape, expected)


def test_equinox():
    pytest.importorskip("equinox", reason="Equinox is not installed: pip install equinox")
    assert run("losses-in-equinox")["history"][-1] < 0.5


def test_transformations(capsys):
    names = run("losses-under-transformations")
    assert names["mesh"].size == 2
    assert "under jax.checkpoint" in capsys.readouterr().out


def test_the_cells_of_the_notebook_are_the_programs_of_the_pages():
    cells = [cell.source for cell in execute.read("frameworks").cells if cell.cell_type == "code"]
    # The first finds the package, another one Equinox.
    cells = [source for source in cells[1:] if not source.startswith("if importlib")]
    expected = programs(PAGES[0])[:1]
    for page in PAGES:
        expected += programs(page)[1:]
    assert cells == [program.rstrip() for program in expected]
