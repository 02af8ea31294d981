import dataclasses
import math

import numpy as np
import pytest

from ioub_jax.studies import comparison_text, paired_differences
from ioub_jax.studies.paired_differences import Result


def result(arm, seed, ap, resampled=(), seconds=60.0):
    return Result(arm, seed, {"AP": ap}, {"AP": resampled} if resampled else {}, seconds)


def test_differences_are_paired_by_seed():
    # The seeds differ by far more than the arms: 0.1, 0.3, 0.5 and each 0.02, 0.03, 0.04 more.
    results = [result("a", s, ap) for s, ap in enumerate((0.1, 0.3, 0.5))]
    results += [result("b", s, ap) for s, ap in enumerate((0.12, 0.33, 0.54))]
    found = paired_differences.compare(results, ("a", "b"))
    difference = found.differences["b"]["AP"]
    assert difference.mean == pytest.approx(0.03)
    # t with 2 degrees of freedom: 4.3027; the deviation is .01.
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert difference.by_seeds == pytest.approx((0.03 - half, 0.03 + half))
    assert difference.resolved
    assert difference.by_images is None
    assert found.spreads["a"]["AP"].mean == pytest.approx(0.3)
    assert found.spreads["a"]["AP"].deviation == pytest.approx(0.2)
    assert found.seconds == {"a": 60.0, "b": 60.0}


def test_only_shared_seeds_are_compared():
    results = [result("a", 0, 0.1), result("a", 1, 0.9), result("b", 0, 0.2), result("b", 5, 0.0)]
    difference = paired_differences.compare(results, ("a", "b")).differences["b"]["AP"]
    assert (difference.count, difference.mean) == (1, pytest.approx(0.1))
    assert difference.by_seeds is None
    assert not difference.resolved


def test_bootstrap_is_over_images_and_paired():
    # 101 resamplings; b is always .01 better, whatever the images, and once .02.
    images = tuple(np.linspace(0.2, 0.4, 101))
    better = (*(value + 0.01 for value in images[:-1]), images[-1] + 0.02)
    results = [result("a", 0, 0.3, images), result("b", 0, 0.31, better)]
    low, high = paired_differences.compare(results, ("a", "b")).differences["b"]["AP"].by_images
    assert (low, high) == pytest.approx((0.01, 0.01))


def test_a_seed_twice_and_a_missing_reference_are_refused():
    with pytest.raises(ValueError, match="two results with seed 3"):
        paired_differences.compare([result("a", 3, 0.1)] * 2, ("a",))
    with pytest.raises(ValueError, match="'a', which the others are compared with"):
        paired_differences.compare([result("b", 0, 0.1)], ("a", "b"))


def test_results_of_different_images_are_refused():
    known, unknown = dataclasses.replace(result("a", 0, 0.1), images="x"), result("a", 1, 0.2)
    other = dataclasses.replace(result("b", 0, 0.1), images="y")
    words = "arm 'b', seed 0, and arm 'a', seed 0, were evaluated on different images or boxes"
    with pytest.raises(ValueError, match=words):
        paired_differences.compare([unknown, known, other], ("a", "b"))
    paired_differences.compare([unknown, known], ("a", "b"))


def test_every_two_arms_are_compared():
    # c less b: .04 and .02, mean .03; deviation .02 / sqrt 2, t .975 (1) 12.706: half is .127.
    values = {"a": (0.10, 0.30), "b": (0.12, 0.33), "c": (0.16, 0.35)}
    results = [result(arm, s, ap) for arm, aps in values.items() for s, ap in enumerate(aps)]
    found = paired_differences.compare(results, ("a", "b", "c"))
    assert found.between["c"]["b"].mean == pytest.approx(0.03)
    assert found.between["c"]["a"] == found.differences["c"]["AP"]
    text = comparison_text.format_markdown(found, "title")
    (row,) = [line for line in text.splitlines() if line.startswith("| c | +0.055")]
    assert row == "| c | +0.055 (-0.009 to +0.119) | +0.030 (-0.097 to +0.157) |  |"
    less = paired_differences.to_json(found)["arms"]["b"]["AP_less_that_of"]
    assert less["c"]["mean"] == pytest.approx(-0.03)
    two = comparison_text.format_markdown(
        paired_differences.compare(results[:4], ("a", "b")), "title"
    )
    assert "AP of every two arms" not in two


def test_of_many_arms_not_every_two_are_compared():
    arms = [f"arm{number}" for number in range(9)]
    results = [result(arm, seed, 0.3 + 0.01 * seed) for arm in arms for seed in range(2)]
    found = paired_differences.compare(results, arms)
    assert not any(found.between.values())
    assert "AP of every two arms" not in comparison_text.format_markdown(found, "title")
    assert paired_differences.compare(results[:16], arms[:8]).between["arm0"]["arm7"].mean == 0.0


def two_seeds(arm, difference, half):
    """Results of two seeds whose differences from .3 are `difference` -+ `half`.

    The standard error of their mean is `half`, and t with one degree of freedom is Cauchy's
    distribution: p = 1 - 2 atan(difference / half) / pi.
    """
    return [result(arm, 0, 0.3 + difference - half), result(arm, 1, 0.3 + difference + half)]


def with_p(arm, p_value):
    return two_seeds(arm, 0.01 * math.tan(math.pi / 2 * (1 - p_value)), 0.01)


def test_p_value_is_that_of_the_t_test():
    # t is 1: p = 1 - 2 / pi * pi / 4 = .5. Equal differences: certain; none at all: 1.
    results = two_seeds("a", 0, 0) + two_seeds("b", 0.05, 0.05) + two_seeds("c", -0.05, 0.05)
    results += two_seeds("d", 0.125, 0) + two_seeds("e", 0, 0) + [result("f", 0, 0.4)]
    found = paired_differences.compare(results, "abcdef").differences
    p_values = [found[arm]["AP"].p_value for arm in "bcdef"]
    assert p_values == [pytest.approx(0.5), pytest.approx(0.5), 0.0, 1.0, None]


def test_p_values_are_adjusted_by_the_method_of_holm():
    # The smallest is multiplied by 4, the next by 3, 2 and 1, and none is below one before it:
    # .01 * 4 = .04, .02 * 3 = .06, .025 * 2 = .05 < .06, .5 * 1.
    results = two_seeds("a", 0, 0) + with_p("b", 0.025) + with_p("c", 0.5) + with_p("d", 0.01)
    results += [*with_p("e", 0.02), result("f", 0, 0.4)]
    found = paired_differences.compare(results, "abcdef")
    adjusted = paired_differences.adjusted_p_values(found)
    assert adjusted == pytest.approx({"d": 0.04, "e": 0.06, "b": 0.06, "c": 0.5})
    assert paired_differences.to_json(found)["arms"]["d"]["differences"]["AP"][
        "p_value"
    ] == pytest.approx(0.01)
