"""The jax that is installed, and those that pyproject.toml excludes."""

import pathlib
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.requirements import Requirement

from ioub_jax.commands import command_line

PYPROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"


@pytest.mark.parametrize("count", [32_769, 40_000])
def test_squared_norms_of_many_mapped_points_are_right(count):
    """On CPUs jaxlib 0.10.2 gets those beyond the 32,768th wrong by up to .8 % (issue 39103)."""
    first = np.arange(count, dtype=np.float32)
    points = np.stack([first, np.zeros_like(first), np.zeros_like(first)], axis=1)
    matrix = jnp.eye(3, dtype=jnp.float32)

    @jax.jit
    def squared_norms(points):
        return jax.vmap(lambda point: jnp.sum((matrix @ point) ** 2))(points)

    # The points are (i, 0, 0), and the map is the identity.
    np.testing.assert_allclose(squared_norms(points), first.astype(np.float64) ** 2, rtol=1e-6)


def test_the_versions_that_commands_tell_of_are_those_that_are_excluded():
    dependencies = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    for requirement in map(Requirement, dependencies):
        excluded = {part.version for part in requirement.specifier if part.operator == "!="}
        assert excluded == set(command_line.FAULTY_JAX), requirement
    assert {requirement.name for requirement in map(Requirement, dependencies)} == {"jax", "jaxlib"}


@pytest.mark.parametrize("package", ["jax", "jaxlib"])
def test_a_faulty_version_is_told_once(package, monkeypatch, caplog):
    command_line._tell_of_faulty_jax()
    assert not caplog.messages  # of what is installed
    versions = {"jax": "0.10.1", "jaxlib": "0.10.1"} | {package: "0.10.2"}
    monkeypatch.setattr(command_line.importlib.metadata, "version", versions.get)
    command_line._tell_of_faulty_jax()
    assert caplog.messages == [
        f"{package} 0.10.2 computes wrong numbers and may crash on CPUs (jax issues 39103 and "
        "39257); install another: pip install -U 'jax!=0.10.2,!=0.11.0' 'jaxlib!=0.10.2,!=0.11.0'"
    ]
