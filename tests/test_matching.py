import re

import hypothesis
import hypothesis.extra.numpy as hypothesis_numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ioub_jax import boxes as box_ops
from ioub_jax import matching
from ioub_jax.anchors import retinanet_anchors
from ioub_jax.matching import gather_boxes, match

RULES = ("authors", "torchvision", "ssd", "none")
COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter")

matched = jax.jit(match, static_argnames=("low_quality", "ignore_iof", "similarity"))


def match_one(anchors, boxes, *, labels=None, valid=None, ignored=None, **options):
    """Matches one image; labels default to 10, 11, ... in the order of the boxes."""
    count = len(boxes)
    result = matched(
        np.float32(anchors),
        np.float32(boxes)[None],
        np.int32(range(10, 10 + count) if labels is None else labels)[None],
        np.array([1] * count if valid is None else valid, bool)[None],
        np.array([0] * count if ignored is None else ignored, bool)[None],
        **options,
    )
    return jax.tree.map(lambda array: np.asarray(array)[0], result)


# Four squares of 10 pixels, three of them adjacent.
SQUARES = [[0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [100, 100, 110, 110]]


@pytest.mark.parametrize(
    ("height", "label"),
    # The box covers height / 10 of the first square and nothing else: that is the IoU.
    [(8.0, 10), (5.0, 10), (4.9, -2), (4.0, -2), (3.9, -1)],
)
def test_thresholds(height, label):
    result = match_one(SQUARES, [[0, 0, 10, height]], low_quality="none")
    assert result.labels.tolist() == [label, -1, -1, -1]
    assert result.gt_index.tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(result.iou, [height / 10, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "label", "gt_index", "iou"),
    [
        ("authors", 11, 1, 0.3),
        ("torchvision", 10, 0, 0.8),
        ("ssd", 11, 1, 0.3),
        ("none", 10, 0, 0.8),
    ],
)
def test_two_boxes_with_one_best_anchor(rule, label, gt_index, iou):
    # IoUs with the first square: 0.8 and 0.3; neither box touches another one.
    result = match_one(SQUARES, [[0, 0, 10, 8], [0, 0, 10, 3]], low_quality=rule)
    assert (result.labels[0], result.gt_index[0]) == (label, gt_index)
    np.testing.assert_allclose(result.iou[0], iou, rtol=1e-6)
    assert result.labels[1:].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("rule", "label", "gt_index", "iou"),
    [
        ("authors", 11, 1, 0.4),
        ("torchvision", 10, 0, 0.45),
        ("ssd", 11, 1, 0.4),
        ("none", -2, 0, 0.45),
    ],
)
def test_best_anchor_of_one_box_that_overlaps_another_more(rule, label, gt_index, iou):
    # The square overlaps box 0 by 45/100 and box 1 by 40/100, whose best anchor it is; box 0 has
    # a better one: the half square, 45/50.
    anchors = [[0, 0, 10, 10], [0, 0, 10, 5]]
    boxes = [[0, 0, 10, 4.5], [0, 6, 10, 10]]
    result = match_one(anchors, boxes, low_quality=rule)
    assert result.labels.tolist() == [label, 10]
    assert result.gt_index.tolist() == [gt_index, 0]
    np.testing.assert_allclose(result.iou, [iou, 0.9], rtol=1e-6)
    # In the other order too: what a box has taken, a later one with a better anchor leaves to it.
    result = match_one(anchors, boxes[::-1], labels=[11, 10], low_quality=rule)
    assert result.labels.tolist() == [label, 10]
    assert result.gt_index.tolist() == [1 - gt_index, 1]


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        ("authors", [10, 10, 10, -1]),
        ("torchvision", [10, 10, 10, -1]),
        ("ssd", [10, -1, -1, -1]),
        ("none", [-1, -1, -1, -1]),
    ],
)
def test_anchors_that_share_the_best_iou(rule, labels):
    # Each adjacent square fills 100 of the box's 400 pixels.
    result = match_one(SQUARES, [[0, 0, 20, 20]], low_quality=rule)
    assert result.labels.tolist() == labels


def test_a_later_box_takes_the_one_anchor_of_an_earlier_one():
    # Both boxes lie in the first two squares with 5 of 10 columns each, IoU 50 / 150, and both take
    # the first: the later box has it, the earlier one nothing.
    boxes = [[5, 0, 15, 10], [5, 0, 15, 10]]
    result = match_one(SQUARES, boxes, low_quality="ssd")
    assert result.labels.tolist() == [11, -1, -1, -1]
    assert result.gt_index.tolist() == [1, 0, 0, 0]
    # Where the second square suits the later box better, each has its own: 60 / 140.
    boxes[1] = [6, 0, 16, 10]
    result = match_one(SQUARES, boxes, low_quality="ssd")
    assert result.labels.tolist() == [10, 11, -1, -1]


