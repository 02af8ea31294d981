import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ioub_jax.anchors import retinanet_anchors
from ioub_jax.assigners import atss, fcos, sim_ota, task_aligned
from ioub_jax.assigners.ground_truth import check_given, in_ignored_regions
from tests.assigners import small_pyramid as small

COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter")
ASSIGNERS = {
    "atss": (atss, False),
    "fcos": (fcos, False),
    "task_aligned": (task_aligned, True),
    "task_aligned, yolo": (functools.partial(task_aligned, rule="yolo", topk=10), True),
    "sim_ota": (sim_ota, True),
}


def arguments_of(canvas, images, slots, predicts, batch=None, same=None, scales_per_octave=1):
    """Shapes of all arguments, with a square a location."""
    levels = retinanet_anchors(
        canvas, base_scale=8.0, scales_per_octave=scales_per_octave, ratios=(1.0,)
    )

    def of_images(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=batch)

    anchors = tuple(
        jax.ShapeDtypeStruct(level.shape, jnp.float32, sharding=same) for level in levels
    )
    truth = [of_images(slots, 4), of_images(slots, dtype=jnp.int32)]
    truth += [of_images(slots, dtype=bool)] * 2
    if predicts:
        truth += [tuple(of_images(len(level), size) for level in levels) for size in (80, 4)]
    return (anchors, *truth)


@pytest.mark.parametrize("name", [name for name in ASSIGNERS if "yolo" not in name])
def test_memory_at_full_size(name):
    # All pairs at once would be 8 * 22400 * 100 * 4 bytes = 68 MiB, an array of them.
    assigner, predicts = ASSIGNERS[name]
    compiled = jax.jit(assigner).lower(*arguments_of((800, 1344), 8, 100, predicts)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 24 * 2**20


@pytest.mark.parametrize("name", ASSIGNERS)
def test_devices_that_share_a_batch_tell_each_other_nothing(name):
    jax.config.update("jax_disable_most_optimizations", True)  # what devices tell is not one
    assigner, predicts = ASSIGNERS[name]
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    batch, same = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    # The first level is of more locations than ATSS looks at without groups.
    arguments = arguments_of((256, 384), 8, 5, predicts, batch, same)
    compiled = jax.jit(assigner).lower(*arguments).compile()
    assert not COLLECTIVE.findall(compiled.as_text())
    for sharding in jax.tree.leaves(compiled.output_shardings):
        assert sharding.spec[0] == "data"


LEVELS = small.squares(1.0)
TRUTH = (np.zeros((2, 3, 4), np.float32), np.zeros((2, 3), np.int32), *[np.ones((2, 3), bool)] * 2)


@pytest.mark.parametrize(
    ("anchors", "changed", "words"),
    [
        (LEVELS[0], {}, r"anchors has shape \(16, 4\); it must be a sequence of one \[N_l, 4\]"),
        ((), {}, "anchors is empty; it must have one"),
        ((LEVELS[0][0],), {}, r"anchors\[0\] has shape \(4,\); it must be \[N_l, 4\]"),
        (LEVELS, {0: TRUTH[0][0]}, r"boxes has shape \(3, 4\); it must be \[B, M, 4\]"),
        (LEVELS, {0: TRUTH[0][:, :0]}, r"boxes has shape \(2, 0, 4\); .* with M at least 1"),
        (LEVELS, {1: TRUTH[1][0]}, r"labels has shape \(3,\); it must be \(2, 3\)"),
        (LEVELS, {2: TRUTH[2][:, :1]}, r"valid has shape \(2, 1\); it must be \(2, 3\)"),
        (LEVELS, {3: TRUTH[3][:1]}, r"ignored has shape \(1, 3\); it must be \(2, 3\)"),
    ],
)
def test_arguments_that_do_not_fit(anchors, changed, words):
    truth = [changed.get(index, array) for index, array in enumerate(TRUTH)]
    with pytest.raises(ValueError, match=words):
        atss(anchors, *truth)
    with pytest.raises(ValueError, match=r"ignore_iof is 0\.0; it must be above 0 and at most 1"):
        fcos(LEVELS, *TRUTH, ignore_iof=0.0)


def test_what_is_in_a_region_to_ignore():
    # Half, .4 and none of its area; without an area the center counts, of which an edge is outside.
    anchors = [[0, 0, 10, 10], [6, 0, 16, 10], [90, 0, 99, 9], [9, 5, 9, 5], [10, 5, 10, 5]]
    region = [0, 0, 10, 5]
    boxes = np.float32([[region, [float("nan"), 0, 9, 9]], [region, region]])
    valid, ignored = np.array([[True, True], [True, False]]), np.array([[True] * 2, [False, True]])
    given, sizes = check_given(
        (np.float32(anchors),), boxes, np.zeros((2, 2), int), valid, ignored, 0.5
    )
    assert sizes == [5]
    found = in_ignored_regions(given, 0.5)
    # The box of the second image is an object, the other one of it padding.
    np.testing.assert_array_equal(found, [[True, False, False, False, False], [False] * 5])
    inner = in_ignored_regions(given._replace(boxes=given.boxes.at[:, :, 3].add(0.5)), 0.2)
    np.testing.assert_array_equal(inner[0], [True, True, False, True, False])


def test_a_region_smaller_than_the_anchors_is_ignored_where_its_locations_are():
    # Anchors of 64 pixels with the centers 4, 12, 20, ... in each direction, as ATSS has on P3: the
    # region of 30 by 22 pixels is a sixth of an anchor and holds 4 by 3 of the centers.
    level, *_ = retinanet_anchors((64, 64), base_scale=8.0, scales_per_octave=1, ratios=(1.0,))
    boxes, labels = np.float32([[[8, 16, 38, 38]]]), np.zeros((1, 1), int)
    there = np.ones((1, 1), bool)
    found = np.asarray(atss((level,), boxes, labels, there, there).labels).reshape(8, 8)
    expected = np.full((8, 8), -1)
    expected[2:5, 1:5] = -2  # rows at 20, 28 and 36, columns at 12, 20, 28 and 36
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("slots", "shapes"), [(500, {}), (100, {"scales_per_octave": 3})])
def test_the_memory_of_atss_does_not_grow_with_the_candidates(slots, shapes):
    # 500 boxes, and 3 anchors per location with as many more candidates, took 90 and 60 MiB.
    arguments = arguments_of((800, 1344), 8, slots, False, **shapes)
    topk = 9 * shapes.get("scales_per_octave", 1)
    compiled = jax.jit(functools.partial(atss, topk=topk)).lower(*arguments).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 48 * 2**20
