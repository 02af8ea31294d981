import dataclasses

import hypothesis
import numpy as np
from hypothesis import strategies as st

from ioub_jax.data.batching import PlannedBatch
from ioub_jax.data.partners import choose_others, group_of, mosaic_draw


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(1, 200))
def test_groups_share_a_batch(batch_size):
    groups = {group_of(row, batch_size) for row in range(batch_size)}
    assert sorted(row for group in groups for row in group) == list(range(batch_size))
    assert all(row in group_of(row, batch_size) for row in range(batch_size))
    if batch_size >= 8:
        assert all(8 <= len(group) <= 15 for group in groups)
    else:
        assert len(groups) == 1


def planned(batch_size):
    indices = 100 + np.arange(batch_size)
    return PlannedBatch((8, 8), indices, np.zeros_like(indices), np.ones(batch_size, bool))


def test_the_others_are_three_different_rows_of_the_group():
    seen = set()
    for seed in range(60):
        chosen = choose_others(planned(16), 9, 1000, np.random.default_rng(seed), 3)
        assert len(set(chosen)) == 3 and 109 not in chosen
        seen |= set(chosen)
    assert seen == set(range(108, 116)) - {109}


def test_the_smallest_batch_that_is_enough():
    chosen = choose_others(planned(4), 0, 1000, np.random.default_rng(0), 3)
    assert sorted(chosen) == [101, 102, 103]
    chosen = choose_others(planned(3), 0, 7, np.random.default_rng(0), 3)
    assert all(0 <= index < 7 for index in chosen)


def test_the_factors_of_images_in_mosaics_are_uniform_and_others_in_another_batch():
    draws = np.array([mosaic_draw(planned(16), 0, image_id) for image_id in range(4000)])
    assert mosaic_draw(planned(16), 0, 5) == draws[5] and mosaic_draw(planned(16), 1, 5) != draws[5]
    assert draws.min() >= 0 and draws.max() < 1
    # The largest distance from a uniform distribution, of 4,000 below 1.95 / sqrt(4000) = .031 but
    # once in a thousand (Kolmogorov).
    assert np.abs(np.sort(draws) - (np.arange(4000) + 0.5) / 4000).max() < 0.031
    later = dataclasses.replace(planned(16), indices=planned(16).indices + 1)
    assert mosaic_draw(later, 0, 5) != draws[5]
    assert abs(np.corrcoef(draws, [mosaic_draw(later, 0, k) for k in range(4000)])[0, 1]) < 0.06
