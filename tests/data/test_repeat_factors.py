"""Images with rare classes come more often, in a stream that depends on its step alone."""

from collections import Counter

import hypothesis
import numpy as np
from hypothesis import strategies as st

from ioub_jax.configs import defaults
from ioub_jax.data.batching import BatchPlan
from ioub_jax.data.repeat_factors import images_of_classes, repeat_factors, rounded
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.from_config import sampling_parts

CANVASES = ((40, 80), (80, 40))
settings = hypothesis.settings(max_examples=25, deadline=None)


def annotations_of(classes_of_images):
    examples = [
        create_example(np.tile([0.0, 0.0, 5.0, 5.0], (len(labels), 1)), np.array(labels), number)
        for number, labels in enumerate(classes_of_images, start=1)
    ]
    return collect_annotations(examples, np.full((len(examples), 2), 8))


#: Ten images: all have class 0, two class 1 (one of them twice), one class 2.
OF_TEN = [(0,)] * 7 + [(0, 1, 1), (0, 1), (2, 0)]


def test_factors_by_hand():
    annotations = annotations_of(OF_TEN)
    images, labels = images_of_classes(annotations, np.ones(14, bool), 3)
    assert list(zip(images.tolist(), labels.tolist(), strict=True))[7:] == [
        (7, 0), (7, 1), (8, 0), (8, 1), (9, 0), (9, 2)
    ]  # fmt: skip
    # sqrt(.9 / 1) < 1; sqrt(.9 / .2) = 2.1213; sqrt(.9 / .1) = 3.
    factors = repeat_factors(images, labels, 10, 3, 0.9)
    np.testing.assert_allclose(factors, [1] * 7 + [2.1213203, 2.1213203, 3.0], rtol=1e-7)
    # What is not learned makes no image rare.
    learned = np.array([True] * 12 + [False, True])
    factors = repeat_factors(*images_of_classes(annotations, learned, 3), 10, 3, 0.9)
    np.testing.assert_allclose(factors, [1] * 7 + [2.1213203, 2.1213203, 1.0], rtol=1e-7)


@settings
@hypothesis.given(st.lists(st.floats(1.0, 9.0), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_a_factor_is_rounded_up_or_down(factors, seed):
    factors = np.array(factors)
    total = int(np.floor(factors.sum() + 0.5))
    counts = rounded(factors, total, np.random.default_rng(seed))
    assert counts.sum() == total and counts.min() >= 1
    # Scaled by the rounding of the sum, which is less than one half.
    assert np.all(np.abs(counts - factors) < 1.5)


def test_over_epochs_a_factor_is_the_mean():
    factors = np.array([1.0, 1.25, 2.5, 3.25])
    rng = np.random.default_rng(0)
    counts = np.array([rounded(factors, 8, rng) for _ in range(4000)])
    # Four standard deviations of the mean of a variable of .25: 4 * .5 / sqrt(4000) = .032.
    np.testing.assert_allclose(counts.mean(axis=0), factors, atol=0.032)
    assert set(counts[:, 0]) == {1}


@settings
@hypothesis.given(
    st.lists(st.tuples(st.booleans(), st.floats(1.0, 4.0)), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(0, 3),
    st.data(),
)
def test_the_stream_depends_on_the_step_alone(images, batch_size, seed, data):
    sizes = np.array([(8, 4) if tall else (4, 8) for tall, _ in images])
    repeats = np.array([factor for _, factor in images])
    plan = BatchPlan(sizes, batch_size, seed, CANVASES, repeats=repeats)
    steps = 3 * plan.images_per_epoch // batch_size + 2
    batches = [plan[step] for step in range(steps)]
    again = BatchPlan(sizes, batch_size, seed, CANVASES, repeats=repeats)
    for step in data.draw(st.lists(st.integers(0, steps - 1), max_size=8)):
        np.testing.assert_array_equal(again[step].indices, batches[step].indices)
        np.testing.assert_array_equal(again[step].epochs, batches[step].epochs)
    # No image is augmented twice alike: its generator is that of (seed, epoch, index).
    seen = Counter(
        pair for b in batches for pair in zip(b.epochs.tolist(), b.indices.tolist(), strict=True)
    )
    assert max(seen.values()) == 1
    # Whole epochs of a canvas have each of its images as often as its factor says.
    for members in ((sizes == (4, 8)).all(axis=1), (sizes == (8, 4)).all(axis=1)):
        total = int(np.floor(repeats[members].sum() + 0.5))
        stream = [index for b in batches for index in b.indices.tolist() if members[index]]
        for start in range(0, len(stream) - total + 1, total or len(stream) + 1):
            counts = Counter(stream[start : start + total])
            assert set(counts) == set(np.flatnonzero(members).tolist())
            assert all(abs(counts[index] - repeats[index]) < 1.5 for index in counts)


def test_factors_of_one_change_nothing():
    sizes = np.array([(4, 8)] * 5 + [(8, 4)] * 4)
    plain = BatchPlan(sizes, 2, 7, CANVASES)
    ones = BatchPlan(sizes, 2, 7, CANVASES, repeats=np.ones(9))
    assert plain.images_per_epoch == ones.images_per_epoch == 9
    for step in range(20):
        np.testing.assert_array_equal(plain[step].indices, ones[step].indices)


def test_the_configuration_has_it_and_a_line_tells_it():
    config = defaults.get_config()
    config.data.canvases = ((40, 80),)
    annotations = annotations_of(OF_TEN)
    names = [f"/data/{number}.jpg" for number in range(10)]
    source = FileSource(annotations, names, ["common", "rare", "rarest"], [1, 2, 3], [])
    assert sampling_parts.repeats_of(config, source) == (None, [])
    config.data.repeat_threshold = 0.9
    repeats, lines = sampling_parts.repeats_of(config, source)
    np.testing.assert_allclose(repeats[7:], [2.1213203, 2.1213203, 3.0], rtol=1e-7)
    # 7 + 2 * 2.12 + 3 = 14.2; rare is in 2 * 2.12.
    assert lines == [
        "Sampling: 14 images per epoch instead of 10 (data.repeat_threshold=0.9): rarest in 3 "
        "instead of 1, rare in 4 instead of 2, common in 14 instead of 10."
    ]