@pytest.mark.parametrize("rule", RULES)
def test_what_cannot_match(rule):
    nan = float("nan")
    boxes = [[200, 200, 210, 210], [5, 0, 5, 10], [9, 9, 0, 0], [0, 0, 10, 10], [nan] * 4]
    result = match_one(SQUARES, boxes, valid=[1, 1, 1, 0, 0], low_quality=rule)
    assert result.labels.tolist() == [-1] * 4
    assert result.gt_index.tolist() == [0] * 4
    assert result.iou.tolist() == [0.0] * 4


@pytest.mark.parametrize("rule", RULES)
def test_ignored_regions(rule):
    # The first region covers the first two squares whole, the second half of the third square;
    # the object in the first square keeps it. Alone, each region would have had positives.
    boxes = [[0, 0, 20, 10], [0, 10, 10, 15], [0, 0, 10, 10]]
    result = match_one(SQUARES, boxes, ignored=[1, 1, 0], low_quality=rule)
    assert result.labels.tolist() == [12, -2, -2, -1]
    # Neither do regions count for the thresholds, nor slots that are not valid as regions.
    assert result.iou.tolist() == [1.0, 0.0, 0.0, 0.0]
    result = match_one(SQUARES, boxes, ignored=[1, 1, 0], valid=[0, 0, 1], low_quality=rule)
    assert result.labels.tolist() == [12, -1, -1, -1]
    result = match_one(SQUARES, boxes, ignored=[1, 1, 0], ignore_iof=0.51, low_quality=rule)
    assert result.labels.tolist() == [12, -2, -1, -1]


