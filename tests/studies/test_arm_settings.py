import re

import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.studies import arm_settings
from ioub_jax.workdirs import configuration
from tests import tiny


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("loss.classification.eta", "2", 2.0),
        ("loss.localization.w_loc", "2.5", 2.5),
        ("loss.localization.dynamic", "False", False),
        ("loss.localization.dynamic", "True", True),
        ("schedule.name", "step", "step"),
        ("optimizer.ema_decay", "None", None),
        ("model.pretrained", "None", None),
        ("model.pretrained", "resnet50.pth", "resnet50.pth"),
    ],
)
def test_a_sweep_sets_what_is_written(key, text, value):
    config = tiny.get_config()
    arm_settings.setting(key, text, "--sweep")(config)
    found = configuration.to_dict(config)
    for name in key.split("."):
        found = found[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("seed", "2.5", "--sweep sets seed to '2.5', which is not of type int."),
        ("seed", "None", "--sweep sets seed to 'None', which is not of type int."),
        (
            "anchors.ratios",
            "(1.0",
            "--sweep sets anchors.ratios to '(1.0', which is not of type tuple.",
        ),
        ("seed.more", "1", "No such key in the configuration: 'seed.more', in --sweep."),
    ],
)
def test_a_sweep_of_something_else_is_refused(key, text, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        arm_settings.setting(key, text, "--sweep")(tiny.get_config())


def test_an_arm_sets_any_keys():
    text = "focaler: loss.localization.name=iou  loss.localization.focaler=(0.0,0.95)"
    name, change = arm_settings.arm_of_settings(text, "--arm")
    config = tiny.get_config("baseline")
    config.unlock()
    change(config)
    assert name == "focaler"
    assert config.loss.localization.name == "iou"
    assert config.loss.localization.focaler == (0.0, 0.95)

    name, change = arm_settings.arm_of_settings("as.it-is:", "--arm")
    before = configuration.to_dict(config)
    change(config)
    assert name == "as.it-is"
    assert configuration.to_dict(config) == before


@pytest.mark.parametrize(
    "text", ["giou", "giou loss.eta=1", "a/b: seed=1", ": seed=1", "a: seed", "a: =1", ".a: seed=1"]
)
def test_what_is_no_arm_is_refused(text):
    with pytest.raises(ConfigError, match="is not an arm; write --arm='NAME: KEY=VALUE KEY=VALUE'"):
        arm_settings.arm_of_settings(text, "--arm")
