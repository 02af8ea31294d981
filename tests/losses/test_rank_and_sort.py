"""Rank & Sort, its bucketed form, and aLRP: what rankings have in common."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses
from ioub_jax.losses import positives_first


def average_lrp(logits, labels, ious, **more):
    return losses.average_lrp_loss(logits, labels, 1.0 - jnp.asarray(ious), **more).classification


LOSSES = {
    "rank_and_sort": losses.rank_and_sort_loss,
    "bucketed": losses.bucketed_rank_and_sort_loss,
    "average_lrp": average_lrp,
}


@functools.partial(jax.jit, static_argnames="name")
def value_and_gradient(name, logits, labels, ious):
    def total(logits):
        values = LOSSES[name](logits, labels, ious)
        return jnp.sum(values), values

    (_, values), gradient = jax.value_and_grad(total, has_aux=True)(logits)
    return values, gradient


def by_definition(logits, labels, ious, delta=0.5):
    """Errors of positives, and the identity update, with loops."""
    entries = [(a, c) for a in range(len(labels)) for c in range(logits.shape[1]) if labels[a] > -2]
    positives = [(a, c) for a, c in entries if labels[a] == c]
    negatives = [entry for entry in entries if entry not in positives]

    def above(i, j):
        return float(np.clip((float(logits[j]) - float(logits[i])) / (2 * delta) + 0.5, 0, 1))

    values, gradient = np.zeros(len(labels)), np.zeros(logits.shape)
    for i in positives:
        false = sum(above(i, n) for n in negatives)
        ranks = {j: above(i, j) for j in positives}
        better = {j: rank for j, rank in ranks.items() if ious[j[0]] >= ious[i[0]]}
        worse = {j: rank for j, rank in ranks.items() if j not in better}
        ranking = false / (false + sum(ranks.values()))
        now, best = (
            sum(rank * (1 - ious[j[0]]) for j, rank in of.items()) / sum(of.values())
            for of in (ranks, better)
        )
        values[i[0]] = ranking + now - best
        gradient[i] -= ranking
        for n in negatives:
            gradient[n] += ranking * above(i, n) / false if false > 0 else 0.0
        if sum(worse.values()) > 0:
            gradient[i] -= now - best
            for j, rank in worse.items():
                gradient[j] += (now - best) * rank / sum(worse.values())
    return values, gradient


def random_case(seed, anchors=12, classes=2):
    random = np.random.default_rng(seed)
    labels = random.integers(-2, classes, anchors).astype(np.int32)
    logits = random.normal(size=(anchors, classes)).astype(np.float32)
    return logits, labels, random.uniform(size=anchors).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_definition(seed):
    case = random_case(seed)
    values, gradient = value_and_gradient("rank_and_sort", *case)
    expected, expected_gradient = by_definition(*case)
    np.testing.assert_allclose(values, expected, atol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-6)


def test_by_hand():
    # Two positives at 2 and 0, IoUs .5 and .9, one negative at 1, a hard step.
    logits, labels = jnp.array([[2.0], [0.0], [1.0]]), jnp.array([0, 0, -1])
    ious = jnp.array([0.5, 0.9, 0.0])

    def total(logits):
        return jnp.sum(losses.rank_and_sort_loss(logits, labels, ious, delta=0.0))

    # The first is on top. Above the second are the first, which is worse, and the negative:
    # ranking 1 / 3; sorting (.5 + .1) / 2 - .1 = .2.
    value, gradient = jax.jit(jax.value_and_grad(total))(logits)
    np.testing.assert_allclose(value, 1 / 3 + 0.2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.2], [-1 / 3 - 0.2], [1 / 3]], rtol=1e-6)
    # aLRP of the second: 1 / 3; with localization losses .5 and .1: (.1 + .5) / 3, and of the first
    # .5. Its update (1 + .5) / 3.
    lrp = jax.jit(functools.partial(losses.average_lrp_loss, delta=0.0))
    both = lrp(logits, labels, 1 - ious)
    np.testing.assert_allclose(both.classification, [0.0, 1 / 3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(both.localization, [0.5, 0.2, 0.0], rtol=1e-6)
    gradients = jax.jit(
        jax.grad(
            lambda z, e: sum(map(jnp.sum, losses.average_lrp_loss(z, labels, e, delta=0.0))), (0, 1)
        )
    )(logits, 1 - ious)
    np.testing.assert_allclose(gradients[0], [[0.0], [-0.5], [0.5]], rtol=1e-6)
    # The first is in both, the second in its own alone.
    np.testing.assert_allclose(gradients[1], [1 + 1 / 3, 1 / 3, 0.0], rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    st.lists(
        st.one_of(st.sampled_from([0.0, 0.25, 1e4, -1e4, 1e37, -1e37]), st.floats(-5, 5, width=32)),
        min_size=12,
        max_size=12,
    ),
    st.one_of(
        st.lists(st.integers(-2, 1), min_size=6, max_size=6),
        st.sampled_from([[-1] * 6, [-2] * 6, [0] * 6]),
    ),
    st.lists(st.sampled_from([0.0, 0.5, 0.5, 1.0]), min_size=6, max_size=6),
)
def test_finite_and_each_gradient_adds_up_to_0(name, logits, labels, ious):
    labels, ious = np.array(labels, np.int32), np.array(ious, np.float32)
    for dtype in (jnp.float32, jnp.bfloat16):
        some = jnp.asarray(logits, dtype).reshape(6, 2)
        values, gradient = value_and_gradient(name, some, labels, ious)
        gradient = np.asarray(gradient, np.float32)
        assert values.dtype == jnp.float32
        assert np.isfinite(values).all()
        assert (np.asarray(values) >= -1e-6).all()
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(values[labels < 0], 0.0)
        np.testing.assert_array_equal(gradient[labels == -2], 0.0)
        if dtype == jnp.float32:
            np.testing.assert_allclose(gradient.sum(), 0.0, atol=1e-5)
        if not (labels >= 0).any():
            np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_in_any_order_it_is_the_same(name):
    logits, labels, ious = random_case(7)
    logits[3:6] = logits[0]  # ties
    order = np.random.default_rng(0).permutation(len(labels))
    values, gradient = value_and_gradient(name, logits, labels, ious)
    others = value_and_gradient(name, logits[order], labels[order], ious[order])
    np.testing.assert_allclose(others[0], values[order], atol=1e-6)
    np.testing.assert_allclose(others[1], gradient[order], atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_with_more_positives_than_a_block(name, monkeypatch):
    """300 positives are two blocks, and with small tiles many: it is the same."""
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1, -1], 150).astype(np.int32)
    logits = random.normal(size=(450, 2)).astype(np.float32)
    ious = random.uniform(size=450).astype(np.float32)
    values, gradient = value_and_gradient(name, logits, labels, ious)
    if name == "rank_and_sort":
        expected, expected_gradient = by_definition(logits[::3], labels[::3], ious[::3])
        found = value_and_gradient(name, logits[::3], labels[::3], ious[::3])
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        np.testing.assert_allclose(found[1], expected_gradient, atol=1e-5)
    monkeypatch.setattr(positives_first, "_LARGEST_TILE", 2**13)
    tiled = jax.jit(jax.value_and_grad(lambda z: jnp.sum(LOSSES[name](z, labels, ious))))
    total, again = tiled(logits)
    np.testing.assert_allclose(total, np.sum(values), rtol=1e-5)
    np.testing.assert_allclose(again, gradient, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_vmap_ranks_each_image_by_itself_and_where_leaves_out(name):
    cases = [random_case(seed, anchors=6) for seed in (1, 2)]
    together = jax.jit(jax.vmap(LOSSES[name]))(*map(np.stack, zip(*cases, strict=True)))
    for values, case in zip(together, cases, strict=True):
        np.testing.assert_allclose(values, value_and_gradient(name, *case)[0], atol=1e-6)
    logits, labels, ious = cases[0]
    where = np.arange(6) != np.argmax(labels)
    left = LOSSES[name](logits, labels, ious, where=where)
    expected = LOSSES[name](logits, np.where(where, labels, -2).astype(np.int32), ious)
    np.testing.assert_array_equal(left, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_fifty_steps_raise_the_positives(name):
    logits, labels, ious = random_case(5, anchors=30)
    labels = np.where(np.arange(30) % 5 == 0, np.abs(labels) % 2, -1).astype(np.int32)
    value, _ = value_and_gradient(name, logits, labels, ious)
    end = logits
    for _ in range(50):
        end = end - 0.5 * value_and_gradient(name, end, labels, ious)[1]
    positive = labels >= 0
    matched = np.flatnonzero(positive), labels[positive]
    assert np.sum(value_and_gradient(name, end, labels, ious)[0]) < 0.5 * np.sum(value)
    others = np.ones(logits.shape, bool)
    others[matched] = False
    gained = end[matched].mean() - logits[matched].mean()
    assert gained > end[others].mean() - logits[others].mean()
    assert gained > 0


def test_no_matrix_of_all_pairs():
    """190,000 anchors: 36 billion pairs, and temporary memory of a few arrays of that length."""
    anchors = 190_000
    shapes = (
        jax.ShapeDtypeStruct((anchors, 1), jnp.float32),
        jax.ShapeDtypeStruct((anchors,), jnp.int32),
        jax.ShapeDtypeStruct((anchors,), jnp.float32),
    )
    for name in LOSSES:
        memory = value_and_gradient.lower(name, *shapes).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 100 * 2**20, name


def test_buckets_count_negatives_that_equal_a_positive():
    """With delta 0 a tie counts as ranked above, in buckets as without them."""
    # Positives at -1 and 0, negatives at 0 and -.5: above 0 is one negative, 1 / (1 + 1); above -1
    # are two, 2 / (2 + 2).
    logits, labels = jnp.array([[-1.0], [0.0], [0.0], [-0.5]]), jnp.array([0, 0, -1, -1])
    for loss in (losses.rank_and_sort_loss, losses.bucketed_rank_and_sort_loss):
        found = loss(logits, labels, jnp.ones(4), delta=0.0)
        np.testing.assert_allclose(found, [0.5, 0.5, 0.0, 0.0], rtol=1e-6)