def reference_iou(box, other):
    """IoU in float32, and the share of `box` covered by `other`."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return np.float32(0), np.float32(0)
    shared = width * height
    own, others = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return np.float32(shared) / np.float32(own + others - shared), np.float32(shared / own)


def reference_match(anchors, boxes, labels, valid, ignored, rule):
    """The matching of one image, written as the rules read."""
    objects = [m for m in range(len(boxes)) if valid[m] and not ignored[m]]
    regions = [m for m in range(len(boxes)) if valid[m] and ignored[m]]
    result = []
    ious = {m: [reference_iou(anchor, boxes[m])[0] for anchor in anchors] for m in objects}
    for n, anchor in enumerate(anchors):
        best, index = np.float32(0), 0
        for m in objects:
            if ious[m][n] > best:
                best, index = ious[m][n], m
        label = -1 if best < np.float32(0.4) else -2
        if any(reference_iou(anchor, boxes[m])[1] >= 0.5 for m in regions):
            label = -2
        if best >= np.float32(0.5):
            label = labels[index]
        result.append([label, index, best])
    for m in objects if rule != "none" else []:
        for n in range(len(anchors)):
            if ious[m][n] == max(ious[m]) > 0:
                if rule == "torchvision":
                    result[n][0] = labels[result[n][1]]
                    continue
                result[n] = [labels[m], m, ious[m][n]]
                if rule == "ssd":
                    break
    return [np.array(column) for column in zip(*result, strict=True)]


def grid_boxes(*shape):
    """Boxes on a coarse grid: many repeat, touch, tie, contain each other or have no area.

    All areas are whole numbers, so that float32 IoUs are equal exactly where the IoUs are.
    """
    corners = hypothesis_numpy.arrays(
        np.float32, (*shape, 2, 2), elements=st.sampled_from(range(6))
    )
    return corners.map(lambda array: np.sort(array, axis=-2).reshape(*shape, 4))


def flags(*shape):
    return hypothesis_numpy.arrays(bool, shape)


@pytest.mark.parametrize("rule", RULES)
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    anchors=grid_boxes(12), boxes=grid_boxes(2, 7), valid=flags(2, 7), ignored=flags(2, 7)
)
def test_equals_the_rules_as_loops(rule, anchors, boxes, valid, ignored):
    labels = np.arange(14, dtype=np.int32).reshape(2, 7)
    result = matched(anchors, boxes, labels, valid, ignored, low_quality=rule)
    for image in range(2):
        expected = reference_match(
            anchors, boxes[image], labels[image], valid[image], ignored[image], rule
        )
        np.testing.assert_array_equal(result.labels[image], expected[0])
        np.testing.assert_array_equal(result.gt_index[image], expected[1])
        np.testing.assert_allclose(result.iou[image], expected[2], rtol=1e-6)


def float64_iou(anchors, box):
    shared = np.maximum(
        np.minimum(anchors[:, 2:], box[2:]) - np.maximum(anchors[:, :2], box[:2]), 0
    )
    areas = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1), np.prod(box[2:] - box[:2])
    return np.prod(shared, axis=1) / (areas[0] + areas[1] - np.prod(shared, axis=1))


@pytest.mark.parametrize("rule", ["authors", "torchvision", "ssd"])
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    corners=hypothesis_numpy.arrays(np.float32, (1, 3, 2), elements=st.floats(-9, 70, width=32)),
    sizes=hypothesis_numpy.arrays(np.float32, (1, 3, 2), elements=st.floats(0.125, 90, width=32)),
)
def test_every_box_that_overlaps_an_anchor_has_one(rule, corners, sizes):
    anchors = np.concatenate(retinanet_anchors((64, 64), strides=(8, 16), rounded=False))
    boxes = np.concatenate([corners, corners + sizes], axis=-1)
    valid = np.ones((1, 3), bool)
    result = matched(anchors, boxes, np.int32([[0, 1, 2]]), valid, ~valid, low_quality=rule)
    positive = np.asarray(result.labels[0]) >= 0
    for box in np.float64(boxes[0]):
        iou = float64_iou(np.float64(anchors), box)
        if iou.max() > 0:
            assert positive[iou >= iou.max() * (1 - 1e-5)].any()
    if rule != "torchvision" and iou.max() > 0:
        # Nobody takes an anchor away from the last box.
        assert (positive & (np.asarray(result.gt_index[0]) == 2)).any()


def test_gather_boxes():
    boxes = jnp.arange(24, dtype=jnp.float32).reshape(2, 3, 4)
    gathered = gather_boxes(boxes, jnp.int32([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(
        gathered, [[[8, 9, 10, 11], [0, 1, 2, 3]], [[16, 17, 18, 19], [16, 17, 18, 19]]]
    )


def test_a_product_gathers_the_same_bits():
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.uniform(0, 1344, (2, 5, 100)), jnp.float32)
    index = jnp.asarray(rng.integers(0, 100, (2, 500)), jnp.int32)
    np.testing.assert_array_equal(
        matching._gather_by_product(values, index), matching._gather_by_index(values, index)
    )


def test_slots_behind_the_last_box_of_the_batch_are_not_visited(monkeypatch):
    counted = []

    def counting(*arguments):
        jax.debug.callback(lambda: counted.append(1))
        return matching._with_one_box(box_ops.pairwise_iou, *arguments[:2])

    monkeypatch.setattr(matching, "_iou_with_one_box", counting)
    # 100 slots are visited five at a time, 7 four at a time, the seventh of them twice.
    expected = {100: {0: 0, 1: 5, 10: 10, 11: 15, 100: 100}, 7: {4: 4, 5: 8, 7: 8}}
    for slots, visits in expected.items():
        visit = jax.jit(lambda *given: match(*given))  # compiled with the counting
        for last, number in visits.items():
            valid = np.zeros((2, slots), bool)
            valid[1, last - 1 : last] = True  # the others of the batch are empty
            boxes = np.zeros((2, slots, 4), np.float32)
            counted.clear()
            visit(np.float32(SQUARES), boxes, np.zeros((2, slots), np.int32), valid, valid)
            jax.effects_barrier()
            # Once for the best anchors, once to match; and one that begins the loop.
            assert len(counted) == 2 * number + 1


def test_no_gradient_flows_through_a_matching():
    def total(boxes):
        valid = jnp.ones((1, 2), bool)
        matches = match(jnp.float32(SQUARES), boxes, jnp.int32([[0, 1]]), valid, ~valid)
        targets = gather_boxes(boxes, matches.gt_index)
        return jnp.sum(matches.iou) + jnp.sum(jnp.where(matches.labels[..., None] == 1, targets, 0))

    boxes = jnp.float32([[[0, 0, 10, 8], [100, 100, 110, 110]]])
    # Each coordinate of the second box comes back once, in the last square; the IoUs give nothing.
    np.testing.assert_array_equal(jax.jit(jax.grad(total))(boxes), [[[0] * 4, [1] * 4]])


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="0 < background_iou <= foreground_iou <= 1"):
        match(*full_size_arguments(), background_iou=0.6)
    with pytest.raises(ValueError, match="low_quality='best' is not a rule"):
        match(*full_size_arguments(), low_quality="best")
    with pytest.raises(ValueError, match="ignore_iof=0"):
        match(*full_size_arguments(), ignore_iof=0)


def full_size_arguments(sharding=None):
    """Shapes of a batch of 8 at 800 x 1344 with 100 boxes an image."""
    num_anchors = sum(len(level) for level in retinanet_anchors((800, 1344)))

    def batch(*shape, dtype):
        return jax.ShapeDtypeStruct((8, 100, *shape), dtype, sharding=sharding)

    return (
        jax.ShapeDtypeStruct((num_anchors, 4), jnp.float32),
        batch(4, dtype=jnp.float32),
        batch(dtype=jnp.int32),
        batch(dtype=bool),
        batch(dtype=bool),
    )


@pytest.mark.parametrize(
    ("rule", "similarity"), [*((rule, "iou") for rule in RULES), ("authors", "nwd")]
)
def test_memory_at_full_size(rule, similarity):
    # All IoUs at once would be 8 * 201600 * 100 * 4 bytes = 615 MiB.
    lowered = matched.lower(*full_size_arguments(), low_quality=rule, similarity=similarity)
    compiled = lowered.compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 2**20


@pytest.mark.parametrize("rule", RULES)
def test_devices_tell_each_other_only_how_many_slots_to_visit(rule):
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    arguments = full_size_arguments(NamedSharding(mesh, PartitionSpec("data")))

    @jax.jit
    def match_and_gather(anchors, boxes, labels, valid, ignored):
        matches = match(anchors, boxes, labels, valid, ignored, low_quality=rule)
        return matches, gather_boxes(boxes, matches.gt_index)

    compiled = match_and_gather.lower(*arguments).compile()
    communication = [line for line in compiled.as_text().splitlines() if COLLECTIVE.search(line)]
    # `%all-reduce = s32[] all-reduce(...), to_apply=%maximum`, before any loop.
    reductions = [line for line in communication if re.search(r"= s32\[\]\S* all-reduce\(", line)]
    assert len(reductions) == 1
    assert communication == [line for line in communication if "all-reduce" in line]
    assert "while" not in reductions[0]
    for sharding in jax.tree.leaves(compiled.output_shardings):
        assert sharding.spec[0] == "data"


def test_by_nwd_a_tiny_box_finds_anchors_that_it_does_not_meet():
    anchors = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [40, 40, 48, 48]], np.float32)
    # Between the first two, 4 by 4 below them; a second one has no area, a third is padding.
    boxes = np.array([[[6, 9, 10, 13], [44, 44, 44, 48], [40, 40, 48, 48]]], np.float32)
    truth = (boxes, np.array([[3, 1, 2]]), np.array([[True, True, False]]), np.zeros((1, 3), bool))
    by_iou = matching.match(anchors, *truth)
    np.testing.assert_array_equal(by_iou.labels, [[-1, -1, -1]])
    found = matching.match(anchors, *truth, similarity="nwd", low_quality="none")
    # Centers 4 and 7 apart, sides 4 and 4: W^2 = 16 + 49 + (16 + 16) / 4 = 73.
    expected = np.exp(-np.sqrt(73) / 12.8)
    np.testing.assert_allclose(found.iou[0, :2], expected, rtol=1e-6)
    assert 0.5 < expected < 0.52 and found.iou[0, 2] < 0.1
    np.testing.assert_array_equal(found.labels, [[3, 3, -1]])
    with pytest.raises(ValueError, match="similarity is 'giou'; it must be one of iou, nwd"):
        matching.match(anchors, *truth, similarity="giou")


@pytest.mark.parametrize("similarity", ["iou", "nwd"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_not_finite_matches_nothing_and_hides_no_other(similarity, bad):
    anchors = np.array([[0, 0, 8, 8], [16, 16, 24, 24]], np.float32)
    boxes = np.array([[[bad, 0, 8, 8], [16, 16, 24, 24]]], np.float32)
    flags = np.ones((1, 2), bool)
    found = matching.match(anchors, boxes, np.array([[0, 1]]), flags, ~flags, similarity=similarity)
    assert found.labels.tolist() == [[-1, 1]]
    assert np.isfinite(found.iou).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"boxes": np.zeros((1, 0, 4))}, r"boxes has shape \(1, 0, 4\); it must be \[B, M, 4\]"),
        ({"labels": np.zeros(1, int)}, r"labels has shape \(1,\); it must be \(1, 2\), one for"),
        ({"ignored": np.zeros((2, 2), bool)}, r"ignored has shape \(2, 2\); it must be \(1, 2\)"),
        ({"anchors": np.zeros((0, 4))}, r"anchors has shape \(0, 4\); it must be \[N, 4\]"),
    ],
)
def test_ground_truth_of_wrong_shapes_is_refused(changes, words):
    given = {
        "anchors": np.zeros((3, 4)),
        "boxes": np.zeros((1, 2, 4)),
        "labels": np.zeros((1, 2), int),
        "valid": np.zeros((1, 2), bool),
        "ignored": np.zeros((1, 2), bool),
    }
    with pytest.raises(ValueError, match=words):
        matching.match(**given | changes)


@pytest.mark.parametrize("constant", [0.0, np.inf, np.nan, True])
def test_a_constant_of_nwd_out_of_range_is_refused(constant):
    with pytest.raises(ValueError, match=r"nwd_constant is .*; it must be a finite number above 0"):
        matching.check_similarity("nwd", constant)
