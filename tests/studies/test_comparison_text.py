import dataclasses

import pytest

from ioub_jax.studies import comparison_text, paired_differences
from ioub_jax.studies.paired_differences import Result


def result(arm, seed, ap):
    return Result(arm, seed, {"AP": ap}, {}, 60.0)


def test_undefined_metrics_are_left_out():
    results = [result("a", 0, None), result("b", 0, 0.5)]
    found = paired_differences.compare(results, ("a", "b"))
    assert found.spreads["a"] == {}
    assert found.differences["b"] == {}
    assert "shares no seed" in comparison_text.format_markdown(found, "title")


def test_correlations_are_compared_where_they_are_known():
    # Differences .03 and .05: mean .04, deviation .01 sqrt 2, so t .975 (1) 12.706 times .01.
    values = {"a": (0.60, 0.62), "b": (0.63, 0.67)}
    results = [
        Result(arm, seed, {"AP": 0.5, "Spearman": value})
        for arm, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    text = comparison_text.format_markdown(paired_differences.compare(results, ("a", "b")), "title")
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
    text = comparison_text.format_markdown(paired_differences.compare(closer, ("a", "b")), "title")
    assert "follow IoU more closely (+0.040, +0.022 to +0.058)." in text


def test_what_has_hardly_been_trained_is_said_to_be():
    results = [result(arm, s, 0.01) for arm in "ab" for s in range(2)]
    words = (
        "`a` reaches no more than 1.0 AP: differences between hardly trained detectors say little"
    )
    assert words in comparison_text.format_markdown(
        paired_differences.compare(results, ("a", "b")), "title"
    )
    better = [dataclasses.replace(one, metrics={"AP": 0.3}) for one in results]
    text = comparison_text.format_markdown(
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
    (line,) = comparison_text.conclusions(found)
    assert words in line
    text = comparison_text.format_markdown(found, "b against a")
    assert line in text
    assert text.count("| a |") == 1
    assert paired_differences.to_json(found)["arms"]["b"]["differences"]["AP"]["count"] == len(
        values
    )


def many_arms():
    """A reference and nine arms, two seeds; c and d differ from it, g has one seed, h none.

    Differences d -+ e have the interval d -+ 12.706 e (t .975 with one degree of freedom).
    """
    differences = {
        "a": (0.02, 0.01),
        "b": (0.0, 0.005),
        "c": (-0.03, 0.001),
        "d": (0.05, 0.0001),
        "e": (0.01, 0.01),
        "f": (-0.01, 0.01),
        "i": (0.001, 0.01),
    }
    results = [result("base", 0, 0.3), result("base", 1, 0.3), result("g", 0, 0.39)]
    results.append(result("h", 7, 0.9))
    for arm, (difference, half) in differences.items():
        results += [
            Result(arm, 0, {"AP": 0.3 + difference - half}, {}, 60.0),
            Result(arm, 1, {"AP": 0.3 + difference + half}, {}, 60.0),
        ]
    return paired_differences.compare(results, ("base", *"abcdefghi"))


def test_many_arms_are_grouped_and_the_largest_gain_is_first():
    # p of d: 1 - 2 atan(500) / pi = .00127, times 7 .009; of c: 1 - 2 atan(30) / pi = .0212,
    # times 6 .127. The median half of the intervals is that of e = .01: .127.
    lines = comparison_text.conclusions(many_arms())
    assert lines == [
        "- Higher than `base` in AP: `d` +5.0 (+4.9 to +5.1).",
        "- Lower than `base` in AP: `c` -3.0 (-4.3 to -1.7).",
        "- No difference in AP is shown: `a` +2.0 (-10.7 to +14.7), `e` +1.0 (-11.7 to +13.7), "
        "`i` +0.1 (-12.6 to +12.8), `b` +0.0 (-6.4 to +6.4), `f` -1.0 (-13.7 to +11.7).",
        "- Nothing can be concluded from one seed: `g` +9.0.",
        "- No conclusion, since no seed is shared with `base`: `h`.",
        "- About 0 of 7 intervals of 95% exclude 0 by chance alone. Corrected for their number "
        "(Holm's method), these differ: `d`.",
        "- The median interval reaches 12.7 AP to each side: these runs do not resolve smaller "
        "differences, nor rank arms that differ by less.",
    ]


def test_tables_of_many_arms_are_sorted():
    text = comparison_text.format_markdown(many_arms(), "title")
    means, differences, *_ = text.split("## Mean and spread")[1].split("## Difference")
    rows = [line.split(" | ")[0].strip("| ") for line in means.splitlines() if "| 0." in line]
    assert rows == ["base", *"gdaeibfch"]
    rows = [line.split(" | ")[0].strip("| ") for line in differences.splitlines()[4:-3]]
    assert rows == list("gdaeibfch")


def test_scores_of_many_arms_are_grouped():
    closeness = {"base": 0.5, "closer": 0.6, "looser": 0.4} | dict.fromkeys("abcdef", 0.5)
    results = [
        Result(arm, seed, {"AP": 0.3, "Spearman": value})
        for arm, value in closeness.items()
        for seed in range(2)
    ]
    text = "\n".join(
        comparison_text.conclusions(paired_differences.compare(results, list(closeness)))
    )
    assert "- Scores follow IoU more closely: `closer` +0.100 (+0.100 to +0.100).\n" in text
    assert "- Scores follow IoU less closely: `looser` -0.100 (-0.100 to -0.100).\n" in text
    assert "(Holm's method), no difference is shown." in text


def test_only_a_few_arms_are_named_in_the_title():
    assert comparison_text.title_of(["a", "b", "c"]) == "b, c against a"
    assert comparison_text.title_of(["a"]) == "The arm a"
    assert comparison_text.title_of(["a", *"bcdefghi"]) == "8 arms against a"


def test_errors_are_compared_by_kind():
    # Localization at .75: a has .40 and .44; b .36 and .38, so b minus a is -.04 and -.06: mean
    # -.05, deviation .01 sqrt 2, half of the interval 12.706 * .01.
    costs = {"a": (0.40, 0.44), "b": (0.36, 0.38)}
    results = [
        Result(arm, seed, {"AP": 0.5}, errors={"75": {"localization": cost, "missed": 0.01}})
        for arm, of_seeds in costs.items()
        for seed, cost in enumerate(of_seeds)
    ]
    comparison = paired_differences.compare(results, ("a", "b"))
    found = paired_differences.to_json(comparison)["arms"]["b"]["errors"]["75"]
    assert found["localization"]["mean"] == pytest.approx(0.37)
    assert found["localization"]["difference"]["by_seeds"] == pytest.approx(
        (-0.05 - 0.12706, -0.05 + 0.12706), abs=1e-5
    )
    assert paired_differences.to_json(comparison)["arms"]["a"]["errors"]["75"]["missed"] == {
        "mean": 0.01, "deviation": 0.0, "count": 2, "difference": None
    }  # fmt: skip
    text = comparison_text.format_markdown(comparison, "title")
    table = text.split("## Errors by kind at IoU 0.75\n\n")[1].split("\n\n")[0]
    assert table.splitlines() == [
        "| arm | pairs | localization | missed |",
        "| --- | --- | --- | --- |",
        "| a (absolute) |  | 0.420 ± 0.028 | 0.010 ± 0.000 |",
        "| b | 2 | -0.050 (-0.177 to +0.077) | +0.000 (+0.000 to +0.000) |",
    ]


def test_results_without_errors_have_no_table_of_them():
    known = Result("a", 0, {"AP": 0.5}, errors={"50": {"missed": 0.1}})
    unknown = Result("b", 0, {"AP": 0.5})
    compared = paired_differences.compare([known, unknown], ("a", "b"))
    text = comparison_text.format_markdown(compared, "title")
    assert "| a (absolute) |  | 0.100 |\n| b | 0 | - |" in text
    none = paired_differences.compare([unknown], ("b",))
    assert "Errors by kind" not in comparison_text.format_markdown(none, "title")
