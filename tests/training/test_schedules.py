import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from ioub_jax.configs import defaults
from ioub_jax.training import schedules


def schedule_config(**changes):
    config = defaults.get_config().schedule
    config.update(
        {
            "name": "step",
            "base_learning_rate": 0.1,
            "reference_batch_size": 16,
            "images": 800,
            "warmup_images": 80,
            "warmup_factor": 0.5,
            "decay_at": (0.5, 0.75),
            "decay_factor": 0.1,
        }
        | changes
    )
    return config


def rates(steps, **changes):
    schedule = schedules.learning_rate_schedule(schedule_config(**changes), 8)
    return [float(schedule(step)) for step in steps]


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
        # 800 images are 100 steps.
        ({"warmup_images": 800}, "800 and schedule.images 800, in steps of 8 images: the warm-up"),
        ({"warmup_images": 9_000}, "warmup_images=80, or --config.schedule.images above 9000."),
        # 3 and 3 steps: the last of them is the first that would have the full rate.
        ({"warmup_images": 17, "images": 24}, "the learning rate never reaches its full value"),
        ({"warmup_images": 1, "images": 8}, "set --config.schedule.warmup_images=0, or"),
        ({"decay_at": (0.5, 1.0)}, r"decay_at has 1.0, .* --config.schedule.decay_at='\(0.5,\)'"),
        ({"decay_at": (8, 11)}, r"decay_at has 8, which is no fraction of the run, .*'\(\)'"),
        ({"decay_at": (0.0, 0.5)}, "decay_at has 0.0, which is no fraction of the run"),
        ({"decay_at": (0.5, -0.5)}, "decay_at has -0.5, which is no fraction of the run"),
    ],
)
def test_points_that_no_run_can_have(changes, words):
    with pytest.raises(ValueError, match=words):
        schedules.check_points(schedule_config(**changes), 8)


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
    warnings = schedules.check_points(schedule_config(**changes), 8)
    assert [word in warning for word, warning in zip(words, warnings, strict=True)] == [
        True for _ in words
    ]


def test_the_schedule_is_in_images_and_the_rate_linear_in_the_batch():
    config = schedule_config()
    small = schedules.learning_rate_schedule(config, 8)
    large = schedules.learning_rate_schedule(config, 32)
    for images in (160, 480, 760):
        assert float(large(images // 32)) == pytest.approx(4 * float(small(images // 8)))


def test_unknown_schedule():
    with pytest.raises(ValueError, match=r"schedule.name is 'linear'; it must be 'constant'"):
        rates([0], name="linear")


def test_steps_round_up():
    assert [schedules.steps_of(n, 16) for n in (0, 1, 16, 17)] == [0, 1, 1, 2]


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


def update_of(gradients, **options):
    config = ml_collections.ConfigDict(
        {"momentum": 0.9, "weight_decay": 0.01, "clip_global_norm": None} | options
    )
    optimizer = schedules.create_optimizer(config, optax.constant_schedule(0.5), FROZEN)
    return optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)[0]


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
