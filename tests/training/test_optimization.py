import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ioub_jax import models
from ioub_jax.configs import defaults
from ioub_jax.from_config import training_parts
from ioub_jax.training import optimization


def schedule_of(**changes):
    options = {
        "name": "step",
        "base_learning_rate": 0.1,
        "reference_batch_size": 16,
        "images": 800,
        "warmup_images": 80,
        "warmup_factor": 0.5,
        "decay_at": (0.5, 0.75),
        "decay_factor": 0.1,
    }
    return optimization.Schedule(**(options | changes))


def rates(steps, **changes):
    learning_rate = schedule_of(**changes).learning_rate(8)
    return [float(learning_rate(step)) for step in steps]


def test_step_schedule_by_hand():
    # Batch 8 of a reference of 16: the peak is .05. 800 images are 100 steps, 80 are 10 of warm-up
    # from .025 to .05; decays at steps 50 and 75.
    assert rates([0, 5, 10, 49, 50, 74, 75, 99]) == pytest.approx(
        [0.025, 0.0375, 0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    )


def test_cosine_schedule_by_hand():
    # Half way through the 90 steps after the warm-up the cosine is 0: half the peak.
    assert rates([0, 10, 55, 100], name="cosine") == pytest.approx([0.025, 0.05, 0.025, 0.0])


def test_constant_schedule_without_warm_up():
    assert rates([0, 99], name="constant", warmup_images=0) == pytest.approx([0.05, 0.05])


def test_decays_of_one_step_are_all_made():
    # Batch 8 of a reference of 16: the peak is .05. 16 images are 2 steps, all three decays step 1.
    short = {"images": 16, "warmup_images": 0, "decay_at": (0.4, 0.5, 0.6)}
    assert rates([0, 1], **short) == pytest.approx([0.05, 0.05 * 0.1**3])
    assert rates([0, 99], decay_at=(0.5, 0.5)) == pytest.approx([0.025, 0.05 * 0.1**2])


def test_decays_inside_the_warm_up_are_all_made_at_its_end():
    # 640 of 800 images are 80 of 100 steps: decays at 50 and 70 are both behind from step 80 on.
    inside = {"warmup_images": 640, "decay_at": (0.7, 0.5, 0.9)}
    assert rates([79, 80, 89, 90], **inside) == pytest.approx(
        [0.05 - 0.025 / 80, 0.0005, 0.0005, 0.00005], rel=1e-5
    )


def test_decays_are_made_in_whatever_order_they_stand():
    steps = [49, 50, 74, 75]
    assert rates(steps, decay_at=(0.75, 0.5)) == rates(steps, decay_at=(0.5, 0.75))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"warmup_images": 0}, []),
        ({"warmup_images": 792, "name": "constant"}, []),
        ({"decay_at": (8, 11), "name": "cosine"}, []),  # it has none
        # The full rate would be that of step 10, where the decay already is.
        ({"decay_at": (0.1, 0.5)}, ["has 0.1, which is step 10 of 100, and the warm-up ends at"]),
        ({"decay_at": (0.05, 0.996)}, ["has 0.05, which is step 5", "has 0.996, which is the end"]),
        ({"decay_at": (0.001,), "warmup_images": 0}, ["step 0 of 100, and the warm-up ends at"]),
    ],
)
def test_points_that_a_run_is_warned_of(changes, words):
    warnings = schedule_of(**changes).warnings(8)
    assert [word in warning for word, warning in zip(words, warnings, strict=True)] == [
        True for _ in words
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "Learning rate: 0.05 (base 0.1 x batch 8/16), warm-up of 10 steps from 0.5 of it, "
            "times 0.1 at steps 50 and 75.",
        ),
        (
            {"name": "cosine", "base_learning_rate": 0.025, "warmup_images": 0},
            "Learning rate: 0.0125 (base 0.025 x batch 8/16), cosine to 0.",
        ),
        (
            {"name": "constant", "warmup_images": 8},
            "Learning rate: 0.05 (base 0.1 x batch 8/16), warm-up of 1 step from 0.5 of it, "
            "constant.",
        ),
        # A decay inside of the warm-up is at its end, and two at one step are two.
        (
            {"decay_at": (0.05, 0.5, 0.5)},
            "Learning rate: 0.05 (base 0.1 x batch 8/16), warm-up of 10 steps from 0.5 of it, "
            "times 0.1 at steps 10, 50 and 50.",
        ),
    ],
)
def test_the_rate_is_told_as_it_is_used(changes, line):
    schedule = schedule_of(**changes)
    assert schedule.describe(8) == line
    # What is told is the rate after the warm-up.
    told = float(line.split()[2])
    warmup = -(-schedule.warmup_images // 8)
    if schedule.name != "step":
        assert float(schedule.learning_rate(8)(warmup)) == pytest.approx(told)


def test_the_schedule_is_in_images_and_the_rate_linear_in_the_batch():
    schedule = schedule_of()
    small, large = schedule.learning_rate(8), schedule.learning_rate(32)
    for images in (160, 480, 760):
        assert float(large(images // 32)) == pytest.approx(4 * float(small(images // 8)))


def test_unknown_schedule():
    with pytest.raises(ValueError, match=r"^name is 'linear'; it must be 'constant'"):
        rates([0], name="linear")


def test_steps_round_up():
    assert [optimization.steps_of(n, 16) for n in (0, 1, 16, 17)] == [0, 1, 1, 2]


PARAMS = {
    "stem_conv": {"kernel": jnp.ones((1, 1, 2, 2))},
    "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
    "head": {"kernel": jnp.ones((1, 1, 2, 2)), "bias": jnp.ones(2)},
}
FROZEN = {
    "stem_conv": {"kernel": True},
    "norm": {"scale": False, "bias": False},
    "head": {"kernel": False, "bias": False},
}


def update_of(gradients, params=PARAMS, frozen=FROZEN, **options):
    chosen = optimization.OptimizerOptions(**({"weight_decay": 0.01} | options))
    optimizer = optimization.create_optimizer(chosen, optax.constant_schedule(0.5), frozen)
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def test_weight_decay_is_on_kernels_that_are_not_frozen():
    updates = update_of(jax.tree.map(jnp.zeros_like, PARAMS))
    # -.5 * .01 * 1 on the one kernel, nothing elsewhere.
    np.testing.assert_allclose(updates["head"]["kernel"], -0.005)
    rest = [updates["stem_conv"], updates["norm"], updates["head"]["bias"]]
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(rest))


def test_clipping_is_by_the_norm_of_the_whole_gradient():
    gradients = jax.tree.map(jnp.zeros_like, PARAMS)
    gradients["norm"]["scale"] = jnp.array([3.0, 0.0])
    gradients["head"]["bias"] = jnp.array([0.0, 4.0])
    # The norm is 5 and the limit 1: a fifth of each, times -.5.
    updates = update_of(gradients, clip_global_norm=1.0, weight_decay=0.0)
    np.testing.assert_allclose(updates["norm"]["scale"], [-0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["bias"], [0.0, -0.4], rtol=1e-6)


def zeros(params=PARAMS):
    return jax.tree.map(jnp.zeros_like, params)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_the_decay_of_adamw_and_lion_is_apart_from_the_gradient(name):
    updates = update_of(zeros(), name=name)
    # -.5 * .01 * 1: no gradient, so nothing but the decay, which no average of squares divides.
    np.testing.assert_allclose(updates["head"]["kernel"], -0.005, rtol=1e-6)
    rest = [updates["stem_conv"], updates["norm"], updates["head"]["bias"]]
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(rest))


def test_the_first_steps_of_adamw_and_of_lion_by_hand():
    gradients = zeros()
    gradients["head"]["bias"] = jnp.array([3.0, -0.5])
    # Both averages of Adam are those of one gradient, corrected for that: g / sqrt(g^2), times -.5.
    adamw = update_of(gradients, name="adamw", weight_decay=0.0)
    np.testing.assert_allclose(adamw["head"]["bias"], [-0.5, 0.5], rtol=1e-5)
    # Lion takes the sign of (1 - beta) g.
    lion = update_of(gradients, name="lion", weight_decay=0.0)
    np.testing.assert_allclose(lion["head"]["bias"], [-0.5, 0.5])


def test_betas_are_those_of_the_averages():
    options = optimization.OptimizerOptions(name="adamw", betas=(0.5, 0.25), weight_decay=0.0)
    optimizer = optimization.create_optimizer(options, optax.constant_schedule(1.0), {"b": False})
    params = {"b": jnp.zeros(1)}
    state = optimizer.init(params)
    for gradient in (1.0, 3.0):
        updates, state = optimizer.update({"b": jnp.array([gradient])}, state, params)
    # Averages .5 * .5 + .5 * 3 = 1.75 over 1 - .25, and .25 * .75 + .75 * 9 = 6.9375, which is over
    # 1 - .0625.
    expected = -(1.75 / 0.75) / np.sqrt(6.9375 / 0.9375)
    np.testing.assert_allclose(updates["b"], expected, rtol=1e-5)


BACKBONE = {
    "backbone": {
        "stem_conv": {"kernel": jnp.ones(1)},
        "stage1_block1": {"conv1": {"kernel": jnp.ones(1)}},
        "stage3_block2": {"conv1": {"kernel": jnp.ones(1)}},
        "fc7": {"kernel": jnp.ones(1)},
        "pyramid_norm4": {"scale": jnp.ones(1)},
        "stem_position": jnp.ones(1),
    },
    "head": {"kernel": jnp.ones(1)},
}


def test_the_rate_of_a_backbone_falls_from_stage_to_stage():
    # The last stage is 3: .5 * .8 for it and for what is above it, .8^3 for stage 1, .8^4 below.
    factors = optimization.rate_factors(BACKBONE, 0.5, 0.8)
    assert factors["head"]["kernel"] == 1.0
    of_backbone = {name: jax.tree.leaves(part)[0] for name, part in factors["backbone"].items()}
    assert of_backbone == {
        "stem_conv": pytest.approx(0.5 * 0.8**4),
        "stage1_block1": pytest.approx(0.5 * 0.8**3),
        "stage3_block2": pytest.approx(0.5 * 0.8),
        "fc7": pytest.approx(0.5 * 0.8),
        "pyramid_norm4": 1.0,  # as the heads, which nothing was trained before either
        "stem_position": pytest.approx(0.5 * 0.8**4),
    }


@pytest.mark.parametrize(
    ("name", "powers"),
    [
        # The stem below four stages, each with its downsampling.
        (
            "convnext_tiny",
            {"stem_conv": 5, "stage1_block3": 4, "stage2_downsample_conv": 3, "stage4_block3": 1},
        ),
        # The stem and its positions below twelve blocks; the pyramid learns like the heads.
        (
            "vit_small",
            {"stem_position": 13, "stage1_block1": 12, "stage12_block1": 1, "pyramid_double8": 0},
        ),
    ],
)
def test_the_rate_falls_from_block_to_block_of_a_real_backbone(name, powers):
    backbone = models.create_backbone(name, norm="layer_norm")
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(lambda *given: backbone.init(*given, train=False), key, images)
    factors = optimization.rate_factors({"backbone": params["params"]}, 1.0, 0.5)["backbone"]
    for module, power in powers.items():
        assert set(jax.tree.leaves(factors[module])) == {0.5**power}, module


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
def test_factors_multiply_the_whole_update(name):
    frozen = jax.tree.map(lambda _: False, BACKBONE)
    gradients = jax.tree.map(lambda leaf: 2.0 * leaf, BACKBONE)
    plain = update_of(gradients, BACKBONE, frozen, name=name)
    scaled = update_of(gradients, BACKBONE, frozen, name=name, backbone_factor=0.1, layer_decay=0.5)
    np.testing.assert_allclose(scaled["head"]["kernel"], plain["head"]["kernel"])
    stem = plain["backbone"]["stem_conv"]["kernel"] * 0.1 * 0.5**4
    np.testing.assert_allclose(scaled["backbone"]["stem_conv"]["kernel"], stem, rtol=1e-6)


def test_frozen_parameters_stay_whatever_a_given_optimizer_does():
    optimizer = optimization.with_frozen(optax.adamw(0.1, weight_decay=1.0), FROZEN)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    assert np.all(np.asarray(updates["stem_conv"]["kernel"]) == 0.0)
    assert np.all(np.asarray(updates["head"]["kernel"]) != 0.0)
    nothing = jax.tree.map(lambda _: False, FROZEN)
    given = optax.sgd(0.1)
    assert optimization.with_frozen(given, nothing) is given


@pytest.mark.parametrize("name", ["adam", "SGD", ""])
def test_unknown_optimizers_are_refused(name):
    with pytest.raises(ValueError, match=r"^name is .*; it must be 'sgd', 'adamw' or 'lion'"):
        optimization.OptimizerOptions(name=name)


def test_scales_of_frozen_batch_norms_are_constants_of_a_given_optimizer():
    config = defaults.get_config()
    params = {
        "backbone": {"stage2": {"norm1": {"scale": 1.0, "bias": 0.0}, "conv1": {"kernel": 1.0}}},
        "head": {"norm": {"scale": 1.0}},
    }
    frozen = jax.tree.map(lambda _: False, params)
    config.model.norm = "group_norm"
    assert training_parts.constants_of(config, frozen) is frozen
    config.model.norm = "frozen_bn"
    found = training_parts.constants_of(config, frozen)
    assert found == {
        "backbone": {
            "stage2": {"norm1": {"scale": True, "bias": True}, "conv1": {"kernel": False}}
        },
        "head": {"norm": {"scale": False}},
    }
