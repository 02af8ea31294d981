import importlib.util

import jax
import pytest

from ioub_jax import tpu_plan
from ioub_jax.errors import ConfigError
from tests import tiny


def made(batch_per_chip=4, fits=True, **numbers):
    return tpu_plan.Plan("v5e:2x2", 4, batch_per_chip, (800, 1344), fits, **numbers)


def test_the_slower_of_flops_and_bytes_bounds_the_images():
    # 1.97e12 flops at 197e12 a second are 10 ms, 16.38e9 bytes at 819e9 a second are 20 ms;
    # 4 chips with 4 images each in 20 ms are 800 images/s.
    bound = made(flops=1.97e12, bytes_accessed=16.38e9)
    assert bound.compute_seconds == pytest.approx(0.010)
    assert bound.memory_seconds == pytest.approx(0.020)
    assert bound.images_per_second == pytest.approx(800.0)
    assert bound.record()["bytes_accessed_per_image"] == pytest.approx(4.095e9)
    assert "10.0 ms for the flops and 20.0 ms for the bytes: 800 images/s" in bound.describe()


def test_memory_is_shown_beside_that_of_the_chip():
    sizes = {"argument_bytes": 2**30, "output_bytes": 2**29, "temporary_bytes": 3 * 2**30}
    text = made(flops=1.0, bytes_accessed=1.0, **sizes).describe()
    # 1 + 0.5 + 3 = 4.5, and 3 GiB for 4 images are 0.75 an image.
    assert "fits: 4.50 GiB of 16 GiB" in text
    assert "0.75 GiB temporary" in text


def test_a_chip_of_two_devices_is_planned_by_the_device():
    # Of a chip's 2,307 TFLOP/s and 7,380 GB/s a device has half: 11.535e12 flops take 10 ms,
    # 73.8e9 bytes 20 ms; 4 chips with 2 devices of 8 images in 20 ms are 3,200 images/s.
    numbers = {"flops": 11.535e12, "bytes_accessed": 73.8e9, "temporary_bytes": 4 * 2**30}
    bound = tpu_plan.Plan("tpu7x:2x2x1", 4, 16, (800, 1344), True, **numbers)
    assert bound.compute_seconds == pytest.approx(0.010)
    assert bound.memory_seconds == pytest.approx(0.020)
    assert bound.images_per_second == pytest.approx(3200.0)
    text = bound.describe()
    assert text.startswith("tpu7x:2x2x1: 4 chips of 2 devices, 8 images of 800x1344 on each device")
    # 4 GiB and 73.8 GB for 8 images are .5 GiB and 9.225 GB an image.
    assert "fits: 4.00 GiB of 96 GiB on each device" in text
    assert "9.22 GB accessed, 0.50 GiB temporary" in text
    assert bound.record()["temporary_bytes_per_image"] == 2**29


def test_a_step_for_chips_of_two_devices_counts_chips_and_their_images():
    found = tpu_plan.plan_step(
        "evaluation", tiny.get_config(), 3, "tpu7x:1x1x1", 1, jax.devices()[:2]
    )
    assert (found.chips, found.batch_per_chip, found.batch_per_device) == (1, 2, 1)


@pytest.mark.parametrize("largest", [1, 2, 3, 4, 5, 7, 8, 21])
@pytest.mark.parametrize("first", [1, 3, 16])
def test_the_search_finds_the_largest_batch_that_fits(largest, first):
    asked = []

    def plan_of(batch_per_chip):
        asked.append(batch_per_chip)
        return made(batch_per_chip, fits=batch_per_chip <= largest)

    assert tpu_plan.largest_batch(plan_of, first).batch_per_chip == largest
    assert len(asked) == len(set(asked)) <= 10


def test_where_not_one_image_fits_the_search_says_why():
    found = tpu_plan.largest_batch(lambda n: made(n, fits=False, reason="Used 20G of 16G."), 4)
    assert not found.fits
    assert found.batch_per_chip == 1
    assert found.describe().endswith("does not fit: Used 20G of 16G.")


HLO = """
  %all-reduce.7 = (f32[8,4]{1,0:T(8,128)}, f32[]{:T(128)S(6)}) all-reduce(%a, %b), channel_id=1
  ROOT %all-reduce.8 = bf16[16]{0:T(256)(128)(2,1)} all-reduce(%c), channel_id=2
  %all-reduce-start.1 = f32[4]{0} all-reduce-start(%d), channel_id=3
  %all-reduce-done.1 = f32[4]{0} all-reduce-done(%all-reduce-start.1)
  %all-gather-start = (f32[2]{0}, f32[8]{0}) all-gather-start(%e), channel_id=4
  %all-gather-done = f32[8]{0} all-gather-done(%all-gather-start)
  %permuted = (s32[3]{0}, s32[3]{0}, u32[], u32[]) collective-permute-start(%f)
  %fusion = f32[8]{0} fusion(%all-reduce.7), kind=kLoop, calls=%all-reduce-computation
  %mask = pred[5]{0} all-to-all(%g)
"""


def test_communication_is_read_from_the_program():
    # (8 * 4 + 1) * 4 = 132 bytes, 16 * 2 = 32, and 4 * 4 = 16 of the pair.
    assert tpu_plan.collectives_of(HLO) == (
        tpu_plan.Collective("all-gather", 1, 32, 32),
        tpu_plan.Collective("all-reduce", 3, 180, 132),
        tpu_plan.Collective("all-to-all", 1, 5, 5),
        tpu_plan.Collective("collective-permute", 1, 12, 12),
    )


@pytest.mark.parametrize("topology", ["v5e", "v9:2x2", "v5e:4", "v5e-4x4", "v5e:axb"])
def test_what_is_no_topology_is_refused(topology):
    with pytest.raises(
        ConfigError, match=f"--topology={topology} is not a topology; give one of v4, v5e"
    ):
        tpu_plan.topology_devices(topology)


def test_without_libtpu_one_sentence_says_what_to_install():
    if importlib.util.find_spec("libtpu"):
        pytest.skip("libtpu is installed")
    with pytest.raises(ConfigError, match="pip install 'ioub_jax\\[train,tpu\\]'"):
        tpu_plan.topology_devices("v5e:2x2")


@pytest.mark.slow
def test_the_train_step_is_compiled_for_other_devices_than_the_configurations():
    config = tiny.get_config()
    found = tpu_plan.plan_step("train", config, 3, "v5e:2x2", 2, jax.devices()[:4])
    assert (found.chips, found.batch_per_chip, found.canvas) == (4, 2, (64, 64))
    assert found.fits
    assert found.flops > 0
    assert found.temporary_bytes > 0
    (reduced,) = found.collectives
    assert reduced.kind == "all-reduce"
    # Every gradient is summed over the devices, 222,636 bytes of parameters; on CPUs XLA sums those
    # of the heads level by level, five times.
    assert 222_636 < reduced.total_bytes < 2 * 222_636
    # The configuration that was given is not changed.
    assert config.batch_size == 8


def test_detection_is_compiled_without_communication():
    config = tiny.get_config()
    found = tpu_plan.plan_step("evaluation", config, 3, "v5e:2x2", 1, jax.devices()[:2])
    assert found.fits
    assert found.collectives == ()
