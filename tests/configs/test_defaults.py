import itertools

import pytest

from ioub_jax.configs import defaults, keys
from ioub_jax.errors import ConfigError

DYNAMIC = ("fcos", "atss", "gfl")


@pytest.mark.parametrize("family", keys.FAMILIES)
def test_an_arm_is_the_same_after_any_other(family):
    """`ioub compare` sets arms in configurations that were made for another one."""
    arms = defaults.arms_of(defaults.of_family(family, "baseline"))
    for first, second in itertools.product(arms, arms):
        config = defaults.of_family(family, first)
        defaults.set_arm(config, second)
        expected = defaults.of_family(family, second)
        # The control of RetinaNet's measured w_loc turns off weights normalized in each batch.
        assert config.loss.to_dict() == expected.loss.to_dict(), (first, second)


def test_a_chosen_loss_stays_in_arms_without_weights():
    config = defaults.of_family("gfl", "baseline")
    config.loss.classification.name = "focal"
    for arm in ("baseline", "loc"):
        defaults.set_arm(config, arm)
        assert config.loss.classification.name == "focal"


@pytest.mark.parametrize("family", keys.FAMILIES)
def test_the_control_of_a_measured_weight_needs_one(family):
    config = defaults.of_family(family, "both")
    others = {"both", "baseline", "cls", "loc"}
    if family not in DYNAMIC:
        assert set(defaults.arms_of(config)) == others | {"loc_weight_only"}
        return
    assert set(defaults.arms_of(config)) == others
    words = f"'loc_weight_only' is the control of a measured w_loc, but model.name is '{family}'"
    with pytest.raises(ConfigError, match=words):
        defaults.set_arm(config, "loc_weight_only")
    with pytest.raises(ConfigError, match=words):
        defaults.of_family(family, "loc_weight_only")
