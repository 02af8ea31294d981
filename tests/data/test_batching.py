import itertools
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax.data.batching import (
    PADDING_COLOR,
    BatchPlan,
    EvaluationPlan,
    assemble_batch,
    keep_largest,
    padding_color,
)
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources.example import create_example

CANVASES = ((40, 80), (60, 60), (80, 40))
some_sizes = st.lists(st.sampled_from([(3, 6), (5, 5), (6, 3)]), min_size=1, max_size=23)
settings = hypothesis.settings(max_examples=25, deadline=None)


@settings
@hypothesis.given(some_sizes, st.integers(1, 9), st.integers(0, 3), st.integers(1, 3))
def test_every_image_is_seen_once_in_every_epoch_but_for_the_carry(sizes, batch_size, seed, count):
    sizes, canvases = np.array(sizes), CANVASES[:count]
    plan = BatchPlan(sizes, batch_size, seed, canvases)
    canvas_of = Resize().assign(sizes, canvases)
    steps = 4 * len(sizes) // batch_size + 4
    batches = [plan[step] for step in range(steps)]
    seen = Counter()
    for batch in batches:
        assert len(batch.indices) == batch_size and batch.is_real.all()
        assert {canvases[canvas_of[index]] for index in batch.indices} == {batch.canvas}
        seen.update(zip(batch.epochs.tolist(), batch.indices.tolist(), strict=True))
    assert max(seen.values()) == 1
    for canvas in range(len(canvases)):
        members = set(np.flatnonzero(canvas_of == canvas).tolist())
        stream = [pair for pair in seen if pair[1] in members]
        # The images of a canvas come in whole epochs: all of one before any of the next.
        for epoch in range(len(stream) // max(len(members), 1)):
            assert {index for seen_in, index in stream if seen_in == epoch} == members


@settings
@hypothesis.given(some_sizes, st.integers(1, 9), st.integers(0, 3), st.data())
def test_a_batch_depends_on_its_step_alone(sizes, batch_size, seed, data):
    sizes = np.array(sizes)
    in_order = BatchPlan(sizes, batch_size, seed, CANVASES)
    batches = [in_order[step] for step in range(20)]
    at_random = BatchPlan(sizes, batch_size, seed, CANVASES)
    for step in data.draw(st.lists(st.integers(0, 19), max_size=10)):
        batch = at_random[step]
        assert batch.canvas == batches[step].canvas
        np.testing.assert_array_equal(batch.indices, batches[step].indices)
        np.testing.assert_array_equal(batch.epochs, batches[step].epochs)


@settings
@hypothesis.given(some_sizes, st.integers(1, 9), st.integers(0, 3))
def test_the_plan_is_what_filling_buckets_one_image_at_a_time_gives(sizes, batch_size, seed):
    """The closed form against the process that the documentation describes."""
    sizes = np.array(sizes)
    canvas_of = Resize().assign(sizes, CANVASES)
    plan = BatchPlan(sizes, batch_size, seed, CANVASES)
    buckets, expected = {0: [], 1: [], 2: []}, []
    for epoch in itertools.count():
        for index in np.random.default_rng((seed, epoch)).permutation(len(sizes)):
            bucket = buckets[canvas_of[index]]
            bucket.append(index)
            if len(bucket) == batch_size:
                expected.append((CANVASES[canvas_of[index]], list(bucket)))
                bucket.clear()
        if len(expected) >= 12:
            break
    for step, (canvas, indices) in enumerate(expected):
        assert plan[step].canvas == canvas and plan[step].indices.tolist() == indices


def test_an_epoch_is_shuffled_anew_and_depends_on_the_seed():
    sizes = np.full((64, 2), 9)
    plan, other = BatchPlan(sizes, 64, 0, [(9, 9)]), BatchPlan(sizes, 64, 1, [(9, 9)])
    orders = [plan[0].indices.tolist(), plan[1].indices.tolist(), other[0].indices.tolist()]
    assert len({tuple(order) for order in orders}) == 3
    assert plan[7].epochs.tolist() == [7] * 64


def test_without_shuffling_the_order_is_the_sources():
    plan = BatchPlan(np.full((5, 2), 9), 3, 0, [(9, 9)], shuffle=False)
    assert [plan[step].indices.tolist() for step in range(3)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]
    assert plan[1].epochs.tolist() == [0, 0, 1]


def test_a_step_far_away_costs_no_more_than_the_first():
    plan = BatchPlan(np.full((1000, 2), 9), 16, 0, [(9, 9)])
    # 10**9 * 16 = 1000 * 16_000_000.
    assert set(plan[10**9].epochs) == {16_000_000}


@settings
@hypothesis.given(some_sizes, st.integers(1, 9), st.integers(1, 3))
def test_evaluation_covers_every_image_once(sizes, batch_size, count):
    sizes, canvases = np.array(sizes), CANVASES[:count]
    plan = EvaluationPlan(sizes, batch_size, canvases)
    batches = [plan[step] for step in range(len(plan))]
    assert all(len(batch.indices) == batch_size for batch in batches)
    real = np.concatenate([batch.indices[batch.is_real] for batch in batches])
    assert sorted(real.tolist()) == list(range(len(sizes)))


def test_wrong_plans_are_refused():
    sizes = np.full((5, 2), 9)
    with pytest.raises(ValueError, match="batch size is 0"):
        BatchPlan(sizes, 0, 0, [(9, 9)])
    with pytest.raises(ValueError, match="at least one image"):
        EvaluationPlan(np.zeros((0, 2)), 4, [(9, 9)])
    with pytest.raises(ValueError, match="6 canvases"):
        BatchPlan(sizes, 2, 0, [(9, 9)] * 6)
    with pytest.raises(ValueError, match=r"^scales is \(0.5, 1.5\)"):
        BatchPlan(sizes, 2, 0, [(9, 9)], scales=(0.5, 1.5))
    with pytest.raises(ValueError, match="the size of its canvas"):
        BatchPlan(sizes, 2, 0, [(9, 9)], resize=Resize("stretch"), scales=(0.5, 1.0))
    with pytest.raises(IndexError, match="no step -1"):
        BatchPlan(sizes, 2, 0, [(9, 9)])[-1]


def test_the_largest_boxes_are_kept_in_their_order():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 9, 9], [0, 0, 1, 1], [0, 0, 5, 5]])
    kept = keep_largest(create_example(boxes, np.arange(4), image_id=0), 3)
    assert kept.labels.tolist() == [0, 1, 3] and kept.area.tolist() == [4, 81, 25]


