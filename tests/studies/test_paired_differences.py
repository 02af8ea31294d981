import dataclasses
import math

import numpy as np
import pytest

from ioub_jax.studies import paired_differences
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


def test_undefined_metrics_are_left_out():
    results = [result("a", 0, None), result("b", 0, 0.5)]
    found = paired_differences.compare(results, ("a", "b"))
    assert found.spreads["a"] == {}
    assert found.differences["b"] == {}
    assert "shares no seed" in paired_differences.format_markdown(found, "title")


def test_a_seed_twice_and_a_missing_reference_are_refused():
    with pytest.raises(ValueError, match="two results with seed 3"):
        paired_differences.compare([result("a", 3, 0.1)] * 2, ("a",))
    with pytest.raises(ValueError, match="'a', which the others are compared with"):
        paired_differences.compare([result("b", 0, 0.1)], ("a", "b"))


def test_correlations_are_compared_where_they_are_known():
    # Differences .03 and .05: mean .04, deviation .01 sqrt 2, so t .975 (1) 12.706 times .01.
    values = {"a": (0.60, 0.62), "b": (0.63, 0.67)}
    results = [
        Result(arm, seed, {"AP": 0.5, "Spearman": value})
        for arm, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    text = paired_differences.format_markdown(
        paired_differences.compare(results, ("a", "b")), "title"
    )
    low, high = 0.04 - 0.12706, 0.04 + 0.12706
    words = (
        "Whether its scores follow IoU more or less closely is not shown "
        f"(+0.040, {low:+.3f} to {high:+.3f})."
    )
    assert words in text
    assert "| arm | seeds | AP | Spearman | minutes a run |" in text
    assert "| arm | pairs | AP |\n" in text  # of the images, where it is not known
    closer = [*results, *(dataclasses.replace(r, seed=r.seed + 2) for r in results)]
    # Four differences: .03, .05, .03, .05, deviation .0115; t .975 (3) 3.182 times .0115 / 2.
    text = paired_differences.format_markdown(
        paired_differences.compare(closer, ("a", "b")), "title"
    )
    assert "follow IoU more closely (+0.040, +0.022 to +0.058)." in text


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
    text = paired_differences.format_markdown(found, "title")
    (row,) = [line for line in text.splitlines() if line.startswith("| c | +0.055")]
    assert row == "| c | +0.055 (-0.009 to +0.119) | +0.030 (-0.097 to +0.157) |  |"
    less = paired_differences.to_json(found)["arms"]["b"]["AP_less_that_of"]
    assert less["c"]["mean"] == pytest.approx(-0.03)
    two = paired_differences.format_markdown(
        paired_differences.compare(results[:4], ("a", "b")), "title"
    )
    assert "AP of every two arms" not in two


def test_of_many_arms_not_every_two_are_compared():
    arms = [f"arm{number}" for number in range(9)]
    results = [result(arm, seed, 0.3 + 0.01 * seed) for arm in arms for seed in range(2)]
    found = paired_differences.compare(results, arms)
    assert not any(found.between.values())
    assert "AP of every two arms" not in paired_differences.format_markdown(found, "title")
    assert paired_differences.compare(results[:16], arms[:8]).between["arm0"]["arm7"].mean == 0.0


def test_what_has_hardly_been_trained_is_said_to_be():
    results = [result(arm, s, 0.01) for arm in "ab" for s in range(2)]
    words = (
        "`a` reaches no more than 1.0 AP: differences between hardly trained detectors say little"
    )
    assert words in paired_differences.format_markdown(
        paired_differences.compare(results, ("a", "b")), "title"
    )
    better = [dataclasses.replace(one, metrics={"AP": 0.3}) for one in results]
    text = paired_differences.format_markdown(
        paired_differences.compare(better, ("a", "b")), "title", "What."
    )
    assert "hardly" not in text
    assert text.startswith("# title\n\nWhat.\n\n- `b`: no difference")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.12, 0.33, 0.54), "`b` is higher than `a` by 3.0 AP"),
        ((0.08, 0.27, 0.46), "`b` is lower than `a` by 3.0 AP"),
        ((0.2, 0.2, 0.5), "no difference from `a` is shown"),
        ((0.2,), "nothing can be concluded from one seed"),
    ],
)
def test_conclusions_say_what_the_interval_says(values, words):
    results = [result("a", s, ap) for s, ap in enumerate((0.1, 0.3, 0.5))]
    results += [result("b", s, ap) for s, ap in enumerate(values)]
    found = paired_differences.compare(results, ("a", "b"))
    (line,) = paired_differences.conclusions(found)
    assert words in line
    text = paired_differences.format_markdown(found, "b against a")
    assert line in text
    assert text.count("| a |") == 1
    assert paired_differences.to_json(found)["arms"]["b"]["differences"]["AP"]["count"] == len(
        values
    )
