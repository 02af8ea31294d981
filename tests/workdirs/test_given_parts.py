"""Parts of somebody's own are known by their names when a run goes on."""

import flax.linen as nn
import optax
import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import given_parts


class Network(nn.Module):
    """Somebody's own."""


def some_function():
    """Somebody's own."""


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Network(), f"{__name__}.Network"),
        (Network, f"{__name__}.Network"),
        (some_function, f"{__name__}.some_function"),
    ],
)
def test_qualified_names(part, name):
    assert given_parts.qualified_name(part) == name


def test_an_optimizer_of_optax_has_the_name_of_what_made_it():
    names = [
        given_parts.qualified_name(optimizer)
        for optimizer in (
            optax.adamw(1e-3),
            optax.lion(1e-3),
            optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
            optax.sgd(1e-3),
        )
    ]
    assert all(name.startswith("optax.") for name in names)
    assert "ScaleByAdamState" in names[0] and "ScaleByLionState" in names[1]
    assert len(set(names)) == len(names)
    assert names[0] == given_parts.qualified_name(optax.adamw(2e-3))


def begun(workdir, given):
    given_parts.claim(workdir, given)
    workdir.mkdir(exist_ok=True)
    (workdir / "config.json").write_text("{}")
    return workdir


def test_a_new_workdir_keeps_them(tmp_path):
    run = begun(tmp_path / "run", {"network": "mine.Network"})
    assert given_parts.read(run) == {"network": "mine.Network"}
    given_parts.check(run, {"network": "mine.Network"})
    given_parts.check(tmp_path / "new", {"network": "another.Network"})
    assert not (begun(tmp_path / "configured", {}) / "parts.json").exists()


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"network": "a.B"}, {"network": "a.C"}, "a run with network=a.B, not network=a.C; give"),
        ({"network": "a.B"}, {}, "with network=a.B, not the network of its configuration; give"),
        ({}, {"source": "a.B"}, "with the source of its configuration, not source=a.B; give"),
    ],
)
def test_others_are_refused(tmp_path, before, now, words):
    run = begun(tmp_path / "run", before)
    with pytest.raises(ConfigError, match=words):
        given_parts.check(run, now)


def test_what_loads_a_run_has_to_be_given_its_network(tmp_path):
    run = begun(tmp_path / "run", {"network": f"{__name__}.Network"})
    given_parts.check_detector(run, network=Network())
    with pytest.raises(ConfigError, match=r"network of its configuration; .*load\(workdir, netw"):
        given_parts.check_detector(run)
    with pytest.raises(ConfigError, match=r"trained with the network of its configuration, not"):
        given_parts.check_detector(begun(tmp_path / "other", {}), network=Network())
    whole = begun(tmp_path / "whole", {"detector": f"{__name__}.Network"})
    with pytest.raises(ConfigError, match=r"with detector=.*load_run\(workdir, detector=...\)"):
        given_parts.check_detector(whole, network=Network())


def test_commands_cannot_open_what_no_configuration_describes(tmp_path):
    given_parts.check_openable(begun(tmp_path / "run", {"optimizer": "optax.adamw"}))
    run = begun(tmp_path / "mine", {"source": "mine.Source"})
    with pytest.raises(ConfigError, match=r"on source=mine.Source, .*evaluate it from Python"):
        given_parts.check_openable(run)


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / "parts.json").write_text("[]")
    with pytest.raises(
        ConfigError, match=r"parts.json is not the JSON object that ioub train wrote"
    ):
        given_parts.read(tmp_path)
