"""docs/losses.md names every loss, and each of its flags chooses a valid one."""

import pathlib
import re

import pytest
from absl import flags
from ml_collections import config_flags

from ioub_jax import objective
from ioub_jax.box_codecs import DeltaCodec
from ioub_jax.configs import defaults
from ioub_jax.detectors import anchor_detector

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
CHOICES = [
    line
    for block in re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("--config.")
]


def options_of(choice):
    """The objective of the baseline with the flags of a line."""
    values = flags.FlagValues()
    arguments = ["program", *choice.split()]
    config_flags.DEFINE_config_dict(
        "config", defaults.get_config("baseline"), flag_values=values, sys_argv=arguments
    )
    values(arguments)
    config = values.config
    return anchor_detector.losses_of(config.loss, DeltaCodec(tuple(config.anchors.box_weights)))


def test_every_name_is_in_a_table():
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    for name in objective.CLASSIFICATION_LOSSES + objective.LOCALIZATION_LOSSES:
        assert any(f"`name={name}`" in row for row in rows), name
    for name in objective.NORMALIZERS:
        assert f"`{name}`" in PAGE, name


def test_every_name_has_its_flags():
    text = "\n".join(CHOICES)
    for part, names in (
        ("classification", objective.CLASSIFICATION_LOSSES),
        ("localization", objective.LOCALIZATION_LOSSES),
    ):
        for name in names:
            assert re.search(rf"--config\.loss\.{part}\.name={name}\b", text), name


@pytest.mark.parametrize("choice", CHOICES)
def test_flags_choose_a_valid_loss(choice):
    options = options_of(choice)
    for key, value in re.findall(r"--config\.loss\.(\S+)=(\S+)", choice):
        chosen = options
        for part in key.split("."):
            chosen = getattr(chosen, part)
        assert type(chosen)(value) == chosen if not isinstance(chosen, bool) else value == "True"


def test_a_loss_that_is_misspelt_is_refused():
    with pytest.raises(ValueError, match="it must be one of"):
        options_of("--config.loss.localization.name=gioux")