def test_every_batch_draws_one_scale_from_its_step_alone():
    sizes = np.full((5, 2), 9)
    plan = BatchPlan(sizes, 2, 3, [(9, 9)], scales=(0.5, 0.8, 1.0))
    scales = [plan[step].scale for step in range(60)]
    assert set(scales) == {0.5, 0.8, 1.0}
    again = BatchPlan(sizes, 2, 3, [(9, 9)], scales=(0.5, 0.8, 1.0))
    assert [again[step].scale for step in (59, 0, 17)] == [scales[59], scales[0], scales[17]]
    assert EvaluationPlan(sizes, 2, [(9, 9)])[0].scale == 1.0


def test_a_batch_by_hand():
    images = np.zeros((2, 20, 20, 3), np.uint8)
    images[0, :10] = 9
    images[1, :, :10] = 7
    first = create_example(
        np.array([[1, 2, 3, 4]]),
        np.array([5]),
        image_id=70,
        image=images[0, :10],
        difficult=np.array([True]),
    )
    # 40x20 in its data set: half that is what it was resized to.
    second = create_example(
        np.array([[0, 0, 10, 20], [2, 4, 6, 8]]),
        np.array([0, 1]),
        image_id=2**40,
        image=images[1, :, :10],
        crowd=np.array([False, True]),
        ignored=np.array([True, False]),
    )
    batch = assemble_batch(
        images,
        [first, second],
        np.array([[10, 20], [40, 20]]),
        max_boxes=3,
        is_real=[True, False],
    )
    assert batch["image"].shape == (2, 20, 20, 3) and batch["image"].dtype == np.uint8
    assert (batch["image"][0, :10] == 9).all() and (batch["image"][1, :, :10] == 7).all()
    assert (batch["image"][0, 10:] == PADDING_COLOR).all()
    assert (batch["image"][1, :, 10:] == PADDING_COLOR).all()
    expected = np.zeros((2, 3, 4), np.float32)
    expected[0, 0] = [1, 2, 3, 4]
    expected[1, :2] = [[0, 0, 10, 20], [2, 4, 6, 8]]
    np.testing.assert_array_equal(batch["boxes"], expected)
    assert batch["labels"].tolist() == [[5, -1, -1], [0, 1, -1]]
    assert batch["valid"].tolist() == [[True, False, False], [True, True, False]]
    assert batch["difficult"].tolist() == [[True, False, False], [False, False, False]]
    assert batch["crowd"].tolist() == [[False, False, False], [False, True, False]]
    assert batch["ignored"].tolist() == [[False, False, False], [True, False, False]]
    assert batch["image_size"].tolist() == [[10, 20], [20, 10]]
    assert batch["scale"].tolist() == [[1, 1], [0.5, 0.5]]
    assert batch["image_id"].tolist() == [70, 2**40] and batch["is_real"].tolist() == [True, False]
    dtypes = {name: array.dtype.name for name, array in batch.items()}
    assert dtypes == {
        "image": "uint8",
        "boxes": "float32",
        "labels": "int32",
        "valid": "bool",
        "crowd": "bool",
        "difficult": "bool",
        "ignored": "bool",
        "image_size": "float32",
        "scale": "float32",
        "image_id": "int64",
        "is_real": "bool",
    }


def test_the_padding_of_other_channels():
    # .299 * 124 + .587 * 116 + .114 * 104 = 117.0; (124 + 116 + 104) / 3 = 114.7.
    assert padding_color(3) == PADDING_COLOR == (124, 116, 104)
    assert padding_color(1) == (117,) and padding_color(2) == (117, 117)
    assert padding_color(5) == (124, 116, 104, 115, 115)
